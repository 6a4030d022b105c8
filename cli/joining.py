"""The work behind `copyhold server check`, `add` and `remove`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cli.waiting import WAIT_S, GaveUpError, NotYetError, leaving_it_alone, pause
from cli.wiring import Platform
from control_plane import audit
from control_plane.domain.errors import CopyholdError, NotFoundError, UsageError
from control_plane.domain.placement import open_catalogue
from control_plane.domain.server import Server
from control_plane.doors import opened, sealed
from control_plane.registry import progress, servers, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ProgressRow
from control_plane.tenants import joining
from provisioning.catalogues import is_shared
from provisioning.commands import as_typed
from provisioning.providers.existing import statements
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.examine import Access, examine
from provisioning.providers.existing.facts import LOGINS, Facts
from provisioning.providers.existing.findings import Finding, connections_for, findings, refusals, remedy_sql

PASSWORD_VARIABLE = "COPYHOLD_ADMIN_PASSWORD"  # noqa: S105 - a name
STANDARD_INPUT = Path("-")
RECORDS = 100
"""How far back the record of a removal is looked for."""


Tell = Callable[[ProgressRow], None]


class UnfitError(CopyholdError):
    """The server cannot be used as it is."""

    code = "server_unfit"


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What was found out about a server, and what is said of it."""

    address: Address
    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def sql(self) -> str:
        """What its superuser is to run."""
        return remedy_sql(self.findings)

    @property
    def fits(self) -> bool:
        """Whether tenants can be put there."""
        return not refusals(self.findings)

    def shown(self) -> dict[str, Any]:
        """As JSON. It holds no password."""
        found = [{**asdict(each), "level": str(each.level), "sql": list(each.sql)} for each in self.findings]
        return {"address": str(self.address), "fits": self.fits, "findings": found, "sql": self.sql}


def password_given(file: Path | None) -> bool:
    """Whether somebody has said where the administrator's password is."""
    return file is not None or PASSWORD_VARIABLE in os.environ


def read_password(file: Path | None, admin: str) -> str:
    """The administrator's password: from the file (- for standard input), the variable, or the person at the keyboard.

    UsageError when there is none. It is read before root becomes the platform's user, who may not read that file.
    """
    if file == STANDARD_INPUT:
        found = sys.stdin.readline()
    elif file is not None:
        found = read_file(file)
    elif PASSWORD_VARIABLE in os.environ:
        found = os.environ[PASSWORD_VARIABLE]
    elif sys.stdin.isatty():
        import getpass

        found = getpass.getpass(f"Password of {admin}: ")
    else:
        raise UsageError(
            f"give the password of {admin}: --password-file FILE (- reads it here), or {PASSWORD_VARIABLE}"
        )
    if not (password := found.rstrip("\r\n")):
        raise UsageError(f"the password of {admin} is empty")
    return password


def read_file(file: Path) -> str:
    """What is in it, or UsageError."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from error


def look(platform: Platform, address: Address, password: str, ca: str, *, connections: int | None = None) -> Examined:
    """Examine a server; nothing is changed there or here."""
    role_passwords = _known_passwords(platform, address) or statements.role_passwords(platform.keyring, address)
    access = Access(address=address, ca=ca, password=password, doors=platform.doors, role_passwords=role_passwords)
    facts = examine(access)
    verifiers = statements.verifiers_of(platform.keyring, address, role_passwords)
    return Examined(address=address, facts=facts, findings=findings(facts, verifiers, connections=connections))


def add(platform: Platform, wish: Server, examined: Examined, password: str) -> str | None:
    """Have it made ready; the workflow's id, None when it is on the roll and ready. Refused as `joining.join` says.

    UnfitError when what was found out speaks against it.
    """
    if not examined.fits:
        raise UnfitError(
            f"{wish.name} cannot be used as it is: {'; '.join(f.why for f in refusals(examined.findings))}"
        )
    passwords = sealed(platform.keyring, wish.name, {wish.admin: password})
    room = wish.connections or connections_for(examined.facts)
    server = replace(wish, sealed_passwords=passwords, connections=room)
    with transaction(platform.engine) as session:
        return joining.join(session, platform.workflows, server, platform.actor)


def remove(platform: Platform, name: str, *, confirm: str | None = None, snapshot: bool = True) -> str:
    """Have it emptied and struck off the roll; the workflow's id. Refused as `joining.leave` says."""
    with transaction(platform.engine) as session:
        return joining.leave(session, platform.workflows, name, platform.actor, confirm=confirm, snapshot=snapshot)


