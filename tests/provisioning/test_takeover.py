"""A worker that is killed at any step of a tenant's making is followed by another; the tenant gets one home."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest

from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import PROVISION
from control_plane.tenants import service
from provisioning.databases import TEMPLATE_LOCK
from provisioning.steps import SEQUENCES
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import stock
from tests.provisioning.workers import LIFE_LINE, Workers, control, workers_alone, workflow_of
from tests.waiting import until

pytestmark = pytest.mark.slow

SECONDS = 15.0
"""How soon a survivor has finished what a dead worker left."""
Hold = Callable[[PlatformUnderTest, UUID], psycopg.Connection[object]]


@pytest.fixture(scope="module")
def workers(shop: PlatformUnderTest) -> Iterator[Workers]:
    """Two of them, and more to come."""
    with workers_alone(shop) as workers:
        for name in ("worker-a", "worker-b"):
            workers.start(name)
        yield workers


def wish(slug: str, model: Model, name: str | None = None) -> service.TenantWish:
    return service.TenantWish(
        slug=slug,
        name=name or f"Company {slug}",
        plan=Plan.STARTER,
        model=model,
        owner=service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner"),
    )


def create(platform: PlatformUnderTest, model: Model) -> tuple[UUID, str]:
    slug = f"t{uuid4().hex[:10]}"
    with transaction(platform.engine) as session:
        return service.create(session, platform.workflows, wish(slug, model), "tests").id, slug


def gate(platform: PlatformUnderTest) -> psycopg.Connection[object]:
    """Every step waits here, its work done and not recorded."""
    connection = control(platform)
    connection.execute("BEGIN; LOCK TABLE progress IN ACCESS EXCLUSIVE MODE")
    return connection


def template(platform: PlatformUnderTest, _tenant_id: UUID) -> psycopg.Connection[object]:
    """build_home waits here: silos are copied from a template, one at a time."""
    connection = platform.superuser("beta", "postgres")
    connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
    return connection


def freeze(platform: PlatformUnderTest, tenant_id: UUID) -> psycopg.Connection[object]:
    """seed waits here: a visit cannot be entered."""
    connection = platform.superuser("alpha", "pool_1")
    connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [str(tenant_id)])
    return connection


def fences(platform: PlatformUnderTest, _tenant_id: UUID) -> psycopg.Connection[object]:
    """build_home waits here, the schema made."""
    connection = platform.superuser("alpha", "bridge_1")
    connection.execute("BEGIN; LOCK TABLE tenancy.fences IN SHARE MODE")
    return connection


def owner(platform: PlatformUnderTest, tenant_id: UUID) -> psycopg.Connection[object]:
    """activate waits here: it deletes what was kept of the owner."""
    connection = control(platform)
    connection.execute("BEGIN")
    connection.execute("SELECT FROM pending_owners WHERE tenant_id = %s FOR UPDATE", [tenant_id])
    return connection


def somebody_waits_for(holder: psycopg.Connection[object], asking: psycopg.Connection[object]) -> bool:
    query = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    return asking.execute(query, [holder.info.backend_pid]).rowcount > 0


@contextmanager
def held(platform: PlatformUnderTest, holder: psycopg.Connection[object], server: str) -> Iterator[None]:
    """Until somebody has come to wait for the lock; released at the end of the block."""
    address = platform.layout.server(server).dsn(database="postgres", user="postgres")
    with holder, psycopg.connect(address, autocommit=True) as asking:
        until(lambda: somebody_waits_for(holder, asking), what="the step has come to its lock")
        yield
        holder.close()


CASES: dict[str, tuple[Model, str, Hold | None, str]] = {
    "a step done and not recorded": (Model.POOL, "choose_home", None, "control"),
    "before the database is made": (Model.SILO, "build_home", template, "beta"),
    "before the fence is put up": (Model.BRIDGE, "build_home", fences, "alpha"),
    "in the midst of seeding": (Model.POOL, "seed", freeze, "alpha"),
    "before the tenant is active": (Model.SILO, "activate", owner, "control"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_workers_tenant_is_finished_by_another_within_seconds(
    shop: PlatformUnderTest, workers: Workers, case: str
) -> None:
    model, step, hold, server = CASES[case]
    reached = [made.__name__ for made in SEQUENCES[PROVISION]].index(step)
    with ExitStack() as locks:
        entrance = gate(shop)
        locks.callback(entrance.close)
        tenant_id, slug = create(shop, model)
        workflow = workflow_of(shop, tenant_id)
        with held(shop, entrance, "control"):
            lock = None if hold is None else hold(shop, tenant_id)
            if lock is None:
                killed = workers.executor_of(workflow)
                workers.kill(killed)
        done: list[tuple[int, str, str]] = []
        if lock is not None:
            with held(shop, lock, server):
                done = workers.steps_of(workflow)
                killed = workers.executor_of(workflow)
                workers.kill(killed)
    shop.wait_for(tenant_id, Status.ACTIVE)
    until(lambda: len(workers.steps_of(workflow)) == len(SEQUENCES[PROVISION]), what="its last step is recorded")
    steps = workers.steps_of(workflow)
    assert [name for _, name, _ in steps] == [made.__name__ for made in SEQUENCES[PROVISION]]
    assert len(done) == reached
    assert steps[:reached] == done, "a finished step was done again"
    survivor = workers.executor_of(workflow)
    assert survivor in workers.running
    assert survivor != killed
    tenant = TenantUnderTest(
        platform=shop, id=tenant_id, slug=slug, model=model, key=shop.new_key(tenant_id, Role.OWNER)
    )
    assert_one_home(shop, tenant)
    workers.start(f"worker-{uuid4().hex[:6]}")


def assert_one_home(platform: PlatformUnderTest, tenant: TenantUnderTest) -> None:
    with control(platform) as connection:
        for table in ("homes", "routes"):
            assert (
                connection.execute(
                    psycopg.sql.SQL("SELECT FROM {} WHERE tenant_id = %s").format(psycopg.sql.Identifier(table)),
                    [tenant.id],
                ).rowcount
                == 1
            )
        assert connection.execute("SELECT FROM pending_owners WHERE tenant_id = %s", [tenant.id]).rowcount == 0
    home = tenant.route.home
    assert home is not None
    databases, logins = stock.on_the_server(platform)
    known = stock.on_the_roll(platform)
    assert databases <= known
    assert logins <= known
    assert tenant.model is not Model.SILO or home.database in databases & logins
    with platform.home_of(tenant) as superuser:
        assert superuser.execute("SELECT FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).rowcount == 1
        people = "SELECT email FROM users WHERE tenant_id = %s AND kind = 'person'"
        assert superuser.execute(people, [tenant.id]).fetchall() == [(f"owner@{tenant.slug}.example",)]
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="it is served")


def test_a_second_worker_of_the_same_name_refuses_to_run(shop: PlatformUnderTest, workers: Workers) -> None:
    name = next(iter(workers.running))
    process = workers.spawn(name)
    assert process.wait(60) == 1
    log = (shop.data / "logs" / f"{name}.log").read_text()
    assert "COPYHOLD_WORKER_ID" in log
    assert workers.running[name].poll() is None


def test_a_worker_that_loses_its_life_line_ends_at_once(shop: PlatformUnderTest, workers: Workers) -> None:
    """Another may take over its work from that moment on."""
    workers.start("worker-lost")
    process = workers.running.pop("worker-lost")
    with control(shop) as connection:
        ((pid,),) = connection.execute(LIFE_LINE, ["worker/worker-lost"]).fetchall()
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    assert process.wait(SECONDS) == 70


def test_a_worker_started_again_under_its_name_takes_up_its_own_work(shop: PlatformUnderTest, workers: Workers) -> None:
    entrance = gate(shop)
    tenant_id, _ = create(shop, Model.POOL)
    workflow = workflow_of(shop, tenant_id)
    with held(shop, entrance, "control"):
        name = workers.executor_of(workflow)
        for each in list(workers.running):
            workers.kill(each)
    workers.start(name)
    shop.wait_for(tenant_id, Status.ACTIVE)
    assert workers.executor_of(workflow) == name
