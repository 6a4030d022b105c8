"""What is to be said of a server that others run: from facts to findings, each with its SQL. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from provisioning.doctor.findings import Severity
from provisioning.doctor.settings import OLDEST_MAJOR, judge
from provisioning.providers.existing import statements
from provisioning.providers.existing.facts import LOGINS, Facts
from provisioning.providers.existing.privileges import privileges_of

RESERVED_CONNECTIONS = 30
"""Of a server's max_connections: for migrations, moves, provisioning and people."""
_WANTED = {
    "wal_level": "logical",
    "max_slot_wal_keep_size": "1GB",
    "fsync": "on",
    "full_page_writes": "on",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length_on_error": "0",
}
_AT_LEAST = {"max_replication_slots": 10, "max_wal_senders": 10}
_RELOAD = "SELECT pg_reload_conf();"
AT_RESTART = frozenset({"wal_level", *_AT_LEAST, "max_connections"})
"""Settings that a server reads when it starts, and not before."""


class Level(enum.StrEnum):
    """How bad it is: with an error the server is not taken, with a warning something will be wanting."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """Stable name; part of the public surface."""
    level: Level
    why: str
    remedy: str = ""
    """What puts it right where SQL alone does not."""
    sql: tuple[str, ...] = ()
    """Statements for a superuser, in order."""


def findings(facts: Facts, verifiers: Mapping[str, str], *, connections: int | None = None) -> tuple[Finding, ...]:
    """All that is to be said, in the order in which it is to be mended.

    `verifiers` are what the server is to check the platform's passwords with; `connections`, how many the pooler is to
    have there.
    """
    if facts.trouble is not None:
        trouble = facts.trouble
        return (Finding(what=trouble.what, level=Level.ERROR, why=trouble.why, remedy=trouble.remedy),)
    reached = Finding(what="reached", level=Level.OK, why="the name, TLS, the certificate and the login are in order")
    if facts.major < OLDEST_MAJOR:
        old = f"PostgreSQL {facts.major} is older than {OLDEST_MAJOR}"
        return (reached, Finding(what="version", level=Level.ERROR, why=old, remedy="upgrade the server"))
    return (reached, *_server(facts), *_privileges(facts, verifiers), *_rules(facts), *_settings(facts, connections))


def refusals(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those for which the server is not taken."""
    return tuple(each for each in found if each.level is Level.ERROR)


def remedy_sql(found: Iterable[Finding]) -> str:
    """All SQL of the findings as one text to paste; empty when there is nothing to run."""
    every = [statement for each in found for statement in each.sql]
    changed = [each for each in every if each != _RELOAD]
    return statements.pasted([*changed, _RELOAD] if _RELOAD in every else changed)


def connections_for(facts: Facts) -> int:
    """How many the pooler may have there: all but a reserve for superusers and one for everything else."""
    settings = facts.settings
    return int(settings["max_connections"]) - int(settings["superuser_reserved_connections"]) - RESERVED_CONNECTIONS


def _server(facts: Facts) -> Iterator[Finding]:
    if facts.standby or facts.settings.get("default_transaction_read_only") == "on":
        why = "it is a standby, or takes no writes"
        yield Finding(what="primary", level=Level.ERROR, why=why, remedy="give the address of its primary")
    if facts.encoding != "UTF8":
        why = f"new databases there are in {facts.encoding}: what tenants write is UTF-8"
        yield Finding(
            what="encoding", level=Level.ERROR, why=why, remedy="a server made with initdb --encoding=UTF8 is needed"
        )
    held = f"PostgreSQL {facts.settings['server_version']}, {facts.encoding} {facts.locale}"
    used = (
        f"{facts.used_bytes / 1024**2:.0f} MiB in databases that it may look at; how much is free, its host alone knows"
    )
    yield Finding(what="server", level=Level.OK, why=f"{held}; {used}; {facts.connections} other sessions now")


