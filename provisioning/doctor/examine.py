"""The whole examination: gather, lint, compare, and look again where the roll and the world seem to differ."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from control_plane.doors import Doors
from control_plane.registry.engine import ControlDatabaseError
from provisioning.databases import context_pads
from provisioning.doctor.catalogue import catalogue
from provisioning.doctor.compare import Expected, Seen, compare
from provisioning.doctor.findings import Finding, LookedAt, Report, confirmed, in_order
from provisioning.doctor.homes import HomeLook, look_at_home
from provisioning.doctor.parts import (
    CONTROL_DOWN,
    CONTROL_SERVER,
    look_at_control,
    look_at_pooler,
    look_at_processes,
    look_at_redis,
    pooler_drift,
)
from provisioning.doctor.roll import Roll, RollDatabase, read_roll
from provisioning.doctor.servers import ServerLook, look_at_server
from provisioning.estate import Estate

CONCURRENCY = 8
"""Databases at once, one connection each."""
SETTLE_S = 2.0
"""How long work in flight gets to be done before a difference counts: suspending takes two commits, a move a few."""


@dataclass(frozen=True, kw_only=True)
class _Gathered:
    seen: Seen
    findings: tuple[Finding, ...]
    """Those of the servers and homes themselves; empty without lint, but for what could not be looked at."""
    tables: int


def _settle() -> None:
    time.sleep(SETTLE_S)


def examine(estate: Estate, *, settle: Callable[[], None] = _settle) -> Report:
    """Look at everything and change nothing. What is down is a finding; nothing that is wrong out there raises.

    Where the roll and the world differ, `settle` is called, and only what differs after it as well is a finding.
    """
    started = time.monotonic()
    found = [
        *look_at_control(estate.engine),
        *look_at_processes(estate.engine),
        *look_at_pooler(estate.pooler, estate.settings),
        *look_at_redis(estate.settings.redis_url),
    ]
    looked_at = LookedAt(checks=len(catalogue().checks))
    try:
        more, looked_at = _examine_fleet(estate, settle)
        found += more
    except ControlDatabaseError:
        found.append(CONTROL_DOWN.finding(server=CONTROL_SERVER))
    duration_ms = round((time.monotonic() - started) * 1000)
    return Report(findings=in_order(set(found)), looked_at=looked_at, duration_ms=duration_ms)


def _examine_fleet(estate: Estate, settle: Callable[[], None]) -> tuple[list[Finding], LookedAt]:
    roll = read_roll(estate.engine)
    gathered = _gather(estate.doors, roll, lint=True)
    differing = _differences(estate, roll, gathered.seen)
    if differing:
        settle()
        later = read_roll(estate.engine)
        differing = confirmed(differing, _differences(estate, later, _gather(estate.doors, later, lint=False).seen))
    looked_at = LookedAt(
        servers=len(gathered.seen.servers),
        databases=len(gathered.seen.homes),
        tables=gathered.tables,
        tenants=len({home.tenant_id for home in roll.homes}),
        checks=len(catalogue().checks),
    )
    return [*gathered.findings, *differing], looked_at


def _differences(estate: Estate, roll: Roll, seen: Seen) -> list[Finding]:
    estate.keyring.refresh()
    current, *before = (
        {database.id: _digest(estate.keyring.context_key(database.id, master)) for database in roll.databases}
        for master in estate.keyring.ids
    )
    older = {database.id: frozenset(keys[database.id] for keys in before) for database in roll.databases}
    expected = Expected(keys=current, older=older, chain=estate.chain, houses=estate.settings.plan_models)
    return compare(roll, seen, expected) + pooler_drift(estate.pooler)


def _gather(doors: Doors, roll: Roll, *, lint: bool) -> _Gathered:
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="doctor") as pool:
        servers = _look_at_servers(pool, doors, roll, lint=lint)
        homes = _look_at_homes(pool, doors, roll, servers, lint=lint)
    looks: Iterable[ServerLook | HomeLook] = (*servers.values(), *(look for _, look in homes))
    return _Gathered(
        seen=Seen(
            servers={name: look.seen for name, look in servers.items() if look.seen is not None},
            homes={database.id: look.seen for database, look in homes if look.seen is not None},
        ),
        findings=tuple(finding for look in looks for finding in look.findings),
        tables=sum(look.tables for _, look in homes),
    )


def _look_at_servers(pool: ThreadPoolExecutor, doors: Doors, roll: Roll, *, lint: bool) -> dict[str, ServerLook]:
    def look(name: str) -> ServerLook:
        server = next(server for server in roll.servers if server.name == name)
        logins = [login for database in roll.databases_on(name) for login in database.logins]
        return look_at_server(doors, server, logins, connections=roll.connections_to(server), lint=lint)

    names = [server.name for server in roll.servers if server.is_there]
    return dict(zip(names, pool.map(look, names), strict=True))


def _look_at_homes(
    pool: ThreadPoolExecutor, doors: Doors, roll: Roll, servers: dict[str, ServerLook], *, lint: bool
) -> list[tuple[RollDatabase, HomeLook]]:
    """Those that should be there and are: a server that is down has been told of once, as has a missing database."""
    by_name = {server.name: server for server in roll.servers}

    def there(database: RollDatabase) -> bool:
        seen = servers[database.server].seen
        return database.home_revision is not None and seen is not None and database.name in seen.databases

    databases = [database for database in roll.databases if there(database)]
    looks = pool.map(lambda database: look_at_home(doors, by_name[database.server], database, lint=lint), databases)
    return list(zip(databases, looks, strict=True))


def _digest(key: bytes) -> str:
    return hashlib.sha256(b"".join(context_pads(key))).hexdigest()
