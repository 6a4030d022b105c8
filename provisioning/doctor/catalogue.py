"""The checks of `catalogue.sql`, and running them over one connection."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from control_plane.domain.server import Server
from control_plane.doors import Doors
from provisioning.doctor.findings import Check, Finding, Severity
from provisioning.roles import Connection, connect, is_superuser

FILE = Path(__file__).with_name("catalogue.sql")
STATEMENT_TIMEOUT_S = 30
LOCK_TIMEOUT_S = 5
# search_path: nothing that somebody has put into a tenant's database is called by accident with a superuser's rights.
SESSION = (
    "-c default_transaction_read_only=on -c search_path=pg_catalog -c jit=off"
    f" -c statement_timeout={STATEMENT_TIMEOUT_S}s -c lock_timeout={LOCK_TIMEOUT_S}s"
)
CHECK_FAILED = Check(
    "check_failed", Severity.ERROR, "this could not be looked at", "see to what the message says, then look again"
)

CHECK_REFUSED = Check(
    "check_refused",
    Severity.WARNING,
    "this cannot be looked at by the server's administrator, who is no superuser",
    "have its superuser look, or let the administrator",
)

_SECTION = re.compile(r"^-- (shared|fact: \w+|check: \w+)\n", re.MULTILINE)
_FIELD = re.compile(r"-- (scope|severity|what|remedy): (.+)\n")

Scope = Literal["home", "server"]
Parameters = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class CatalogueCheck:
    """One query and what its rows mean."""

    check: Check
    scope: Scope
    query: bytes


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All of the file."""

    checks: tuple[CatalogueCheck, ...]
    facts: Mapping[str, bytes]

    def of(self, scope: Scope) -> tuple[CatalogueCheck, ...]:
        """The checks of that scope, in the file's order."""
        return tuple(check for check in self.checks if check.scope == scope)


@functools.cache
def catalogue() -> Catalogue:
    """The file, read once."""
    _, *parts = _SECTION.split(FILE.read_text())
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    shared = sections.pop("shared")
    checks = [
        _check(title.removeprefix("check: "), shared, text)
        for title, text in sections.items()
        if title.startswith("check: ")
    ]
    facts = {
        title.removeprefix("fact: "): (shared + text).encode()
        for title, text in sections.items()
        if title.startswith("fact: ")
    }
    return Catalogue(checks=tuple(checks), facts=facts)


def look_into(doors: Doors, server: Server, database: str) -> Connection:
    """Its administrator's connection that can change nothing; use it as a context manager."""
    return connect(make_conninfo(doors.dsn(server, database, server.admin), options=SESSION))


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One connection, and what is found over it."""

    connection: Connection
    server: str
    database: str | None = None
    findings: list[Finding] = field(default_factory=list)

    def run(self, scope: Scope, parameters: Parameters) -> None:
        """Every check of a scope. One that fails is a finding of its own, and the others go on."""
        for each in catalogue().of(scope):
            for subject, detail in self.rows(each.check.name, each.query, parameters):
                self.tell(each.check, subject, detail)

    def rows(
        self, name: str, query: bytes | sql.Composed, parameters: Parameters | None = None
    ) -> list[tuple[Any, ...]]:
        """What the query returns; nothing, once it is noted, when it fails. Raises when the connection is lost."""
        try:
            return self.connection.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            if self.connection.closed:
                raise
            refused = isinstance(error, psycopg.errors.InsufficientPrivilege) and not is_superuser(self.connection)
            self.tell(CHECK_REFUSED if refused else CHECK_FAILED, name, in_words(error))
            return []

    def tell(self, check: Check, subject: str | None = None, detail: str | None = None) -> None:
        """Note a finding."""
        found = check.finding(server=self.server, database=self.database, object=subject, detail=detail)
        self.findings.append(found)


def in_words(error: BaseException) -> str:
    """The error's first line. Not its DETAIL: that may hold values of rows."""
    message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return message or str(error).partition("\n")[0] or type(error).__name__


def _check(name: str, shared: str, text: str) -> CatalogueCheck:
    fields = dict(_FIELD.findall(text))
    scope = cast(Scope, fields["scope"])
    query = _FIELD.sub("", text)
    return CatalogueCheck(
        check=Check(name, Severity(fields["severity"]), fields["what"], fields["remedy"]),
        scope=scope,
        query=(shared + query if scope == "home" else query).encode(),
    )
