"""One cluster for all tests of the inbox; a new tenant for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection, Engine, event

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from tests.tenant_app.cluster import running_cluster
from tests.tenant_app.house import House, TenantUnderTest


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """A PostgreSQL of the tests' own."""
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="package")
async def house(server: Server) -> AsyncIterator[House]:
    """The inbox at its newest revision."""
    built = House.build(server, Model.POOL, "0002")
    yield built
    await built.road.close()


@pytest.fixture
async def tenant(house: House) -> TenantUnderTest:
    """A new tenant with an owner."""
    return await house.tenant()


@pytest.fixture
async def other(house: House) -> TenantUnderTest:
    """Another tenant in the same database."""
    return await house.tenant()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that is sent while the test runs; what opens and ends a transaction is not among them."""
    sent: list[str] = []

    def record(connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        # Only the road's engine is asynchronous: another test's feed may be reading the roll meanwhile.
        if connection.dialect.is_async:
            sent.append(statement)

    event.listen(Engine, "before_cursor_execute", record)
    yield sent
    event.remove(Engine, "before_cursor_execute", record)
