"""Creating a tenant: once, however often it is asked for; and when it fails, with the reason, to be repeated."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from control_plane.domain.errors import CopyholdError
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.tables import HomeRow, TenantRow
from control_plane.tenants import service
from control_plane.tenants.service import SlugTakenError
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

AT_ONCE = 8


def wish(slug: str, **changes: object) -> service.TenantWish:
    known: dict[str, object] = {"name": f"Company {slug}", "plan": Plan.STARTER, "model": Model.POOL, **changes}
    return service.TenantWish(slug=slug, **known)  # type: ignore[arg-type]


def create(platform: PlatformUnderTest, wanted: service.TenantWish) -> UUID:
    with transaction(platform.engine) as session:
        return service.create(session, platform.workflows, wanted, "tests").id


def at_once(platform: PlatformUnderTest, wishes: list[service.TenantWish]) -> list[UUID | CopyholdError]:
    start = threading.Barrier(len(wishes))
    outcomes: list[UUID | CopyholdError] = []

    def run(wanted: service.TenantWish) -> None:
        start.wait()
        try:
            outcomes.append(create(platform, wanted))
        except CopyholdError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run, args=[wanted]) for wanted in wishes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def rows(platform: PlatformUnderTest, slug: str) -> list[UUID]:
    with transaction(platform.engine) as session:
        return list(session.scalars(select(TenantRow.id).where(TenantRow.slug == slug)))


def homes(platform: PlatformUnderTest, tenant_id: UUID) -> int:
    with transaction(platform.engine) as session:
        return len(session.scalars(select(HomeRow.id).where(HomeRow.tenant_id == tenant_id)).all())


def test_the_same_wish_many_times_at_once_is_one_tenant(platform: PlatformUnderTest) -> None:
    slug = f"t{uuid4().hex[:10]}"
    outcomes = at_once(platform, [wish(slug)] * AT_ONCE)
    assert set(outcomes) == set(rows(platform, slug))
    (tenant_id,) = rows(platform, slug)
    platform.wait_for(tenant_id, Status.ACTIVE)
    assert homes(platform, tenant_id) == 1


def test_different_wishes_for_one_slug_at_once_are_one_tenant_and_refusals(platform: PlatformUnderTest) -> None:
    slug = f"t{uuid4().hex[:10]}"
    outcomes = at_once(platform, [wish(slug, name=f"Company {number}") for number in range(AT_ONCE)])
    made = [outcome for outcome in outcomes if isinstance(outcome, UUID)]
    assert made == rows(platform, slug)
    assert [type(outcome) for outcome in outcomes if outcome not in made] == [SlugTakenError] * (AT_ONCE - 1)
    platform.wait_for(made[0], Status.ACTIVE)


def test_a_slug_that_is_in_use_is_refused(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("pool")
    with pytest.raises(SlugTakenError):
        create(platform, wish(tenant.slug))


def failed(platform: PlatformUnderTest, tenant_id: UUID) -> str:
    """Why, once it has failed."""
    until(lambda: platform.status(tenant_id)[0] is Status.FAILED, what="it has failed")
    reason = platform.status(tenant_id)[1]
    assert reason
    return reason


@pytest.mark.slow
def test_a_tenant_whose_server_is_down_fails_with_the_reason_and_the_repeat_goes_on(shop: PlatformUnderTest) -> None:
    beta = shop.server("beta")
    gamma = Server(
        name="gamma",
        provider="existing",
        region="local",
        host="/nonexistent",
        port=1,
        models=(Model.SILO,),
        capacity=10,
        connections=20,
        status=ServerStatus.ACTIVE,
    )
    with transaction(shop.engine) as session:
        servers.register(session, gamma)
    slug = f"t{uuid4().hex[:10]}"
    wanted = wish(slug, model=Model.SILO, server="gamma")
    tenant_id = create(shop, wanted)
    reason = failed(shop, tenant_id)
    assert "\n" not in reason
    assert homes(shop, tenant_id) == 1
    with transaction(shop.engine) as session:
        servers.register(session, Server(**{**vars(gamma), "host": beta.host, "port": beta.port}))
    assert create(shop, wanted) == tenant_id
    shop.wait_for(tenant_id, Status.ACTIVE)
    assert shop.status(tenant_id) == (Status.ACTIVE, None)
    assert homes(shop, tenant_id) == 1


@pytest.mark.slow
def test_a_tenant_that_cannot_be_seeded_fails_without_telling_values_and_the_repeat_goes_on(
    shop: PlatformUnderTest,
) -> None:
    slug = f"t{uuid4().hex[:10]}"
    wanted = wish(slug, owner=service.OwnerWish(email=f"secret@{slug}.example", name="Secret"))
    with shop.superuser("alpha", "pool_1") as superuser:
        superuser.execute("ALTER TABLE users ADD CONSTRAINT nobody CHECK (email !~ 'secret') NOT VALID")
        try:
            tenant_id = create(shop, wanted)
            reason = failed(shop, tenant_id)
        finally:
            superuser.execute("ALTER TABLE users DROP CONSTRAINT nobody")
    assert "secret" not in reason.lower()
    assert create(shop, wanted) == tenant_id
    shop.wait_for(tenant_id, Status.ACTIVE)
    with shop.superuser("alpha", "pool_1") as superuser:
        people = "SELECT email FROM users WHERE tenant_id = %s AND kind = 'person'"
        assert superuser.execute(people, [tenant_id]).fetchall() == [(f"secret@{slug}.example",)]
    assert homes(shop, tenant_id) == 1
