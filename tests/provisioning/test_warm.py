"""Finished silos are kept ready: claimed once each, made anew, dropped when too many, whoever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from control_plane.domain.errors import InvalidError, NotFoundError
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, servers, warm
from control_plane.registry.engine import transaction
from migrations.fleet.chains import HOME
from provisioning.databases import TEMPLATE_LOCK
from tests.doctor.patient import Patient, as_owner
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, copyhold, running_platform
from tests.provisioning import stock, worker
from tests.provisioning.homes import everything_of
from tests.provisioning.wishes import wished
from tests.provisioning.workers import workers_alone
from tests.service_user import as_service_user, killed_as_service_user
from tests.waiting import until

NEWEST = "0002"
AT_ONCE = 6
FAR_TOO_MANY = 2000
"""Statements of one worker."""


@pytest.fixture(scope="module")
def stocked() -> Iterator[PlatformUnderTest]:
    """A platform that keeps two ready, as a new one does unless it is told otherwise."""
    with running_platform(warm=2) as platform:
        yield platform


@pytest.fixture
def two(stocked: PlatformUnderTest) -> list[str]:
    """The two that are ready, oldest first."""
    return stock.kept(stocked, 2)


def database_of(tenant: TenantUnderTest) -> str:
    """Where it lives."""
    home = tenant.route.home
    assert home is not None
    return home.database


def assert_nothing_is_left_over(platform: PlatformUnderTest) -> None:
    """Roll, server and pooler have the same silos, each of which has a tenant or is ready."""
    stock.settled(platform)
    known = stock.on_the_roll(platform)
    assert stock.on_the_server(platform) == (known, known)
    assert {name for name in aliases(platform) if name.startswith("silo_")} == known
    with transaction(platform.engine) as session:
        lived_in = "SELECT d.name FROM databases d JOIN homes h ON h.database_id = d.id WHERE d.model = 'silo'"
        tenants = list(session.execute(text(lived_in)).scalars())
    assert sorted([*tenants, *stock.ready(platform)]) == sorted(known)


def aliases(platform: PlatformUnderTest) -> set[str]:
    """What the running pooler serves."""
    settings = platform.settings
    address = {"host": settings.pooler_host, "port": settings.pooler_port, "user": "pgbouncer", "dbname": "pgbouncer"}
    with as_owner(platform.data), psycopg.connect(autocommit=True, **address) as console:  # type: ignore[arg-type]
        return {row[0] for row in console.execute("SHOW DATABASES").fetchall()}


def test_those_that_are_ready_are_nobodys_and_nothing_is_wrong_with_them(
    stocked: PlatformUnderTest, two: list[str]
) -> None:
    assert len(two) == 2
    assert Patient(platform=stocked, tenants={}).checks() == set()
    with transaction(stocked.engine) as session:
        assert servers.tenants_on(session).get("beta", 0) == 0


def test_the_doctor_sees_one_that_lost_its_key(stocked: PlatformUnderTest, two: list[str]) -> None:
    with stocked.superuser("beta", two[0]) as inside:
        inside.execute("CREATE TABLE kept AS SELECT * FROM tenancy.keys; DELETE FROM tenancy.keys")
        try:
            assert "key_missing" in Patient(platform=stocked, tenants={}).checks()
        finally:
            inside.execute("INSERT INTO tenancy.keys SELECT * FROM kept; DROP TABLE kept")


def test_a_tenant_is_given_the_oldest_and_another_is_made(stocked: PlatformUnderTest, two: list[str]) -> None:
    tenant = stocked.tenant("silo")
    assert database_of(tenant) == two[0]
    stock.settled(stocked)
    after = stock.ready(stocked)
    assert (len(after), after[0]) == (2, two[1])
    assert_nothing_is_left_over(stocked)


def test_a_home_that_was_ready_is_like_one_that_was_not(stocked: PlatformUnderTest, two: list[str]) -> None:
    ready = stocked.tenant("silo")
    assert database_of(ready) in two
    stock.kept(stocked, 0)
    cold = stocked.tenant("silo")
    assert everything_of(stocked, ready.id, Model.SILO) == everything_of(stocked, cold.id, Model.SILO)


def test_many_who_come_at_once_get_one_each(stocked: PlatformUnderTest, two: list[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        tenants = list(pool.map(lambda _: stocked.tenant("silo"), range(AT_ONCE)))
    homes = {database_of(tenant) for tenant in tenants}
    assert len(homes) == AT_ONCE
    assert homes >= set(two)
    assert_nothing_is_left_over(stocked)


def test_those_that_are_too_many_go(stocked: PlatformUnderTest, two: list[str]) -> None:
    assert stock.kept(stocked, 1) == two[:1]
    assert_nothing_is_left_over(stocked)
    stock.kept(stocked, 0)
    assert_nothing_is_left_over(stocked)
    assert not set(two) & stock.on_the_roll(stocked)


def test_there_are_never_more_than_there_is_room_for(stocked: PlatformUnderTest) -> None:
    stock.kept(stocked, 0)
    beta = stocked.server("beta")
    with transaction(stocked.engine) as session:
        homes = servers.tenants_on(session).get("beta", 0)
        servers.register(session, replace(beta, capacity=homes + 1))
    try:
        stock.keep(stocked, 3)
        stock.settled(stocked)
        assert len(stock.ready(stocked)) == 1
        stocked.tenant("silo")
        stock.settled(stocked)
        assert stock.ready(stocked) == []
    finally:
        with transaction(stocked.engine) as session:
            servers.register(session, beta)
        stock.kept(stocked, 2)


@pytest.mark.parametrize(
    ("server", "number", "error"),
    [("beta", -1, InvalidError), ("beta", 101, InvalidError), ("alpha", 1, InvalidError), ("gone", 1, NotFoundError)],
)
def test_what_cannot_be_kept_is_refused(
    stocked: PlatformUnderTest, server: str, number: int, error: type[Exception]
) -> None:
    with pytest.raises(error), transaction(stocked.engine) as session:
        warm.keep(session, stocked.workflows, server, number, "tests")


def test_one_at_another_revision_is_not_given_to_anybody(stocked: PlatformUnderTest, two: list[str]) -> None:
    behind = "UPDATE targets t SET revision = :revision FROM databases d WHERE d.id = t.database_id AND d.name = :name"
    with transaction(stocked.engine) as session:
        session.execute(text(behind), {"revision": "0001", "name": two[0]})
    try:
        assert database_of(stocked.tenant("silo")) == two[1]
    finally:
        with transaction(stocked.engine) as session:
            session.execute(text(behind), {"revision": NEWEST, "name": two[0]})
    assert database_of(stocked.tenant("silo")) == two[0]


@pytest.mark.slow
def test_those_that_are_ready_are_migrated_with_the_fleet() -> None:
    with running_platform("--at", "0001", warm=1) as platform:
        stock.settled(platform)
        (name,) = stock.ready(platform)
        assert copyhold("migrate", "up", "--data", str(platform.data)).returncode == 0
        tenant = platform.tenant("silo")
        assert (database_of(tenant), tenant.route.revision) == (name, NEWEST)
        with platform.home_of(tenant) as home:
            assert home.execute("SELECT version_num FROM alembic_version").fetchall() == [(NEWEST,)]


@pytest.mark.slow
def test_a_worker_that_is_killed_ever_a_little_later_leaves_none_half_made(stocked: PlatformUnderTest) -> None:
    for number_wanted in (2, 0):
        stock.settled(stocked)
        with transaction(stocked.engine) as session:  # Nobody is told: the test is the worker.
            session.execute(text("UPDATE servers SET warm = :warm WHERE name = 'beta'"), {"warm": number_wanted})
        for number in count(1, 5):
            work = worker.replenish_until_statement
            killed = killed_as_service_user(stocked.data, work, stocked.settings, "beta", number)
            # One that finds the lock of the one before, whose end the server has not seen yet, does nothing.
            if not killed and len(stock.ready(stocked)) == number_wanted:
                break
            assert number < FAR_TOO_MANY
        assert number > 1
        assert len(stock.ready(stocked)) == number_wanted
        assert_nothing_is_left_over(stocked)


@pytest.mark.slow
def test_a_worker_that_is_killed_around_a_claim_leaves_one_home(stocked: PlatformUnderTest, two: list[str]) -> None:
    tenant_id = wished(stocked, Model.SILO)
    for number in count(1, 3):
        work = worker.provision_until_statement
        if not killed_as_service_user(stocked.data, work, stocked.settings, tenant_id, number):
            break
    assert number > 1
    found = everything_of(stocked, tenant_id, Model.SILO)
    whole = wished(stocked, Model.SILO)
    as_service_user(stocked.data, worker.provision, stocked.settings, whole)
    assert found == everything_of(stocked, whole, Model.SILO)
    assert_nothing_is_left_over(stocked)


@pytest.mark.slow
def test_what_a_killed_worker_was_making_another_finishes(stocked: PlatformUnderTest) -> None:
    stock.kept(stocked, 0)
    with workers_alone(stocked) as workers:
        workers.start("worker-a")
        with stocked.superuser("beta", "postgres") as holder, stocked.superuser("beta", "postgres") as asking:
            holder.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
            stock.keep(stocked, 2)
            waits = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            until(lambda: asking.execute(waits, [holder.info.backend_pid]).rowcount > 0, what="it copies the template")
            workers.kill("worker-a")
        workers.start("worker-b")
        stock.settled(stocked)
    assert len(stock.ready(stocked)) == 2
    assert_nothing_is_left_over(stocked)


def test_tenants_who_come_while_the_template_is_made_anew_get_their_homes(stocked: PlatformUnderTest) -> None:
    stock.kept(stocked, 0)
    with transaction(stocked.engine) as session:
        template = sql.Identifier(f"template_{HOME.head}_{fleet.wanted(session).tenant}")
    with stocked.superuser("beta", "postgres") as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(template))
        admin.execute(sql.SQL("DROP DATABASE {}").format(template))
    with ThreadPoolExecutor(4) as pool:
        tenants = list(pool.map(lambda _: stocked.tenant("silo"), range(4)))
    assert {tenant.route.revision for tenant in tenants} == {NEWEST}
    assert_nothing_is_left_over(stocked)
