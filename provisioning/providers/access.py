"""Who may log in where on a server that this platform runs itself: its pg_hba.conf.

PostgreSQL 15 knows no pattern for "the database's name and an ending": the second login of a database has a line of its
own for as long as there is one. Which databases have one stands in the file itself and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path

from control_plane.domain import names
from control_plane.domain.server import Server
from provisioning.files import write_atomically
from provisioning.roles import Connection

LOCAL = "local"
RULES = """\
# Written by Copyhold at every start; changes made here are lost.
local  replication  copyhold_mover                                                trust
local  all          postgres,copyhold_migrator,copyhold_mover,copyhold_backup     trust
# An app login is named exactly like its database: it reaches that one and no other.
local  sameuser     all                                                           trust
"""
_LINE = re.compile(r"^local  ([a-z][a-z0-9_]*)  ([a-z][a-z0-9_]*)  trust$", re.MULTILINE)
_LOCK = 0x68626100

Admin = Callable[[], AbstractContextManager[Connection]]
"""Opens a superuser's connection."""


def rules(second: Collection[str]) -> str:
    """The whole file, for a server on which those databases have a second login."""
    return RULES + "".join(f"local  {each}  {names.second_login(each)}  trust\n" for each in sorted(second))


def with_second_login(text: str) -> frozenset[str]:
    """The databases that have a second login, by such a file."""
    return frozenset(database for database, login in _LINE.findall(text) if login == names.second_login(database))


def let_in(server: Server, admin: Admin, database: str, login: str) -> None:
    """Let a login into its database, and into no other. Of servers that others run, their rules are theirs."""
    if server.provider == LOCAL and login == names.second_login(database):
        _change(admin, lambda second: second | {database})


def shut_out(server: Server, admin: Admin, database: str, login: str) -> None:
    """Take that back."""
    if server.provider == LOCAL and login == names.second_login(database):
        _change(admin, lambda second: second - {database})


def _change(admin: Admin, change: Callable[[frozenset[str]], frozenset[str]]) -> None:
    with admin() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        found = connection.execute("SHOW hba_file").fetchone()
        assert found is not None
        file = Path(str(found[0]))
        there = with_second_login(file.read_text())
        if (wanted := change(there)) != there:
            write_atomically(file, rules(wanted))
        connection.execute("SELECT pg_reload_conf()")