def what_goes(platform: Platform, name: str) -> list[str]:
    """The databases that `remove` would drop; refused as it is."""
    with transaction(platform.engine) as session:
        joining.check_may_leave(session, name)
        return [row.name for row in servers.all_databases(session) if row.server == name]


def left_behind(platform: Platform, name: str) -> list[str]:
    """What is still on a server that was removed: roles that its administrator could not drop."""
    with transaction(platform.engine) as session:
        for row in audit.newest(session, limit=RECORDS):
            if row.action == "server.removed" and row.subject == name:
                return list(row.facts.get("left", ()))
    return []


def outcome(platform: Platform, name: str) -> str:
    """What a server that was added does from now on, and what keeps it from doing all that it is for."""
    with transaction(platform.engine) as session:
        server = servers.server_named(session, name)
    if not is_shared(server) or server.may_share:
        return f"{name} takes tenants"
    return f"{name} {open_catalogue(server.catalogue)}"


def is_known(platform: Platform, name: str) -> bool:
    """Whether there is such a server on the roll."""
    with transaction(platform.engine) as session:
        try:
            servers.server_named(session, name)
        except NotFoundError:
            return False
    return True


def await_end(platform: Platform, workflow_id: str, on_step: Tell, *, wait_s: float = WAIT_S) -> None:
    """Return once a workflow is done, telling each step; GaveUpError with its reason, NotYetError after `wait_s`."""
    seen, deadline = 0, time.monotonic() + wait_s
    while True:
        with transaction(platform.engine) as session:
            # Asked first: of one that is seen to have ended, no step is missed.
            record = workflow_records.get(session, workflow_id)
            state, error = record.state, record.error
            done = list(progress.of_workflow(session, workflow_id))
        for row in done[seen:]:
            on_step(row)
        seen = len(done)
        if state == workflow_records.DONE:
            return
        if state == workflow_records.FAILED:
            raise GaveUpError(error)
        if time.monotonic() > deadline:
            raise NotYetError(f"not done after {wait_s:.0f} s; it goes on as soon as a worker can")
        pause()


def waiting_for(name: str, data: Path | None) -> AbstractContextManager[None]:
    """For the time that a command waits for what is done to a server: who stops waiting is told how to look at it."""
    return leaving_it_alone(as_typed(f"copyhold server show {name}", data))


def known_access(platform: Platform, address: Address) -> tuple[str, str] | None:
    """Password and certificates (PEM) that the roll has for that administrator; None when it knows none there."""
    with transaction(platform.engine) as session:
        known = servers.all_servers(session)
    place = (address.host, address.port, address.admin)
    there = next((each for each in known if (each.host, each.port, each.admin) == place), None)
    if there is None or there.sealed_passwords is None:
        return None
    password = opened(platform.keyring, there.name, there.sealed_passwords).get(there.admin)
    return (password, there.ca) if password is not None else None


def _known_passwords(platform: Platform, address: Address) -> dict[str, str]:
    """What the roll has for the platform's logins at that address, which may have been changed since it was added."""
    with transaction(platform.engine) as session:
        known = servers.all_servers(session)
    there = next((each for each in known if (each.host, each.port) == (address.host, address.port)), None)
    if there is None or there.sealed_passwords is None:
        return {}
    known_there = opened(platform.keyring, there.name, there.sealed_passwords)
    return {role: known_there[role] for role in LOGINS if role in known_there}
