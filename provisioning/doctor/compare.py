"""Where the roll and what is there differ: a pure function of both.

The two are not read at one instant, and the platform goes on working meanwhile: what differs may be work in flight.
The caller looks twice.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from control_plane.domain.moving import MOVING
from control_plane.domain.plans import Houses, misplaced
from control_plane.domain.tenant import Model, Status
from control_plane.registry.moves import FILLING, KEPT
from control_plane.registry.servers import WARM
from migrations.fleet.chains import HOME, Chain
from provisioning.doctor.findings import Check, Finding, Severity
from provisioning.doctor.homes import HomeSeen
from provisioning.doctor.roll import Roll, RollDatabase, RollHome
from provisioning.doctor.servers import ServerSeen

INSTALL_KEY = "install the one that the master key gives for it: Builder.install_key in provisioning/databases.py"

MOVE_LONG_AFTER = timedelta(hours=1)
MOVE_OVERDUE_AFTER = timedelta(minutes=10)

HOME_MISSING = Check(
    "home_missing",
    Severity.ERROR,
    "a home on the roll is not there",
    "restore it from a backup, or close its tenants",
)
DATABASE_ORPHAN = Check(
    "database_orphan",
    Severity.ERROR,
    "a database of a home that is not on the roll: nobody migrates, checks or erases it",
    "find out whose it was (`tenancy.fences` in it says), keep a dump if need be, then DROP DATABASE {database}",
)
SCHEMA_ORPHAN = Check(
    "schema_orphan",
    Severity.ERROR,
    "a schema of a tenant who has no home here by the roll: nobody migrates or erases it",
    "find out whose it was (t_<tenant id>), keep a dump if need be, then DROP SCHEMA {object} CASCADE",
)
SCHEMA_FOREIGN = Check(
    "schema_foreign",
    Severity.ERROR,
    "a schema of a tenant who has no home here by the roll, and not the platform's own: no repair can drop it",
    "ask its owner whose it is, keep a dump if need be, then, as a superuser: DROP SCHEMA {object} CASCADE",
)
ROLE_ORPHAN = Check(
    "role_orphan", Severity.WARNING, "an app login without a database on the roll", "DROP ROLE {object}"
)
SILO_SHARED = Check(
    "silo_shared",
    Severity.ERROR,
    "more than one tenant lives in a silo",
    "move all but one to homes of their own",
)
PLAN_HOME = Check(
    "plan_home",
    Severity.WARNING,
    "a tenant lives in less than its plan promises",
    "move it, or put it on another plan: copyhold tenant plan {object} PLAN",
)
MOVE_LONG = Check(
    "move_long",
    Severity.WARNING,
    "a move goes on for long; its server keeps all that is written meanwhile",
    "see what it waits for: copyhold tenant moves {object}; or cancel it: copyhold tenant move {object} --cancel",
)
MOVE_OVERDUE = Check(
    "move_overdue",
    Severity.WARNING,
    "the home that a tenant has left ought to have gone by now",
    "see that a worker runs, and what keeps it: copyhold tenant moves {object}",
)
MOVE_DIFFERS = Check(
    "move_differs",
    Severity.ERROR,
    "a tenant's two homes did not have the same rows when it was switched; the old one is kept",
    "compare them; then have it back (copyhold tenant move {object} --back), or give the old one up (--settle --yes)",
)
MOVE_LOST = Check(
    "move_lost",
    Severity.ERROR,
    "a tenant is on its way, or has another home than it lives in, and no move of it is on record",
    "`copyhold doctor --repair --yes` has a worker take it to its end: the other home goes",
)
REVISION_DRIFT = Check(
    "revision_drift",
    Severity.ERROR,
    "the ledger has another revision than the target",
    "find out who migrated past the fleet; then have the ledger (targets, databases.home_revision) say what is there",
)
REVISION_UNKNOWN = Check(
    "revision_unknown",
    Severity.ERROR,
    "a target is at a revision that this Copyhold does not know",
    "use the version that has it, or migrate the target back with that",
)
REVISION_BEHIND = Check(
    "revision_behind", Severity.WARNING, "a target is behind what new homes are built at", "`copyhold migrate up`"
)
FENCE_MISSING = Check(
    "fence_missing",
    Severity.ERROR,
    "the tenant's home has no fence: every request is refused",
    "INSERT INTO tenancy.fences (tenant_id, epoch, state) with the route's epoch, as copyhold_migrator",
)
FENCE_STATE = Check(
    "fence_state",
    Severity.ERROR,
    "fence and roll disagree on whether the tenant may be served",
    "`copyhold tenant suspend` or `resume` sets both; a home that was left is closed by hand",
)
EPOCH_MISMATCH = Check(
    "epoch_mismatch",
    Severity.ERROR,
    "fence and route have different epochs: every request is refused",
    "find out which of the two was changed past the platform, and set it to the other's",
)
FENCE_ORPHAN = Check(
    "fence_orphan",
    Severity.WARNING,
    "a fence of a tenant who has no home here by the roll; rows may be left as well",
    "delete the tenant's rows here, then the fence",
)
KEY_MISSING = Check(
    "key_missing",
    Severity.ERROR,
    "the database holds no signing key: every request is refused",
    INSTALL_KEY,
)
KEY_COPIED = Check(
    "key_copied",
    Severity.ERROR,
    "the database holds another database's signing key: who reads it here mints tokens for there",
    INSTALL_KEY,
)
KEY_WRONG = Check(
    "key_wrong",
    Severity.ERROR,
    "the database's signing key is not the one that the master key gives for it: every request is refused",
    INSTALL_KEY + "; or put the right master key back",
)
KEY_OLDER = Check(
    "key_older",
    Severity.WARNING,
    "the database's signing key is of the master key before: the change of the master key is not done",
    "copyhold master-key rotate",
)
TENANT_STUCK = Check(
    "tenant_stuck",
    Severity.WARNING,
    "the tenant's home is being made, and nothing happens any more",
    "see whether a worker runs, and what its log says",
)
TENANT_FAILED = Check(
    "tenant_failed",
    Severity.WARNING,
    "the tenant's home could not be made",
    "see to the reason, then `copyhold tenant retry` with its slug",
)

OF_A_HOME = re.compile(r"silo_[0-9a-f]{32}|(?:pool|bridge)_\d+")
OF_A_LOGIN = re.compile(rf"({OF_A_HOME.pattern})(?:_b)?")
LIVED_IN = frozenset({Status.ACTIVE, Status.SUSPENDED, Status.MOVING})
FENCE_OF = {Status.ACTIVE: "open", Status.SUSPENDED: "suspended"}
"""By status, the one state that the fence of a tenant has when nothing is in flight."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is there. Servers and databases that could not be looked at are missing from it."""

    servers: Mapping[str, ServerSeen]
    homes: Mapping[UUID, HomeSeen]


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What else there should be: the digest of each database's signing key, and the tenant chain.

    `older` are the digests of those by the master keys before, as long as these are good.
    """

    keys: Mapping[UUID, str]
    older: Mapping[UUID, frozenset[str]] = field(default_factory=dict)
    chain: Chain
    houses: Houses = field(default_factory=dict)
    """How tenants on each plan are housed at least."""


def compare(roll: Roll, seen: Seen, expected: Expected) -> list[Finding]:
    """All that differs."""
    found = [*_tenants(roll, expected.houses), *_moves(roll), *_servers(roll, seen)]
    moving = frozenset(move.tenant_id for move in roll.moves if move.phase in MOVING)
    for database in roll.databases:
        home = seen.homes.get(database.id)
        if home is None or database.home_revision is None:
            continue
        homes = tuple(each for each in roll.homes if each.database_id == database.id)
        found += _schemas(database, home, homes)
        found += _revisions(roll, database, home, homes, expected.chain)
        found += _fences(database, home, homes, moving)
        found += _keys(database, homes, seen, expected)
    return found


def _tenants(roll: Roll, houses: Houses) -> Iterator[Finding]:
    for slug, plan, model in roll.active:
        if said := misplaced(houses, slug, plan, model):
            yield PLAN_HOME.finding(object=slug, detail=said)
    for slug, since in roll.stuck:
        yield TENANT_STUCK.finding(object=slug, detail=f"since {since:%Y-%m-%d %H:%M} UTC")
    for slug, reason in roll.failed:
        yield TENANT_FAILED.finding(object=slug, detail=reason)


def _moves(roll: Roll) -> Iterator[Finding]:
    for move in roll.moves:
        why = f": {move.reason}" if move.reason else ""
        if move.differs:
            yield MOVE_DIFFERS.finding(object=move.slug, detail=move.reason)
        elif move.phase in MOVING and move.age > MOVE_LONG_AFTER:
            yield MOVE_LONG.finding(object=move.slug, detail=f"{move.phase} for {_hours(move.age)}{why}")
        elif move.phase not in MOVING and move.overdue > MOVE_OVERDUE_AFTER:
            yield MOVE_OVERDUE.finding(object=move.slug, detail=f"for {_hours(move.overdue)}{why}")
    moved = {move.tenant_id for move in roll.moves}
    lost = {
        home.slug
        for home in roll.homes
        if home.tenant_id not in moved
        and (home.status is Status.MOVING or (home.state in {FILLING, KEPT} and home.status is not Status.CLOSED))
    }
    for slug in sorted(lost):
        yield MOVE_LOST.finding(object=slug)


def _hours(time: timedelta) -> str:
    return f"{time.total_seconds() / 3600:.1f} h"


def _servers(roll: Roll, seen: Seen) -> Iterator[Finding]:
    for name, server in seen.servers.items():
        known = roll.databases_on(name)
        names = {database.name for database in known}
        for database in known:
            if database.home_revision is not None and database.name not in server.databases:
                yield HOME_MISSING.finding(server=name, database=database.name, detail="there is no such database")
        for orphan in sorted(filter(OF_A_HOME.fullmatch, server.databases - names)):
            yield DATABASE_ORPHAN.finding(server=name, database=orphan)
        logins = {login for database in known for login in database.logins}
        for orphan in sorted(filter(OF_A_LOGIN.fullmatch, server.logins - logins)):
            yield ROLE_ORPHAN.finding(server=name, object=orphan)


def _schemas(database: RollDatabase, seen: HomeSeen, homes: tuple[RollHome, ...]) -> Iterator[Finding]:
    place = {"server": database.server, "database": database.name}
    for schema in sorted(database.targets.keys() - seen.targets.keys()):
        yield HOME_MISSING.finding(**place, object=schema, detail="there is no such schema, or nothing in it")
    known = database.targets.keys() | {home.schema for home in homes} | {"public"}
    for schema in sorted(seen.targets.keys() - known):
        if (owner := seen.foreign.get(schema)) is not None:
            yield SCHEMA_FOREIGN.finding(**place, object=schema, detail=f"it belongs to {owner}")
        else:
            yield SCHEMA_ORPHAN.finding(**place, object=schema)
    if database.model is Model.SILO and len(there := [home.slug for home in homes if home.state != "left"]) > 1:
        yield SILO_SHARED.finding(**place, detail=", ".join(sorted(there)))


def _revisions(
    roll: Roll, database: RollDatabase, seen: HomeSeen, homes: tuple[RollHome, ...], chain: Chain
) -> Iterator[Finding]:
    lived_in = {home.schema for home in homes if home.status in LIVED_IN and home.state == "current"}
    targets = [("tenancy", HOME, seen.home_revision, database.home_revision, roll.wanted.home)] + [
        (schema, chain, revision, database.targets.get(schema), roll.wanted.tenant)
        for schema, revision in sorted(seen.targets.items())
        if schema in database.targets or schema in lived_in
    ]
    for schema, of, there, ledger, wanted in targets:
        place = {"server": database.server, "database": database.name, "object": schema}
        if there != ledger:
            yield REVISION_DRIFT.finding(**place, detail=f"{there} is there, the ledger has {ledger}")
        if there is not None and there not in of.revisions:
            yield REVISION_UNKNOWN.finding(**place, detail=there)
        elif wanted in of.revisions and of.upgrades(there, wanted):
            yield REVISION_BEHIND.finding(**place, detail=f"{there}, where {wanted} is wanted")


def _fences(
    database: RollDatabase, seen: HomeSeen, homes: tuple[RollHome, ...], moving: Collection[UUID]
) -> Iterator[Finding]:
    place = {"server": database.server, "database": database.name}
    current = {home.tenant_id for home in homes if home.state != "left"}
    for home in homes:
        fence = seen.fences.get(home.tenant_id)
        subject = {**place, "object": home.slug}
        if home.state == "left" or home.status is Status.CLOSED:
            if fence is not None and fence.state == "open" and (home.state != "left" or home.tenant_id not in current):
                yield FENCE_STATE.finding(**subject, detail="it was left or closed, and its fence here is open")
        elif home.state in {FILLING, KEPT}:
            if fence is not None and fence.state == "open":
                yield FENCE_STATE.finding(**subject, detail="the tenant lives elsewhere, and its fence here is open")
        elif home.state == "current" and home.status in LIVED_IN:
            if fence is None:
                yield FENCE_MISSING.finding(**subject)
                continue
            if home.tenant_id in moving:
                continue  # Its route may have been switched between two looks.
            wanted = FENCE_OF.get(home.status, fence.state)
            if fence.state != wanted:
                yield FENCE_STATE.finding(**subject, detail=f"the tenant is {home.status}, its fence {fence.state}")
            if home.status is not Status.MOVING and fence.epoch != home.epoch:
                yield EPOCH_MISMATCH.finding(**subject, detail=f"route {home.epoch}, fence {fence.epoch}")
    for stranger in sorted(seen.fences.keys() - {home.tenant_id for home in homes}, key=str):
        yield FENCE_ORPHAN.finding(**place, object=str(stranger), detail=f"it is {seen.fences[stranger].state}")


def _keys(database: RollDatabase, homes: tuple[RollHome, ...], seen: Seen, expected: Expected) -> Iterator[Finding]:
    place = {"server": database.server, "database": database.name}
    digest = seen.homes[database.id].key_digest
    lived_in = database.model is not Model.SILO or any(home.status in LIVED_IN for home in homes)
    in_use = lived_in or database.state == WARM
    if digest is None:
        if in_use:
            yield KEY_MISSING.finding(**place)
    elif digest in expected.older.get(database.id, ()):
        yield KEY_OLDER.finding(**place)
    elif digest != expected.keys[database.id]:
        holders = Counter(home.key_digest for home in seen.homes.values())
        copied = digest in expected.keys.values() or holders[digest] > 1
        yield (KEY_COPIED if copied else KEY_WRONG).finding(**place)