def _privileges(facts: Facts, verifiers: Mapping[str, str]) -> Iterator[Finding]:
    missing = tuple(privileges_of(facts, verifiers))
    # A superuser who has to be asked for one of them is asked for all: one text, and nothing is left to chance.
    asked = any(each.needed and not each.by_itself for each in missing)
    for each in missing:
        level = Level.OK if each.by_itself else Level.ERROR if each.needed else Level.WARNING
        yield Finding(what=each.what, level=level, why=each.why, sql=each.sql if asked or not each.by_itself else ())
    for role, said in facts.refused.items():
        if "password authentication failed" not in said:
            remedy = (
                "let it in by pg_hba.conf: hostssl all copyhold_migrator,copyhold_mover,copyhold_backup … scram-sha-256"
            )
            yield Finding(what="rules", level=Level.ERROR, why=f"{role} is not let in: {said}", remedy=remedy)
    if not facts.refused and all(role in facts.roles for role in LOGINS):
        yield Finding(what="roles", level=Level.OK, why="the platform's roles are there and get in")


def _rules(facts: Facts) -> Iterator[Finding]:
    ours = () if not facts.admin.superuser else ("postgres", "template1")
    if found := [name for name in facts.open_databases if name not in ours]:
        entered = facts.address.admin in facts.roles and "postgres" in found
        first = (statements.let_into("postgres", facts.address.admin),) if entered else ()
        yield Finding(
            what="open_databases",
            level=Level.WARNING,
            why=f"everybody may connect to {', '.join(found)}: the apps' logins of all tenants too",
            sql=(*first, *map(statements.close_database, found)),
        )
    if not facts.admin.superuser:
        why = "PostgreSQL's own catalogue is closed by a superuser alone: before that no pool or bridge is built there"
        how = "once it is added, copyhold server hardening prints the SQL"
        yield Finding(what="catalogue", level=Level.OK, why=why, remedy=how)
    if facts.above:
        why = f"who reads all there, whatever the policies say: {', '.join(facts.above)}"
        yield Finding(what="above", level=Level.OK, why=why)


def _settings(facts: Facts, connections: int | None) -> Iterator[Finding]:
    settings = facts.settings
    for judged in judge("", settings, connections=connections or 0):
        level = Level.ERROR if judged.severity is Severity.ERROR else Level.WARNING
        name = judged.object or _NAMES.get(judged.check, "")
        sql = (statements.set_for_all(name, _WANTED[name]), _RELOAD) if name in _WANTED else ()
        remedy = "restart it after the SQL" if name in AT_RESTART else "" if sql else judged.remedy
        yield Finding(what=name or judged.check, level=level, why=judged.what, remedy=remedy, sql=sql)
    for name, least in _AT_LEAST.items():
        if int(settings[name]) < least:
            why = f"{name} is {settings[name]}: fewer than {least} tenants can be moved away at once"
            raised = (statements.set_for_all(name, str(least)),)
            yield Finding(what=name, level=Level.WARNING, why=why, remedy="restart it after the SQL", sql=raised)
    if (kept := settings["password_encryption"]) != "scram-sha-256":
        yield Finding(
            what="password_encryption",
            level=Level.WARNING,
            why=f"passwords are kept as {kept}: those set by others there are weak",
            sql=(statements.set_for_all("password_encryption", "scram-sha-256"), _RELOAD),
        )
    yield _room(facts)


def _room(facts: Facts) -> Finding:
    room, said = connections_for(facts), f"max_connections is {facts.settings['max_connections']}"
    if room > 0:
        return Finding(what="connections", level=Level.OK, why=f"{said}: {room} for the pooler")
    wanted = statements.set_for_all("max_connections", "100")
    why = f"{said}: with a reserve of {RESERVED_CONNECTIONS} and the superusers' none is left for tenants"
    return Finding(what="connections", level=Level.ERROR, why=why, remedy="restart it after the SQL", sql=(wanted,))


_NAMES = {"wal_level": "wal_level", "slot_wal_unbounded": "max_slot_wal_keep_size"}
