"""First data: there once, however often it is written."""

from __future__ import annotations

from sqlalchemy import select

from control_plane.domain.ids import new_id
from control_plane.domain.route import Role
from tenant_app.seed import derived_id
from tenant_app.tables import Message, User
from tests.tenant_app.house import House, TenantUnderTest


def test_a_derived_id_is_the_same_each_time_a_uuidv7_and_as_old_as_its_base() -> None:
    base = new_id()
    derived = derived_id(base, "something")
    assert derived == derived_id(base, "something")
    assert derived not in {derived_id(base, "else"), derived_id(new_id(), "something"), base}
    assert derived.version == 7
    assert derived.variant == base.variant
    assert derived.int >> 80 == base.int >> 80


async def test_seeding_again_changes_nothing(tenant: TenantUnderTest) -> None:
    owner = await tenant.signed_in()
    await owner.patch("/api/me", json={"name": "Olga the First"})
    await tenant.seed()
    assert (await owner.get("/api/me")).json()["name"] == "Olga the First"
    conversations = (await owner.get("/api/conversations")).json()["items"]
    assert [row["subject"] for row in conversations] == ["Welcome"]
    messages = (await owner.get(f"/api/conversations/{conversations[0]['id']}/messages")).json()["items"]
    assert [row["author_id"] for row in messages] == [str(tenant.owner_id)]
    assert "Ärzte & Co" in messages[0]["body"]


async def test_the_owner_is_kept_with_an_address_in_small_letters(tenant: TenantUnderTest) -> None:
    async with tenant.house.road.enter(tenant.route.tenant_id) as session:
        owner = (await session.scalars(select(User))).one()
        assert (owner.id, owner.email, owner.role) == (tenant.owner_id, "olga@example.com", Role.OWNER)


async def test_a_tenant_without_an_owner_starts_empty(house: House) -> None:
    tenant = await house.tenant(owner=False)
    async with house.road.enter(tenant.route.tenant_id) as session:
        assert (await session.scalars(select(User))).all() == []
        assert (await session.scalars(select(Message))).all() == []
    assert (await tenant.by_key(Role.OWNER).get("/api/users")).json() == {"items": [], "next": None}
