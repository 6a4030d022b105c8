"""The one unprivileged user of a platform: who it is, and how root becomes it.

PostgreSQL and PgBouncer refuse to run as root, and nothing else of the platform needs to.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control_plane.domain.errors import SetupError
from provisioning.layout import ForeignFolderError

SERVICE_USER = "postgres"
"""Owns the platforms that root starts; comes with the distribution's PostgreSQL."""

PR_SET_DUMPABLE = 4


def make_folder_and_become_its_owner(data: Path) -> None:
    """For `up`: make the data folder if it is missing. Root gives a new or empty one to the service user.

    Afterwards this process is that user for good. Does not touch a folder that holds something already.
    """
    made = _make_folder(data)
    if os.geteuid() != 0:
        return
    if data.stat().st_uid == 0:
        if not made and any(data.iterdir()):
            raise ForeignFolderError(
                f"{data} is root's and not empty; a platform never runs as root: give --data a folder of its own"
            )
        account = _service_account()
        os.chown(data, account.pw_uid, account.pw_gid)
    drop_to_owner(data)


def drop_to_owner(data: Path) -> None:
    """As root, become the owner of an existing data folder for good; as anybody else, do nothing.

    Raises SetupError, before anything changed, when that user could not reach the folder or this program.
    """
    if os.geteuid() != 0 or not data.exists():
        return
    owner = data.stat().st_uid
    if owner == 0:
        raise ForeignFolderError(f"{data} is root's; a platform belongs to an unprivileged user")
    account = _account_of(owner)
    with _acting_as(account):
        _refuse_the_unreachable(account, data)
    _become(account)


def _make_folder(data: Path) -> bool:
    """Whether the folder had to be made."""
    try:
        if data.is_dir():
            return False
        for folder in reversed([data, *data.parents]):
            if folder == data or not folder.exists():
                folder.mkdir()
                folder.chmod(0o700 if folder == data else 0o755)
    except OSError as error:
        raise SetupError(f"cannot make the folder {data}: {error.filename}: {error.strerror}") from error
    return True


def _service_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SERVICE_USER)
    except KeyError as error:
        raise SetupError(
            f"there is no user {SERVICE_USER}, whom a platform started by root runs as: "
            "./run setup makes it, or start as an ordinary user"
        ) from error


def _account_of(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return pwd.struct_passwd((str(uid), "x", uid, uid, "", "/", "/bin/sh"))


@contextmanager
def _acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _refuse_the_unreachable(account: pwd.struct_passwd, data: Path) -> None:
    closed = _first_closed(data, os.R_OK | os.W_OK | os.X_OK)
    if closed:
        raise SetupError(
            f"the user {account.pw_name} cannot reach {data}: {closed} is closed to it; "
            f"`chmod o+x {closed}`, or give --data another folder"
        )
    python = Path(sys.executable)
    for program in (python, python.resolve(), Path(os.__file__), Path(__file__)):
        closed = _first_closed(program, os.R_OK)
        if closed:
            raise SetupError(
                f"the user {account.pw_name} cannot read {program}: {closed} is closed to it; `chmod o+x {closed}`, "
                "or have Copyhold and its Python where every user may read them, or start as another user"
            )


def _first_closed(path: Path, mode: int) -> Path | None:
    """The outermost folder on the way that the effective user may not pass, or the path itself."""
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return None if os.access(path, mode, effective_ids=True) else path


def _become(account: pwd.struct_passwd) -> None:
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    # The kernel hides a process that changed its user from that very user; `ps` and `doctor` should see it.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
