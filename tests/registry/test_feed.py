"""The feed: whoever has seen version N has seen every change up to N, and nothing that never happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.domain.moving import Phase
from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.entitlements import change_plan
from control_plane.registry import fleet, keys, moves, routes, servers, tenants
from control_plane.registry.engine import driver_of, transaction
from control_plane.registry.tables import ApiKeyRow, DatabaseRow, HomeRow, MoveRow, RouteRow, TenantRow
from tests.registry.roll import ACTOR, Roll
from tests.round_trips import counted_round_trips
from tests.waiting import until

Change = Callable[[Session, UUID], None]


class Undone(Exception):  # noqa: N818 - nothing went wrong
    """The transaction is to be rolled back."""


def of_the_tenant(session: Session, tenant_id: UUID) -> None:
    tenants.change_status(tenants.get(session, tenant_id, lock=True), Status.SUSPENDED)


def of_the_plan(session: Session, tenant_id: UUID) -> None:
    change_plan(session, tenants.get(session, tenant_id), Plan.ENTERPRISE, ACTOR)


def of_the_name(session: Session, tenant_id: UUID) -> None:
    tenants.get(session, tenant_id).name = "Another"


def of_the_route(session: Session, tenant_id: UUID) -> None:
    session.execute(text("UPDATE routes SET epoch = epoch + 1 WHERE tenant_id = :id"), {"id": tenant_id})


def of_a_new_key(session: Session, tenant_id: UUID) -> None:
    keys.add(session, tenant_id, name="k", role=Role.MEMBER, scopes=(), secret_sha256=new_id().hex)


def of_a_revoked_key(session: Session, tenant_id: UUID) -> None:
    keys.revoke(session, session.scalars(select(ApiKeyRow.id).where(ApiKeyRow.tenant_id == tenant_id)).one())


def of_the_target(session: Session, tenant_id: UUID) -> None:
    home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == moves.CURRENT)).one()
    fleet.set_target_revision(session, home.database_id, home.schema, "0002")


def of_the_target_by_the_worker(session: Session, tenant_id: UUID) -> None:
    home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == moves.CURRENT)).one()
    tenants.ensure_target(session, home.database_id, home.schema, "0002")


def of_the_alias(session: Session, tenant_id: UUID) -> None:
    home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == moves.CURRENT)).one()
    session.get_one(DatabaseRow, home.database_id).alias = "elsewhere"


def of_the_password(session: Session, tenant_id: UUID) -> None:
    home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == moves.CURRENT)).one()
    session.get_one(DatabaseRow, home.database_id).sealed_password = "sealed"


def of_a_move_that_is_about_to_switch(session: Session, tenant_id: UUID) -> None:
    move_id = session.scalars(select(MoveRow.id).where(MoveRow.tenant_id == tenant_id)).one()
    moves.change_phase(moves.get(session, move_id, lock=True), Phase.FREEZING)


CHANGES = pytest.mark.parametrize(
    "change",
    [
        of_the_tenant,
        of_the_plan,
        of_the_name,
        of_the_route,
        of_a_new_key,
        of_a_revoked_key,
        of_the_target,
        of_the_target_by_the_worker,
        of_the_alias,
        of_the_password,
        of_a_move_that_is_about_to_switch,
    ],
    ids=lambda change: change.__name__.replace("_", " "),
)


@pytest.fixture
def tenant(roll: Roll) -> UUID:
    """A bridge tenant with a key; beside it lives another."""
    roll.settled("neighbour", Model.BRIDGE)
    tenant_id = roll.settled("acme", Model.BRIDGE)
    with transaction(roll.engine) as session:
        of_a_new_key(session, tenant_id)
        _begin_move(session, tenant_id)
    return tenant_id


def _begin_move(session: Session, tenant_id: UUID) -> None:
    """From its schema into the pool, and everything is copied."""
    home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant_id, HomeRow.state == moves.CURRENT)).one()
    (pool,) = servers.databases_of(session, "alpha", Model.POOL)
    target = HomeRow(
        id=new_id(), tenant_id=tenant_id, database_id=pool.id, schema="public", model="pool", state=moves.FILLING
    )
    session.add(target)
    session.flush()
    facts = {"source_id": home.id, "target_id": target.id, "model": "pool", "epoch": 1, "undo_window_s": 60}
    moves.add(session, MoveRow(id=new_id(), tenant_id=tenant_id, actor=ACTOR, phase=str(Phase.FOLLOWING), **facts))


@CHANGES
def test_a_change_raises_the_version_once_it_is_committed(roll: Roll, tenant: UUID, change: Change) -> None:
    before = roll.version
    with transaction(roll.engine) as session:
        change(session, tenant)
        session.flush()
        assert roll.version == before
        assert roll.changed(before) == set()
    assert roll.version > before
    assert tenant in roll.changed(before)
    assert roll.changed(roll.version) == set()


@CHANGES
def test_a_change_that_is_rolled_back_is_not_announced(roll: Roll, tenant: UUID, change: Change) -> None:
    before = roll.version

    def undo() -> None:
        with transaction(roll.engine) as session:
            change(session, tenant)
            session.flush()
            raise Undone

    with pytest.raises(Undone):
        undo()
    assert roll.version == before
    assert roll.changed(before) == set()


@CHANGES
def test_a_change_wakes_whoever_listens(roll: Roll, tenant: UUID, change: Change) -> None:
    url = roll.engine.url
    with psycopg.connect(dbname=url.database, user=url.username, autocommit=True, **url.query) as listening:
        listening.execute("LISTEN copyhold_roll")
        with transaction(roll.engine) as session:
            change(session, tenant)
        assert list(listening.notifies(timeout=10, stop_after=1))


@pytest.mark.parametrize(
    ("phase", "leads_to"),
    [(Phase.FOLLOWING, None), (Phase.FREEZING, "pool_1"), (Phase.KEPT, None), (Phase.RETURNING, "bridge_1")],
)
def test_a_route_tells_its_next_home_while_a_move_is_about_to_switch_it(
    roll: Roll, tenant: UUID, phase: Phase, leads_to: str | None
) -> None:
    before = roll.version
    with transaction(roll.engine) as session:
        session.execute(update(MoveRow).where(MoveRow.tenant_id == tenant).values(phase=str(phase)))
    with transaction(roll.engine) as session:
        route = routes.route_of(session, tenant)
    assert route is not None
    assert route.home is not None
    assert route.home.database == "bridge_1"
    assert (route.next_home.database if route.next_home else None) == leads_to
    assert (tenant in roll.changed(before)) is (leads_to is not None)


def test_a_change_of_one_tenant_is_not_anothers(roll: Roll, tenant: UUID) -> None:
    before = roll.version
    with transaction(roll.engine) as session:
        of_the_target(session, tenant)
    assert roll.changed(before) == {tenant}


def test_a_change_of_a_shared_database_is_that_of_all_its_tenants(roll: Roll) -> None:
    pool = {roll.settled(f"pool-{number}") for number in range(4)}
    roll.settled("bridge", Model.BRIDGE)
    before = roll.version
    with transaction(roll.engine) as session:
        of_the_alias(session, next(iter(pool)))
    assert roll.changed(before) == pool
    assert roll.version == before + 1


def test_those_who_left_a_database_are_not_told_of_it(roll: Roll) -> None:
    stays, left = roll.settled("stays"), roll.settled("left")
    with transaction(roll.engine) as session:
        session.execute(text("UPDATE homes SET state = 'left' WHERE tenant_id = :id"), {"id": left})
    before = roll.version
    with transaction(roll.engine) as session:
        of_the_target(session, stays)
    assert roll.changed(before) == {stays}


def test_what_does_not_concern_a_route_is_not_announced(roll: Roll, tenant: UUID) -> None:
    before = roll.version
    with transaction(roll.engine) as session:
        home = session.scalars(select(HomeRow).where(HomeRow.tenant_id == tenant, HomeRow.state == moves.CURRENT)).one()
        fleet.set_home_revision(session, home.database_id, "h0001")
        tenants.record_plan(session, tenants.get(session, tenant), Plan.STARTER, ACTOR)
    assert roll.version == before


def test_a_reader_misses_nothing_of_what_many_commit_at_once(roll: Roll) -> None:
    ids = [roll.settled(f"tenant-{number}") for number in range(6)]
    ended = threading.Event()
    since = roll.version

    def write(number: int) -> None:
        for turn in range(25):
            tenant_id = ids[(number + turn) % len(ids)]
            with transaction(roll.engine) as session:
                session.execute(text("UPDATE routes SET epoch = epoch + 1 WHERE tenant_id = :id"), {"id": tenant_id})
                if turn % 3 == 0:
                    session.rollback()

    def follow() -> dict[UUID, int]:
        seen: dict[UUID, int] = {}
        known = since
        while True:
            last = ended.is_set()
            version, changed = routes.news(roll.engine, known)
            for route in changed:
                assert route.epoch >= seen.get(route.tenant_id, 0)
                seen[route.tenant_id] = route.epoch
            assert version >= known
            known = version
            if last:
                return seen

    with ThreadPoolExecutor(8) as pool:
        following = pool.submit(follow)
        for writing in [pool.submit(write, number) for number in range(6)]:
            writing.result()
        ended.set()
        seen = following.result()
    with transaction(roll.engine) as session:
        there = {row.tenant_id: row.epoch for row in session.scalars(select(RouteRow))}
    assert seen == there


def test_a_tenant_who_changes_while_the_news_are_read_never_comes_without_his_keys(roll: Roll) -> None:
    """Keys that are too new, and a version that is too old: he is read once more."""
    tenant_id = roll.settled()
    before = roll.version
    with ThreadPoolExecutor(1) as pool, transaction(roll.engine) as session:
        session.execute(text("LOCK TABLE api_keys"))
        of_the_name(session, tenant_id)
        reading = pool.submit(routes.news, roll.engine, before - 1)
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'api_keys'::regclass"
        until(lambda: roll.ask(waits) == [1], what="it has come to the keys")
        of_a_new_key(session, tenant_id)
        session.commit()
        version, (route,) = reading.result()
    assert (version, route.name, len(route.keys)) == (before, "acme Inc", 1)
    assert roll.changed(version) == {tenant_id}


def test_the_news_are_one_round_trip(roll: Roll) -> None:
    tenant_id = roll.settled()
    roll.engine.dispose()
    with roll.engine.connect() as connection:
        driver = driver_of(connection)
    # The other one asks whether the connection still lives.
    with counted_round_trips(driver) as trips:
        version, changed = routes.news(roll.engine, 0)
        assert trips() == 2
    assert (version, [route.tenant_id for route in changed]) == (roll.version, [tenant_id])


def test_a_tenant_without_a_home_is_on_the_roll_and_leads_nowhere(roll: Roll) -> None:
    tenant_id = roll.create()
    with transaction(roll.engine) as session:
        route = routes.route_of(session, tenant_id)
        assert route is not None
        assert (route.home, route.epoch, route.revision, route.status) == (None, 0, None, Status.PROVISIONING)
        assert [each.tenant_id for each in routes.all_routes(session)] == [tenant_id]
        assert session.scalars(select(TenantRow.id)).all() == [tenant_id]


def test_a_revoked_key_is_on_no_route(roll: Roll, tenant: UUID) -> None:
    with transaction(roll.engine) as session:
        of_a_revoked_key(session, tenant)
    with transaction(roll.engine) as session:
        route = routes.route_of(session, tenant)
        assert route is not None
        assert route.keys == ()
        assert keys.of_tenant(session, tenant)[0].revoked_at is not None


def test_a_great_pool_is_announced_in_one_go(roll: Roll) -> None:
    """One statement a tenant would take minutes here, with the feed locked for all."""
    number = 20_000
    first = roll.settled()
    with transaction(roll.engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text(
                "INSERT INTO tenants (id, slug, name, plan, model, status)"
                " SELECT gen_random_uuid(), 's' || n, 'n', 'starter', 'pool', 'active' FROM generate_series(1, :n) n"
            ),
            {"n": number},
        )
        session.execute(
            text(
                "INSERT INTO homes (id, tenant_id, database_id, schema, model, state)"
                " SELECT gen_random_uuid(), t.id, h.database_id, h.schema, 'pool', 'current'"
                "   FROM tenants t, homes h WHERE t.id <> h.tenant_id"
            )
        )
    before = roll.version
    with transaction(roll.engine) as session:
        session.execute(text("SET LOCAL statement_timeout = '5s'"))
        of_the_target(session, first)
    assert roll.version == before + 1
    assert roll.ask("SELECT count(*) FROM changes WHERE version > :before", before=before) == [number + 1]
