"""A server whose catalogue nobody has closed: no shared homes are put there, and where somebody answers for it all the
same, no token is seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from control_plane.domain.server import Catalogue
from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.routing.refusals import MovedError
from control_plane.routing.road import Road
from tests.cli.shell import Shell
from tests.forking import Said
from tests.platform_under_test import TenantUnderTest
from tests.routing.roads import road_over
from tests.servers.far import NAME, Far, home_of, spy

pytestmark = pytest.mark.slow
SHARED = pytest.mark.parametrize("model", [Model.POOL, Model.BRIDGE])
SILOS_ALONE = "takes silos alone"


@pytest.fixture
def refused(far: Far) -> Iterator[Far]:
    """The same, and nobody answers for it."""
    far.enter(accepts_open_catalogue=False)
    yield far
    far.enter()


def command(far: Far, *words: str) -> Said:
    return Shell(far.platform.data)(*words)


def create(far: Far, model: Model) -> Said:
    slug = f"T{uuid4().hex[:8]}"
    return command(far, "tenant", "create", slug, "--plan", "starter", "--model", model, "--server", NAME)


def shared_there(far: Far) -> int:
    """Its pools and bridges, by what the server says."""
    with far.remote.superuser() as superuser:
        return superuser.execute("SELECT FROM pg_database WHERE datname ~ '^(pool|bridge|building)_'").rowcount


@SHARED
def test_nobody_is_put_into_a_shared_home_there(refused: Far, model: Model) -> None:
    before = shared_there(refused)
    assert command(refused, "server", "catalogue", NAME).out.startswith("far: its catalogue is open: it takes silos")
    said = create(refused, model)
    assert (said.code, f"far: {SILOS_ALONE} while its catalogue is open" in said.error) == (1, True)
    grown = command(refused, "server", "grow", NAME, "--model", model)
    assert (grown.code, SILOS_ALONE in grown.error) == (1, True)
    assert shared_there(refused) == before


def test_silos_live_there(refused: Far) -> None:
    assert create(refused, Model.SILO).code == 0


def test_what_the_roll_says_is_not_believed_when_one_is_built(refused: Far) -> None:
    with transaction(refused.platform.engine) as session:
        servers.set_catalogue(session, NAME, Catalogue.CLOSED)
    before = shared_there(refused)
    said = create(refused, Model.BRIDGE)
    assert (said.code, SILOS_ALONE in said.error) == (1, True)
    assert shared_there(refused) == before


async def inside(road: Road, far: Far, prey: TenantUnderTest, thief: TenantUnderTest) -> list[str]:
    async with road.enter(prey.id):
        return await asyncio.to_thread(spy, far, thief)


@SHARED
async def test_a_neighbour_reads_statements_and_no_token(far: Far, model: Model) -> None:
    prey, thief = await asyncio.to_thread(far.tenant, model), await asyncio.to_thread(far.tenant, model)
    assert home_of(prey).database == home_of(thief).database
    async with road_over(far.platform) as road:
        seen = await inside(road, far, prey, thief)
    entered = [query for query in seen if "tenancy.enter" in query]
    assert [query.partition("tenancy.enter")[2] for query in entered] == ["($1)"], "control: it reads the statement"
    assert not [query for query in seen if str(prey.id) in query]


async def test_a_token_that_travels_so_is_refused_as_any(far: Far) -> None:
    tenant = await asyncio.to_thread(far.tenant, Model.POOL)
    raised = "UPDATE tenancy.fences SET epoch = epoch + %s WHERE tenant_id = %s"
    with far.inside(tenant) as home:
        home.execute(raised, [1, tenant.id])
        async with road_over(far.platform) as road:
            with pytest.raises(MovedError):
                async with road.enter(tenant.id):
                    pass
            assert road.source.state.idle == 1, "the connection is whole"
        home.execute(raised, [-1, tenant.id])
