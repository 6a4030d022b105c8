"""What the roll says there should be, read at once into frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine

from control_plane.domain.moving import Phase
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import census, fleet, moves, servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import GOING, GONE, READY
from control_plane.registry.tables import MoveRow

STUCK_AFTER = timedelta(minutes=10)
"""A home is made in seconds; a workflow that has done nothing for this long is not going to."""


@dataclass(frozen=True, kw_only=True)
class RollDatabase:
    """A database that holds tenants. `home_revision` is None until it has been built."""

    id: UUID
    server: str
    name: str
    model: Model
    home_revision: str | None
    targets: Mapping[str, str | None]
    """By schema, the revision that the ledger knows."""
    logins: tuple[str, ...]
    """The app's: the one that is used and, while another takes its place, that one."""
    state: str = READY


@dataclass(frozen=True, kw_only=True)
class RollHome:
    """A tenant's home: filling, current, kept or left. `epoch` is None unless the tenant's route leads there."""

    tenant_id: UUID
    slug: str
    status: Status
    database_id: UUID
    schema: str
    state: str
    epoch: int | None


@dataclass(frozen=True, kw_only=True)
class RollMove:
    """A move that has not ended."""

    tenant_id: UUID
    slug: str
    phase: Phase
    age: timedelta
    overdue: timedelta
    """For how long what was left ought to have gone; below zero: it is kept yet."""
    reason: str | None
    differs: bool
    """Whether the two homes did not have the same rows at the switch."""


@dataclass(frozen=True, kw_only=True)
class Roll:
    """All of it."""

    servers: tuple[Server, ...]
    databases: tuple[RollDatabase, ...]
    homes: tuple[RollHome, ...]
    wanted: Revisions
    stuck: tuple[tuple[str, datetime], ...]
    """Slugs of tenants whose home is being made and nothing happens, and since when."""
    failed: tuple[tuple[str, str], ...]
    """Slugs of tenants whose home could not be made, and why."""
    moves: tuple[RollMove, ...] = ()
    """Those that are open."""
    active: tuple[tuple[str, Plan, Model], ...] = ()
    """Of those that are served and not on their way: slug, plan, and how each is housed."""

    def databases_on(self, server: str) -> tuple[RollDatabase, ...]:
        """Those of one server."""
        return tuple(database for database in self.databases if database.server == server)

    def connections_to(self, server: Server) -> int:
        """How many the pooler may come to hold there: its room, and one a database where these are more."""
        served = [database for database in self.databases_on(server.name) if database.state not in {GOING, GONE}]
        return max(server.connections, len(served))


def read_roll(engine: Engine) -> Roll:
    """The roll as it is now; ControlDatabaseError when it cannot be read."""
    with transaction(engine) as session:
        targets: dict[UUID, dict[str, str | None]] = {}
        for row, target in fleet.targets(session):
            targets.setdefault(row.id, {})[target.schema] = target.revision
        return Roll(
            servers=tuple(servers.all_servers(session)),
            databases=tuple(
                RollDatabase(
                    id=row.id,
                    server=row.server,
                    name=row.name,
                    model=Model(row.model),
                    home_revision=row.home_revision,
                    targets=targets.get(row.id, {}),
                    logins=servers.logins(row),
                    state=row.state,
                )
                for row in servers.all_databases(session)
            ),
            homes=tuple(
                RollHome(
                    tenant_id=home.tenant_id,
                    slug=tenant.slug,
                    status=Status(tenant.status),
                    database_id=home.database_id,
                    schema=home.schema,
                    state=home.state,
                    epoch=epoch,
                )
                for home, tenant, epoch in census.homes(session)
            ),
            wanted=fleet.wanted(session),
            stuck=tuple(
                (slug, since) for _, slug, since in census.silent_for(session, Status.PROVISIONING, STUCK_AFTER)
            ),
            failed=tuple((row.slug, row.failure or "") for row in census.tenants_in(session, Status.FAILED)),
            active=tuple(
                (row.slug, Plan(row.plan), Model(row.model)) for row in census.tenants_in(session, Status.ACTIVE)
            ),
            moves=tuple(_move(*each) for each in moves.open_ones(session)),
        )


def _move(row: MoveRow, slug: str, age: timedelta, overdue: timedelta | None) -> RollMove:
    return RollMove(
        tenant_id=row.tenant_id,
        slug=slug,
        phase=Phase(row.phase),
        age=age,
        overdue=overdue if overdue is not None else timedelta(0),
        reason=row.reason,
        differs=row.verified is False,
    )
