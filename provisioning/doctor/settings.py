"""What a PostgreSQL server must be like, judged from its version and settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provisioning.doctor.findings import Check, Finding, Severity

OLDEST_MAJOR = 15
SECURITY_FLOORS = {15: 20, 16: 16, 17: 12, 18: 7}
"""Minor releases with the fixes of row-level security, by major."""

POSTGRES_VERSION = Check(
    "postgres_version",
    Severity.ERROR,
    f"PostgreSQL is older than {OLDEST_MAJOR}: moves filter publications by row, views need security_invoker",
    "upgrade the server",
)
POSTGRES_SECURITY = Check(
    "postgres_security",
    Severity.WARNING,
    "PostgreSQL lacks fixes of row-level security",
    "install the newest minor release and restart the server",
)
WAL_LEVEL = Check(
    "wal_level",
    Severity.ERROR,
    "the server does not write what moves read: no tenant can be moved away while it works",
    "set wal_level = logical and restart the server",
)
SLOT_WAL_UNBOUNDED = Check(
    "slot_wal_unbounded",
    Severity.WARNING,
    "a slot that nobody reads may fill the disk",
    "set max_slot_wal_keep_size and reload the server",
)
DURABILITY = Check(
    "durability",
    Severity.ERROR,
    "what was committed may be lost in a crash of the machine",
    "set {object} = on and reload the server",
)
LOG_CONTENT = Check(
    "log_content",
    Severity.WARNING,
    "the server's log may carry what tenants wrote",
    "set {object} as provisioning/providers/local.py does, and reload the server",
)
CONNECTION_BUDGET = Check(
    "connection_budget",
    Severity.WARNING,
    "the pooler may open more connections than the server takes",
    "raise max_connections, or say how many there are (copyhold server room {server} --connections N); each database"
    " has one at least: where these are too many, put tenants elsewhere",
)

# A setting and the values with which no statement, parameter or DETAIL of a tenant gets into the log.
_QUIET: Mapping[str, frozenset[str]] = {
    "log_statement": frozenset({"none", "ddl"}),
    "log_min_duration_statement": frozenset({"-1"}),
    "log_min_duration_sample": frozenset({"-1"}),
    "log_transaction_sample_rate": frozenset({"0"}),
    "log_min_error_statement": frozenset({"fatal", "panic", "log"}),
    "log_error_verbosity": frozenset({"terse"}),
    "log_parameter_max_length_on_error": frozenset({"0"}),
}
_DURABLE = ("fsync", "full_page_writes")
SETTINGS = (
    "server_version_num",
    "server_version",
    "wal_level",
    "max_slot_wal_keep_size",
    "max_connections",
    "superuser_reserved_connections",
    *_DURABLE,
    *_QUIET,
)


def judge(server: str, settings: Mapping[str, str], *, connections: int | None) -> list[Finding]:
    """What is wrong with a server of these settings; `connections` is what the pooler may come to hold.

    None stands for the control server: nobody is moved there, and no pooler stands before it.
    """
    found = [*_versions(server, settings), *_logs(server, settings)]
    found += [
        DURABILITY.finding(server=server, object=name, detail=f"{name} is off")
        for name in _DURABLE
        if settings.get(name) == "off"
    ]
    return found if connections is None else found + list(_for_tenants(server, settings, connections))


def _versions(server: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    major, minor = divmod(int(settings["server_version_num"]), 10_000)
    version = settings["server_version"].partition(" ")[0]
    if major < OLDEST_MAJOR:
        yield POSTGRES_VERSION.finding(server=server, detail=f"it is {version}")
    elif minor < SECURITY_FLOORS.get(major, 0):
        floor = f"{major}.{SECURITY_FLOORS[major]}"
        yield POSTGRES_SECURITY.finding(server=server, detail=f"it is {version}, they came with {floor}")


def _logs(server: str, settings: Mapping[str, str]) -> Iterator[Finding]:
    for name, quiet in _QUIET.items():
        if name in settings and settings[name] not in quiet:
            yield LOG_CONTENT.finding(server=server, object=name, detail=f"{name} is {settings[name]}")


def _for_tenants(server: str, settings: Mapping[str, str], connections: int) -> Iterator[Finding]:
    if settings["wal_level"] != "logical":
        yield WAL_LEVEL.finding(server=server, detail=f"wal_level is {settings['wal_level']}")
    if settings["max_slot_wal_keep_size"] == "-1":
        yield SLOT_WAL_UNBOUNDED.finding(server=server, detail="max_slot_wal_keep_size is not set")
    room = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    if connections > room:
        yield CONNECTION_BUDGET.finding(
            server=server, detail=f"{connections} by its room or its databases, {room} by its settings"
        )
