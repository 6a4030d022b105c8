"""The plan alone: what is on the roll is never dropped, nor what is young, in use or unknown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.names import bridge_schema, first_login, second_login, silo_database
from control_plane.domain.tenant import Model, Status
from control_plane.registry.fleet import Revisions
from provisioning.doctor.findings import Finding, Severity
from provisioning.doctor.homes import Fence
from provisioning.doctor.roll import RollHome
from provisioning.repair.facts import (
    Contents,
    Known,
    KnownDatabase,
    KnownTenant,
    Reality,
    SeenDatabase,
    SeenFence,
    SeenRole,
    SeenSchema,
)
from provisioning.repair.plan import GRACE, plan
from provisioning.repair.repairs import MENDED, Kind, Repair

NOW = datetime(2030, 1, 1, tzinfo=UTC)
WANTED = Revisions(home="h", tenant="t")
IDS = [UUID(int=(int(NOW.timestamp() * 1000) - age_ms) << 80 | 0x7 << 76 | 0x2 << 62 | age_ms)
       for age_ms in (0, 1_000, 599_000, 601_000, 86_400_000, 30 * 86_400_000)]  # fmt: skip
SERVERS = ("alpha", "beta")
DROPPING = {Kind.DATABASE_ORPHAN, Kind.SCHEMA_ORPHAN, Kind.ROLE_ORPHAN, Kind.FENCE_ORPHAN}
LOSING = {Kind.DATABASE_ORPHAN, Kind.SCHEMA_ORPHAN}

ids = st.sampled_from(IDS)
ages = st.sampled_from([timedelta(0), GRACE - timedelta(seconds=1), GRACE, timedelta(days=9)])
contents = st.none() | st.builds(Contents, tenants=st.integers(0, 2), rows=st.integers(0, 2))
databases = st.builds(
    lambda identifier, server, state, turns: KnownDatabase(
        id=identifier,
        server=server,
        name=silo_database(identifier),
        logins=frozenset(turn(silo_database(identifier)) for turn in turns),
        model=Model.SILO,
        state=state,
        schemas=frozenset({"public"}),
        revisions=WANTED,
        age=timedelta(days=1),
    ),
    ids,
    st.sampled_from(SERVERS),
    st.sampled_from(["building", "ready", "warm", "going"]),
    st.sampled_from([(first_login,), (second_login,), (first_login, second_login)]),
)
tenants = st.builds(
    KnownTenant,
    id=ids,
    slug=st.just("some"),
    status=st.sampled_from(Status),
    quiet_for=ages,
    workflow=st.sampled_from(["provision", "erase", "reopen", "suspend"]),
    going_on=st.booleans(),
)
homes = st.builds(
    lambda tenant_id, database_id, state, bridge: RollHome(
        tenant_id=tenant_id,
        slug="some",
        status=Status.ACTIVE,
        database_id=database_id,
        schema=bridge_schema(tenant_id) if bridge else "public",
        state=state,
        epoch=1 if state == "current" else None,
    ),
    ids,
    ids,
    st.sampled_from(["current", "filling", "kept", "left"]),
    st.booleans(),
)


@st.composite
def rolls(draw: st.DrawFn) -> Known:
    """Any roll, however little sense it makes."""
    each = draw(st.lists(databases, max_size=5, unique_by=lambda database: database.id))
    people = draw(st.lists(tenants, max_size=5, unique_by=lambda tenant: tenant.id))
    return Known(
        databases=tuple(each),
        homes=tuple(draw(st.lists(homes, max_size=5, unique_by=lambda home: (home.tenant_id, home.database_id)))),
        tenants={tenant.id: tenant for tenant in people},
        wanted=WANTED,
        ill_stocked=(),
        dead_runs=(),
        lost_workflows=(),
    )


@st.composite
def realities(draw: st.DrawFn) -> Reality:
    """Any state of the servers."""
    server, number = st.sampled_from(SERVERS), st.integers(0, 1)
    name, role = (
        ids.map(silo_database),
        ids.flatmap(
            lambda each: st.sampled_from([first_login(silo_database(each)), second_login(silo_database(each))])
        ),
    )
    some = st.builds(SeenDatabase, server=server, name=name, age=st.none() | ages, sessions=number, contents=contents)
    role_seen = st.builds(SeenRole, server=server, name=role, owns=st.booleans(), sessions=number)
    schema = st.builds(
        SeenSchema, server=server, database=name, name=ids.map(bridge_schema), age=st.none() | ages, contents=contents
    )
    fence = st.builds(
        SeenFence,
        server=server,
        database=name,
        database_id=ids,
        tenant_id=ids,
        fence=st.none() | st.builds(Fence, epoch=st.integers(1, 2), state=st.sampled_from(["ready", "open", "closed"])),
        rows=number,
    )
    return Reality(
        databases=tuple(draw(st.lists(some, max_size=5, unique_by=lambda each: (each.server, each.name)))),
        roles=tuple(draw(st.lists(role_seen, max_size=5, unique_by=lambda each: (each.server, each.name)))),
        schemas=tuple(draw(st.lists(schema, max_size=5))),
        fences=tuple(draw(st.lists(fence, max_size=5))),
    )


def drops(planned: Iterable[Repair]) -> list[Repair]:
    """Those that take something away, and would be done."""
    return [repair for repair in planned if repair.kind in DROPPING and repair.held is None]


@given(rolls(), realities())
def test_nothing_on_the_roll_is_dropped(known: Known, seen: Reality) -> None:
    on_the_roll = {(each.server, each.name) for each in known.databases}
    logins = {(each.server, login) for each in known.databases for login in each.logins}
    by_place = {(each.server, each.name): each for each in known.databases}
    homes_of = {(home.database_id, home.schema) for home in known.homes}
    tenants_of = {(home.database_id, home.tenant_id) for home in known.homes}
    for repair in plan(known, seen, (), now=NOW):
        place = (str(repair.server), str(repair.database))
        if repair.kind is Kind.DATABASE_ORPHAN:
            assert place not in on_the_roll
        elif repair.kind is Kind.ROLE_ORPHAN:
            assert (repair.server, repair.object) not in logins
        elif repair.kind is Kind.SCHEMA_ORPHAN:
            assert (by_place[place].id, repair.object) not in homes_of
        elif repair.kind is Kind.FENCE_ORPHAN:
            assert any(
                each.fence is not None and (each.database_id, each.tenant_id) not in tenants_of
                for each in seen.fences
                if (each.server, each.database, str(each.tenant_id)) == (*place, repair.object)
            )


@given(rolls(), realities())
def test_what_is_dropped_is_old_unused_and_known(known: Known, seen: Reality) -> None:
    by_place = {(each.server, each.name): each for each in seen.databases}
    for repair in drops(plan(known, seen, (), now=NOW)):
        if repair.kind is Kind.DATABASE_ORPHAN:
            database = by_place[str(repair.server), str(repair.database)]
            assert database.sessions == 0
            assert database.contents is not None
            assert database.age is None or database.age >= GRACE
            assert database.name not in {silo_database(each) for each in IDS[:3]}
        if repair.kind in LOSING:
            assert repair.dangerous


@given(rolls(), realities())
def test_rows_go_only_with_a_yes(known: Known, seen: Reality) -> None:
    fences = {(each.server, each.database, str(each.tenant_id)): each.rows for each in seen.fences if not each.rows}
    for repair in plan(known, seen, (), now=NOW):
        if repair.kind is Kind.FENCE_ORPHAN and not repair.dangerous:
            assert (repair.server, repair.database, repair.object) in fences
        if repair.kind is Kind.ROLE_ORPHAN and not repair.dangerous:
            assert not next(
                each for each in seen.roles if each.server == repair.server and each.name == repair.object
            ).owns


@pytest.mark.parametrize(
    ("state", "dangerous"), [("ready", False), ("suspended", True), ("closed", True), ("frozen", True)]
)
def test_who_is_shut_out_is_let_in_only_with_a_yes(state: str, dangerous: bool) -> None:
    tenant_id, database_id, *_ = IDS
    home = RollHome(
        tenant_id=tenant_id,
        slug="some",
        status=Status.ACTIVE,
        database_id=database_id,
        schema="public",
        state="current",
        epoch=1,
    )
    tenant = KnownTenant(
        id=tenant_id, slug="some", status=Status.ACTIVE, quiet_for=GRACE, workflow="provision", going_on=False
    )
    known = Known(
        databases=(),
        homes=(home,),
        tenants={tenant_id: tenant},
        wanted=WANTED,
        ill_stocked=(),
        dead_runs=(),
        lost_workflows=(),
    )
    fence = SeenFence(
        server="alpha",
        database="pool_1",
        database_id=database_id,
        tenant_id=tenant_id,
        fence=Fence(epoch=1, state=state),
    )
    [repair] = plan(known, Reality(fences=(fence,)), (), now=NOW)
    assert (repair.kind, repair.opens, repair.dangerous) == (Kind.FENCE_STATE, True, dangerous)
    other_epoch = replace(fence, fence=Fence(epoch=2, state=state))
    assert plan(known, Reality(fences=(other_epoch,)), (), now=NOW) == []


@given(rolls(), realities())
def test_a_plan_is_the_same_whatever_is_seen_first(known: Known, seen: Reality) -> None:
    turned = replace(
        seen, databases=seen.databases[::-1], roles=seen.roles[::-1], schemas=seen.schemas, fences=seen.fences
    )
    assert plan(known, seen, (), now=NOW) == plan(known, turned, (), now=NOW)


@given(rolls(), realities())
def test_homes_that_are_not_on_the_roll_are_not_hardened(known: Known, seen: Reality) -> None:
    finding = Finding(
        severity=Severity.ERROR, check="login_privileges", server="alpha", database="elsewhere", what="", remedy=""
    )
    assert Kind.UNHARDENED not in {repair.kind for repair in plan(known, seen, [finding], now=NOW)}


def test_a_check_is_answered_by_one_kind() -> None:
    every = [check for checks in MENDED.values() for check in checks]
    assert len(every) == len(set(every))
