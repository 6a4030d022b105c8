"""Thieves and their prey, in each model; doors; a burglar who is inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.burglar import Connection, Door, Pair, home_of, login_at
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest


def _speaking(tenant: TenantUnderTest) -> str:
    subject = f"only {tenant.slug} knows"
    made = tenant.http.post("/api/conversations", json={"subject": subject})
    assert made.status_code == 201, made.text
    path = f"/api/conversations/{made.json()['id']}/messages"
    assert tenant.http.post(path, json={"body": f"a word of {tenant.slug}"}).status_code == 201
    return subject


def _pair(platform: PlatformUnderTest, model: str) -> Pair:
    thief, prey = platform.tenant(model), platform.tenant(model)
    _speaking(thief)
    return Pair(thief=thief, prey=prey, secret=_speaking(prey))


@pytest.fixture(scope="package")
def pool(platform: PlatformUnderTest) -> Pair:
    """Two tenants of one database and one set of tables."""
    return _pair(platform, "pool")


@pytest.fixture(scope="package")
def bridge(platform: PlatformUnderTest) -> Pair:
    """Two tenants of one database, each with tables of its own."""
    return _pair(platform, "bridge")


@pytest.fixture(scope="package")
def silo(platform: PlatformUnderTest) -> Pair:
    """Two tenants of one server, each with a database of its own."""
    return _pair(platform, "silo")


@pytest.fixture(params=["pool", "bridge", "silo"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """The attack in each model."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Pair)
    return found


@pytest.fixture(params=list(Door))
def door(request: pytest.FixtureRequest) -> Door:
    """The attack through the pooler, and past it."""
    return Door(request.param)


@pytest.fixture
def inside(platform: PlatformUnderTest, pool: Pair, door: Door) -> Iterator[Connection]:
    """The burglar's connection to the pool's database, through each door."""
    with login_at(platform, home_of(pool.thief), door) as connection:
        yield connection


@pytest.fixture
def pooled(platform: PlatformUnderTest, pool: Pair) -> Iterator[Connection]:
    """The same through the pooler alone, for what cannot differ between the doors."""
    with login_at(platform, home_of(pool.thief)) as connection:
        yield connection


@pytest.fixture
def burglar(platform: PlatformUnderTest, pair: Pair) -> Iterator[Connection]:
    """The burglar's connection to the thief's database, in each model, through the pooler."""
    with login_at(platform, home_of(pair.thief)) as connection:
        yield connection
