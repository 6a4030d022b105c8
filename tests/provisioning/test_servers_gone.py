"""A server that is silent, gone for a while, or gone for good while tenants are being made there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GONE
from control_plane.registry.tables import DatabaseRow, HomeRow, TargetRow
from control_plane.registry.workflow_records import DONE, FAILED
from control_plane.registry.workflows import ERASE, PROVISION
from control_plane.tenants import retrying, service
from provisioning.losing import ServerAnswersError, give_up
from provisioning.steps import SEQUENCES
from provisioning.worker import AT_ONCE, AT_ONCE_A_SERVER
from tests.parts import FAST, postmaster
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.erased import AT_ONCE as NOW
from tests.provisioning.erased import close
from tests.provisioning.lives import Provision, halt_all, newcomer, newest, state_of, wait_until_ended
from tests.provisioning.workers import control, workers_alone
from tests.waiting import until

pytestmark = pytest.mark.slow

PORT = 5432


@contextmanager
def listening(folder: Path) -> Iterator[None]:
    """A server that takes connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as ear:
        path = folder / f".s.PGSQL.{PORT}"
        ear.bind(str(path))
        path.chmod(0o777)
        ear.listen(100)
        yield
    path.unlink()


def wished_on(platform: PlatformUnderTest, server: str) -> TenantUnderTest:
    """A silo that is to be on that server."""
    slug = f"t{uuid4().hex[:10]}"
    wish = service.TenantWish(
        slug=slug, name=slug, plan=Plan.STARTER, model=Model.SILO, server=server, labels=(server,)
    )
    with transaction(platform.engine) as session:
        tenant_id = service.create(session, platform.workflows, wish, "tests").id
    return TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=Model.SILO, key="")


def retried(tenant: TenantUnderTest) -> tuple[str, str | None]:
    """How what went on with a failure has ended."""
    with transaction(tenant.platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        again = retrying.retry(session, tenant.platform.workflows, row, "tests")
    wait_until_ended(tenant.platform, again)
    return state_of(tenant.platform, again)


def at_work_for(platform: PlatformUnderTest, lane: str) -> int:
    """How many workflows of that lane have a worker."""
    query = "SELECT FROM dbos.workflow_status WHERE status = 'PENDING' AND queue_partition_key = %s"
    with control(platform) as connection:
        return connection.execute(query, [lane]).rowcount


@pytest.fixture(scope="module")
def tar(shop: PlatformUnderTest) -> str:
    """A server that is on the roll and nowhere else; its folder is there."""
    folder = shop.data / "tar"
    folder.mkdir()
    folder.chmod(0o755)
    server = Server(
        name="tar",
        provider="existing",
        region="local",
        host=str(folder),
        port=PORT,
        models=(Model.SILO,),
        capacity=100,
        connections=100,
        status=ServerStatus.ACTIVE,
        labels=("only-tar",),
    )
    with transaction(shop.engine) as session:
        servers.register(session, server)
    return "tar"


@pytest.fixture(scope="module")
def stuck(shop: PlatformUnderTest, tar: str) -> list[TenantUnderTest]:
    """More tenants than a worker does at once, who could not be made on that server. Others were, meanwhile."""
    with listening(shop.data / "tar"):
        stuck = [wished_on(shop, tar) for _ in range(AT_ONCE + 1)]
        until(lambda: at_work_for(shop, tar) > 0, what="a worker waits for the silent server")
        for model in Model:
            shop.tenant(model)
        assert at_work_for(shop, tar) == AT_ONCE_A_SERVER
    for tenant in stuck:
        until(lambda tenant=tenant: shop.status(tenant.id)[0] is Status.FAILED, what="it has failed")  # type: ignore[misc]
    return stuck


def test_a_silent_server_has_some_of_a_workers_places_and_others_are_made(stuck: list[TenantUnderTest]) -> None:
    reasons = {tenant.platform.status(tenant.id)[1] for tenant in stuck}
    assert all(reason and "\n" not in reason for reason in reasons), reasons


def test_what_was_on_a_server_that_is_gone_for_good_is_struck_off(
    shop: PlatformUnderTest, stuck: list[TenantUnderTest], tar: str
) -> None:
    first, *others = stuck
    close(first, shop.workflows, grace=NOW)
    wait_until_ended(shop, newest(shop, ERASE, first.id))
    state, why = state_of(shop, newest(shop, ERASE, first.id))
    assert (state, "connection" in str(why)) == (FAILED, True), "nobody knows what may be there"
    with pytest.raises(ServerAnswersError):
        give_up(shop.estate, shop.workflows, "beta", "tests")
    assert give_up(shop.estate, shop.workflows, tar, "tests")
    assert not give_up(shop.estate, shop.workflows, tar, "tests")
    assert retried(first) == (DONE, None)
    for tenant in others:
        close(tenant, shop.workflows, grace=NOW)
    for tenant in others:
        shop.wait_for(tenant.id, Status.CLOSED)
    on_tar = DatabaseRow.server == tar
    with transaction(shop.engine) as session:
        assert set(session.scalars(select(DatabaseRow.state).where(on_tar))) == {GONE}
        targets = select(TargetRow).join(DatabaseRow, DatabaseRow.id == TargetRow.database_id).where(on_tar)
        assert session.scalars(targets).all() == []
        homes = select(HomeRow.state).where(HomeRow.tenant_id.in_([tenant.id for tenant in stuck]))
        assert set(session.scalars(homes)) == {"left"}
        names = session.scalars(select(DatabaseRow.name).where(on_tar)).all()
    written = (shop.settings.pooler_dir / "databases.ini").read_text()
    assert not [name for name in names if name in written]


def test_a_server_that_goes_in_the_midst_fails_them_with_the_reason_and_they_are_gone_on_with(
    shop: PlatformUnderTest,
) -> None:
    """Each is as far as its making can be."""
    undisturbed = newcomer(shop, Model.SILO)
    shop.wait_for(undisturbed.id, Status.ACTIVE)
    lives = {step.__name__: Provision(shop, Model.SILO) for step in SEQUENCES[PROVISION][:-1]}
    with workers_alone(shop) as workers:
        halt_all(workers, "worker-halting", {life.begin(): f"after {name}" for name, life in lives.items()})
        os.kill(postmaster(shop, "beta"), FAST)
        until(lambda: postmaster(shop, "beta") == 0, what="the server is gone")
        workers.kill("worker-halting")
        workers.start("worker-alone")
        ends = {name: wait_until_ended(shop, life.workflow_id) for name, life in lives.items()}
        assert set(ends.values()) == {FAILED}, ends
        for life in lives.values():
            why = state_of(shop, life.workflow_id)[1]
            assert why
            assert "\n" not in why
            assert shop.status(life.tenant.id) == (Status.FAILED, why)
    until(lambda: shop.layout.provider.is_ready("beta"), what="the server is back")
    for life in lives.values():
        assert retried(life.tenant) == (DONE, None)
        life.check(undisturbed)
