"""Reading what the roll says, as far as a plan of repairs asks for it."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.tenant import Model, Status
from control_plane.registry import census, fleet, servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.tables import DatabaseRow
from control_plane.registry.workflows import DurableWorkflows, kind_of
from provisioning.doctor.roll import Roll, RollDatabase, read_roll
from provisioning.estate import Estate
from provisioning.repair import stock
from provisioning.repair.facts import Known, KnownDatabase, KnownTenant

CHANGING = frozenset({Status.PROVISIONING, Status.FAILED, Status.CLOSING})
"""In these a tenant waits for a workflow."""


def read_known(estate: Estate, workflows: DurableWorkflows, grace: timedelta) -> tuple[Known, Roll]:
    """The roll, for the plan and as the doctor reads it; ControlDatabaseError when it cannot be read."""
    roll = read_roll(estate.engine)
    with transaction(estate.engine) as session:
        tenants = census.all_tenants(session)
        unended = census.unended_workflows(session, grace)
        ill_stocked = stock.ill_stocked(session, [server.name for server in roll.servers])
        dead_runs = tuple(fleet.dead_runs(session))
        databases = tuple(_databases(session, roll))
    unfinished = [row.workflow_id for row, _ in tenants if row.workflow_id and row.status in CHANGING]
    going_on = workflows.going_on([*unfinished, *unended, *(each for ids in ill_stocked.values() for each in ids)])
    known = Known(
        databases=databases,
        homes=tuple(home for home in roll.homes if home.status is not Status.CLOSED),
        tenants={
            row.id: KnownTenant(
                id=row.id,
                slug=row.slug,
                status=Status(row.status),
                quiet_for=quiet_for,
                workflow=kind_of(row.workflow_id),
                going_on=row.workflow_id in going_on,
            )
            for row, quiet_for in tenants
        },
        wanted=roll.wanted,
        ill_stocked=tuple(name for name, ids in sorted(ill_stocked.items()) if not ids & going_on),
        dead_runs=dead_runs,
        lost_workflows=tuple(each for each in unended if each not in going_on),
        moving=frozenset(move.tenant_id for move in roll.moves),
    )
    return known, roll


def _databases(session: Session, roll: Roll) -> list[KnownDatabase]:
    targets = {database.id: database for database in roll.databases}
    age = func.clock_timestamp() - DatabaseRow.created_at
    query = select(DatabaseRow, age).where(DatabaseRow.state != servers.GONE)
    return [
        KnownDatabase(
            id=row.id,
            server=row.server,
            name=row.name,
            logins=frozenset(servers.logins(row)),
            model=Model(row.model),
            state=row.state,
            schemas=frozenset(targets[row.id].targets) if row.id in targets else frozenset(),
            revisions=_revisions(row.home_revision, targets.get(row.id)),
            age=age,
        )
        for row, age in session.execute(query)
    ]


def _revisions(home: str | None, database: RollDatabase | None) -> Revisions | None:
    tenant = database.targets.get(SHARED_SCHEMA) if database is not None else None
    return Revisions(home=home, tenant=tenant) if home is not None and tenant is not None else None
