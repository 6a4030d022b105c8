"""Who acts: the person at the keyboard, for the audit log."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

LOGIN_UID = Path("/proc/self/loginuid")
NOBODY_LOGGED_IN = 2**32 - 1


def acting_person() -> str:
    """`cli:<user>` for the audit log. To be asked before root becomes the platform's own user.

    The kernel's login uid comes first: it is set once at login and survives su and sudo. Where nobody logged in
    (containers, services) it is SUDO_USER, believed only of root, whom anybody else cannot pretend to be, and else
    the user that this process runs as.
    """
    return f"cli:{_login_name() or _name_before_sudo() or _name_of(os.getuid()) or os.getuid()}"


def _login_name() -> str | None:
    try:
        uid = int(LOGIN_UID.read_text())
    except (OSError, ValueError):
        return None
    return None if uid == NOBODY_LOGGED_IN else _name_of(uid)


def _name_before_sudo() -> str | None:
    name = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    if name is None:
        return None
    try:
        return pwd.getpwnam(name).pw_name
    except KeyError:
        return None


def _name_of(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
