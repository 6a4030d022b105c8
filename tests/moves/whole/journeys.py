"""Moves as tests have them: asked for, waited for, and what has to be true of everything afterwards."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from psycopg import sql
from sqlalchemy import select

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry import moves, servers, tenants, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow
from control_plane.tenants import moving
from provisioning.exports.content import tables_in
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

SERVERS = ("alpha", "beta")
AT_ONCE = timedelta(0)


def begin(
    tenant: TenantUnderTest,
    model: Model,
    server: str | None = None,
    *,
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


def settle(tenant: TenantUnderTest) -> None:
    """Give up the home that was left."""
    with transaction(tenant.platform.engine) as session:
        moving.settle(session, tenants.get(session, tenant.id, lock=True), "tests")


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


def where_it_has_rows(tenant: TenantUnderTest) -> dict[str, int]:
    """Every database and schema of the platform in which a row of the tenant's stands, with how many."""
    found = {}
    for server in SERVERS:
        for database in _databases(tenant.platform, server):
            with tenant.platform.superuser(server, database) as connection:
                query = "SELECT nspname FROM pg_namespace WHERE nspname = 'public' OR nspname LIKE 't\\_%'"
                for (schema,) in connection.execute(query).fetchall():
                    count = sum(
                        connection.execute(
                            sql.SQL("SELECT count(*) FROM {} WHERE tenant_id = %s").format(
                                sql.Identifier(schema, table)
                            ),
                            [tenant.id],
                        ).fetchone()[0]  # type: ignore[index]
                        for table in tables_in(connection, schema)
                    )
                    if count:
                        found[f"{database}.{schema}"] = count
    return found


def fences_of(tenant: TenantUnderTest) -> dict[str, tuple[int, str]]:
    """By database, the epoch and state of its fence there."""
    found = {}
    for server in SERVERS:
        for database in _databases(tenant.platform, server):
            with tenant.platform.superuser(server, database) as connection:
                query = "SELECT epoch, state FROM tenancy.fences WHERE tenant_id = %s"
                for epoch, state in connection.execute(query, [tenant.id]).fetchall():
                    found[database] = (epoch, state)
    return found


def leftovers(tenant: TenantUnderTest) -> list[str]:
    """Slots, publications and progress of its moves."""
    found = []
    for server in SERVERS:
        with tenant.platform.superuser(server, "postgres") as admin:
            query = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %s"
            found += [f"slot {name}" for (name,) in admin.execute(query, [f"%{tenant.id.hex}"]).fetchall()]
        for database in _databases(tenant.platform, server):
            with tenant.platform.superuser(server, database) as connection:
                query = (
                    "SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE %(like)s"
                    " UNION ALL SELECT 'progress ' || name FROM tenancy.streams WHERE name LIKE %(like)s"
                )
                found += [name for (name,) in connection.execute(query, {"like": f"%{tenant.id.hex}"}).fetchall()]
    return found


def assert_one_home(tenant: TenantUnderTest, model: Model, epoch: int, *, served: bool = True) -> None:
    """It lives there by the roll, by its rows and by its fences; nothing of any move is left; it is `served`."""
    platform = tenant.platform
    until(lambda: platform.status(tenant.id)[0] is Status.ACTIVE, what="it is active")
    assert (home_of(tenant)[0], epoch_of(tenant), tenant.route.model) == (model, epoch, model)
    home = tenant.route.home
    assert home is not None
    assert list(where_it_has_rows(tenant)) == [f"{home.database}.{home.schema}"]
    assert fences_of(tenant) == {home.database: (epoch, "open")}
    assert leftovers(tenant) == []
    with transaction(platform.engine) as session:
        states = session.scalars(select(HomeRow.state).where(HomeRow.tenant_id == tenant.id)).all()
    assert sorted(set(states) - {"left"}) == ["current"]
    assert not served or tenant.http.get("/api/me").status_code == 200


def _databases(platform: PlatformUnderTest, server: str) -> list[str]:
    with transaction(platform.engine) as session:
        query = select(DatabaseRow.name).where(DatabaseRow.server == server)
        known = session.scalars(query.where(DatabaseRow.home_revision.is_not(None))).all()
    with platform.superuser(server, "postgres") as admin:
        there = {name for (name,) in admin.execute("SELECT datname FROM pg_database").fetchall()}
    return sorted(there.intersection(known))
