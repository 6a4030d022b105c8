"""Looking at one server: its version and settings, its roles and rules, and which databases and logins it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from provisioning.doctor.catalogue import Visit, in_words, look_into
from provisioning.doctor.findings import Check, Finding, Severity
from provisioning.doctor.homes import KEY_DIGEST, platform_roles
from provisioning.doctor.settings import SETTINGS, judge

SERVER_DOWN = Check(
    "server_down",
    Severity.ERROR,
    "the server does not answer: none of its tenants is served",
    "start it; `copyhold up` starts those of one machine",
)
TEMPLATE_KEY = Check(
    "template_key",
    Severity.ERROR,
    "a template holds a signing key: every silo copied from it starts with the same",
    "DELETE FROM tenancy.keys in it, or drop it: the next silo makes it anew",
)

_SETTINGS = b"SELECT name, setting FROM pg_settings WHERE name = ANY (%(names)s)"
_DATABASES = b"SELECT datname, datname ~ '^template_' AND datallowconn FROM pg_database ORDER BY datname"
_LOGINS = b"SELECT rolname FROM pg_roles WHERE rolcanlogin ORDER BY rolname"
_ADMIN_DATABASE = "postgres"


@dataclass(frozen=True, kw_only=True)
class ServerSeen:
    """What one server has."""

    databases: frozenset[str]
    logins: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class ServerLook:
    """What came of looking: `seen` is None for a server that does not answer."""

    seen: ServerSeen | None
    findings: tuple[Finding, ...]


def look_at_server(doors: Doors, server: Server, logins: Sequence[str], *, connections: int, lint: bool) -> ServerLook:
    """Read what the roll is compared with and, with `lint`, check the server. One that is down is a finding.

    `logins` are the apps' there, `connections` how many the pooler may come to hold.
    """
    try:
        with look_into(doors, server, _ADMIN_DATABASE) as connection:
            visit = Visit(connection=connection, server=server.name)
            databases = dict(visit.rows("databases", _DATABASES))
            there = frozenset(name for (name,) in visit.rows("logins", _LOGINS))
            if lint:
                _lint(visit, server, logins, connections)
                for template in (name for name, is_open in databases.items() if is_open):
                    visit.findings.extend(_look_into_template(doors, server, template))
            seen = ServerSeen(databases=frozenset(databases), logins=there)
            return ServerLook(seen=seen, findings=tuple(visit.findings))
    except (psycopg.Error, NoDoorError) as error:
        return ServerLook(seen=None, findings=(SERVER_DOWN.finding(server=server.name, detail=in_words(error)),))


def _lint(visit: Visit, server: Server, logins: Sequence[str], connections: int) -> None:
    settings = dict(visit.rows("settings", _SETTINGS, {"names": list(SETTINGS)}))
    visit.findings.extend(judge(server.name, settings, connections=connections))
    visit.run("server", {"roles": platform_roles(server), "logins": list(logins), "admin": server.admin})


def _look_into_template(doors: Doors, server: Server, template: str) -> list[Finding]:
    """Only an open template can be looked into; a closed one nobody can read, and each copy gets a key of its own."""
    with look_into(doors, server, template) as connection:
        visit = Visit(connection=connection, server=server.name, database=template)
        if visit.rows("template's key", KEY_DIGEST):
            visit.tell(TEMPLATE_KEY)
        return visit.findings
