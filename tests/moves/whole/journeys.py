"""Moves as tests have them: asked for, waited for, and what has to be true of everything afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import select

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry import moves, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow
from control_plane.tenants import moving
from provisioning.doctor.compare import FENCE_OF
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

SERVERS = ("alpha", "beta")
TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname = 'public' OR n.nspname LIKE 't\\_%') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped)
"""
FENCE = "SELECT epoch, state FROM tenancy.fences WHERE tenant_id = %s"
LEFTOVERS = """
SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE %(like)s
 UNION ALL SELECT 'progress ' || name FROM tenancy.streams WHERE name LIKE %(like)s
"""
AT_ONCE = timedelta(0)


def begin(
    tenant: TenantUnderTest,
    model: Model,
    server: str | None = None,
    *,
    database: str | None = None,
    window: timedelta = timedelta(hours=1),
    allow_freeze: bool = False,
) -> UUID:
    """Ask for a move; its id."""
    platform = tenant.platform
    with transaction(platform.engine) as session:
        move = moving.request(
            session,
            platform.workflows,
            tenants.get(session, tenant.id, lock=True),
            "tests",
            model=model,
            server=server,
            database=database,
            undo_window=window,
            allow_freeze=allow_freeze,
        )
        return move.id


def begin_back(tenant: TenantUnderTest) -> UUID:
    """Ask for the way back; the move's id."""
    with transaction(tenant.platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        return moving.back(session, tenant.platform.workflows, row, "tests").id


def cancel(tenant: TenantUnderTest) -> None:
    """Ask for it to end where it began."""
    with transaction(tenant.platform.engine) as session:
        moving.cancel(session, tenants.get(session, tenant.id, lock=True), "tests")


def settle(tenant: TenantUnderTest) -> UUID:
    """Give up the home that was left; the move's id."""
    with transaction(tenant.platform.engine) as session:
        return moving.settle(session, tenants.get(session, tenant.id, lock=True), "tests").id


def change(tenant: TenantUnderTest, wish: Callable[..., None]) -> None:
    """Suspend or resume it, and wait until the home says so too."""
    town = tenant.platform
    with transaction(town.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        wish(session, town.workflows, row, "tests")
        workflow_id = row.workflow_id
    assert workflow_id is not None

    def done() -> bool:
        with transaction(town.engine) as session:
            return workflow_records.get(session, workflow_id).state == workflow_records.DONE

    until(done, what="its fence is set")


def move_of(platform: PlatformUnderTest, move_id: UUID) -> MoveRow:
    """The move as it is now."""
    with transaction(platform.engine) as session:
        return moves.get(session, move_id)


def wait_for(platform: PlatformUnderTest, move_id: UUID, *phases: Phase, deadline_s: float = 120) -> MoveRow:
    """The move in one of these phases; fails as soon as it has ended in another."""

    def there() -> bool:
        row = move_of(platform, move_id)
        assert row.phase in phases or row.phase not in {Phase.DONE, Phase.CALLED_OFF}, (row.phase, row.reason)
        return row.phase in phases

    until(there, what=f"the move is {' or '.join(phases)}", deadline_s=deadline_s)
    return move_of(platform, move_id)


def moved(tenant: TenantUnderTest, model: Model, server: str | None = None) -> MoveRow:
    """Move it and wait until it has arrived."""
    move_id = begin(tenant, model, server)
    return wait_for(tenant.platform, move_id, Phase.KEPT)


def end_workflow_of(platform: PlatformUnderTest, tenant_id: UUID) -> None:
    """Have the tenant's last workflow be on record as ended: what it was to do the test has done, or others will."""
    with transaction(platform.engine) as session:
        workflow_id = tenants.get(session, tenant_id).workflow_id
        if workflow_id is not None:
            workflow_records.ended(session, workflow_id)


def home_of(tenant: TenantUnderTest) -> tuple[Model, str]:
    """What it is housed as by the roll, and on which server."""
    with transaction(tenant.platform.engine) as session:
        home = tenants.current_home(session, tenant.id)
        assert home is not None
        return Model(home.model), servers.database(session, home.database_id).server


def epoch_of(tenant: TenantUnderTest) -> int:
    """Of its route."""
    return tenant.route.epoch


@dataclass(frozen=True, kw_only=True)
class Traces:
    """All that there is of a tenant and of its moves, in every database of the platform."""

    rows: dict[str, int]
    """By database and schema, how many; where there are none it is missing."""
    fences: dict[str, tuple[int, str]]
    """By database, epoch and state."""
    leftovers: list[str]
    """Slots, publications and progress of moves."""


def traces_of(tenant: TenantUnderTest) -> Traces:
    """As they are now; what other tenants' moves drop meanwhile has nothing of this one."""
    traces = Traces(rows={}, fences={}, leftovers=[])
    for server in (*SERVERS, *tenant.platform.others):
        with tenant.platform.superuser(server, "postgres") as admin:
            query = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %s"
            traces.leftovers.extend(f"slot {name}" for (name,) in admin.execute(query, [f"%{tenant.id.hex}"]))
        for database in _databases(tenant.platform, server):
            gone = _unless_it_is_gone(tenant.platform, server, database)
            with gone, tenant.platform.superuser(server, database) as connection:
                _look(connection, database, tenant.id, traces)
    return traces


@contextmanager
def _unless_it_is_gone(platform: PlatformUnderTest, server: str, database: str) -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError:
        if database in _databases(platform, server):
            raise


def _look(connection: psycopg.Connection[Any], database: str, tenant_id: UUID, traces: Traces) -> None:
    for schema, table in connection.execute(TABLES).fetchall():
        query = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(sql.Identifier(schema, table))
        with suppress(psycopg.errors.UndefinedTable):
            ((count,),) = connection.execute(query, [tenant_id]).fetchall()
            if count:
                place = f"{database}.{schema}"
                traces.rows[place] = traces.rows.get(place, 0) + count
    for epoch, state in connection.execute(FENCE, [tenant_id]):
        traces.fences[database] = (epoch, state)
    traces.leftovers.extend(what for (what,) in connection.execute(LEFTOVERS, {"like": f"%{tenant_id.hex}"}))


def where_it_has_rows(tenant: TenantUnderTest) -> dict[str, int]:
    """Every database and schema of the platform in which a row of the tenant's stands, with how many."""
    return traces_of(tenant).rows


def fences_of(tenant: TenantUnderTest) -> dict[str, tuple[int, str]]:
    """By database, the epoch and state of its fence there."""
    return traces_of(tenant).fences


def assert_one_home(
    tenant: TenantUnderTest, model: Model, epoch: int, *, served: bool = True, status: Status = Status.ACTIVE
) -> None:
    """It lives there by the roll, by its rows and by its fences; nothing of any move is left. Unless `served` is false,
    for one that cannot be asked: it is served, or refused while it is suspended.
    """
    platform = tenant.platform
    until(lambda: platform.status(tenant.id)[0] is status, what=f"it is {status}")
    assert (home_of(tenant)[0], epoch_of(tenant), tenant.route.model) == (model, epoch, model)
    home = tenant.route.home
    assert home is not None
    traces = traces_of(tenant)
    assert list(traces.rows) == [f"{home.database}.{home.schema}"]
    assert traces.fences == {home.database: (epoch, FENCE_OF[status])}
    assert traces.leftovers == []
    with transaction(platform.engine) as session:
        states = session.scalars(select(HomeRow.state).where(HomeRow.tenant_id == tenant.id)).all()
    assert sorted(set(states) - {"left"}) == ["current"]
    if not served:
        return
    answer = tenant.http.get("/api/me")
    if status is Status.SUSPENDED:
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")
    else:
        assert answer.status_code == 200


def _databases(platform: PlatformUnderTest, server: str) -> list[str]:
    with transaction(platform.engine) as session:
        query = select(DatabaseRow.name).where(DatabaseRow.server == server)
        known = session.scalars(query.where(DatabaseRow.home_revision.is_not(None))).all()
    with platform.superuser(server, "postgres") as admin:
        there = {name for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall()}
    return sorted(there.intersection(known))
