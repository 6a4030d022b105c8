"""Looks at homes: shared by those who come together, repeated after a failure, begun ahead of a move's switch."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.route import Home, Route
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.routing.looks import AHEAD_MAX, Looks
from control_plane.routing.refusals import HomeDownError
from tests.routing.roads import soon


def home_called(name: str) -> Home:
    return Home(database_id=new_id(), alias=name, database=name, login=name, schema="public")


OLD, NEW = home_called("old"), home_called("new")
ROUTE = Route(
    tenant_id=UUID(int=1),
    slug="acme",
    name="Acme",
    plan=Plan.STARTER,
    model=Model.SILO,
    status=Status.MOVING,
    epoch=1,
    revision="0001",
    home=OLD,
)
AWAITED = replace(ROUTE, next_home=NEW)


class Eyes:
    """Looks that are counted, and last until they are let go."""

    def __init__(self) -> None:
        self.seen: list[Home] = []
        self.open = asyncio.Event()
        self.is_down = False

    async def look(self, home: Home, _: Route) -> None:
        self.seen.append(home)
        await self.open.wait()
        if self.is_down:
            raise HomeDownError


@pytest.fixture
async def eyes() -> Eyes:
    return Eyes()


def looks_of(eyes: Eyes, kept: int = 3) -> Looks:
    return Looks(eyes.look, lambda _: kept)


async def test_those_who_come_together_wait_for_one_look(eyes: Eyes) -> None:
    looks = looks_of(eyes)
    visitors = [asyncio.create_task(looks.once(OLD, ROUTE)) for _ in range(5)]
    await soon(lambda: eyes.seen != [], what="one looks")
    eyes.open.set()
    await asyncio.gather(*visitors)
    await looks.once(OLD, ROUTE)
    assert eyes.seen == [OLD]


async def test_another_schema_or_revision_is_looked_at_for_itself(eyes: Eyes) -> None:
    looks = looks_of(eyes)
    eyes.open.set()
    await looks.once(OLD, ROUTE)
    await looks.once(replace(OLD, schema="t_1"), ROUTE)
    await looks.once(OLD, replace(ROUTE, revision="0002"))
    assert len(eyes.seen) == 3


async def test_a_failure_is_told_to_all_who_wait_and_the_next_one_looks_again(eyes: Eyes) -> None:
    looks = looks_of(eyes)
    eyes.is_down = True
    visitors = [asyncio.create_task(looks.once(OLD, ROUTE)) for _ in range(3)]
    await soon(lambda: eyes.seen != [], what="one looks")
    eyes.open.set()
    outcomes = await asyncio.gather(*visitors, return_exceptions=True)
    assert [type(each) for each in outcomes] == [HomeDownError] * 3
    eyes.is_down = False
    await looks.once(OLD, ROUTE)
    assert eyes.seen == [OLD, OLD]


async def test_whoever_gives_up_does_so_alone(eyes: Eyes) -> None:
    looks = looks_of(eyes)
    first, second = (asyncio.create_task(looks.once(OLD, ROUTE)) for _ in range(2))
    await soon(lambda: eyes.seen != [], what="one looks")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    eyes.open.set()
    await second
    assert eyes.seen == [OLD]


@pytest.mark.parametrize(("kept", "wide"), [(0, 1), (3, 3), (100, AHEAD_MAX)])
async def test_a_next_home_is_looked_at_as_widely_as_the_old_one_is_used(eyes: Eyes, kept: int, wide: int) -> None:
    looks = looks_of(eyes, kept)
    eyes.open.set()
    looks.ahead([ROUTE, AWAITED])
    await asyncio.wait(looks._ahead.values())  # Each has looked a moment before that is known.
    looks.ahead([AWAITED])
    await looks.once(NEW, ROUTE)
    assert eyes.seen == [NEW] * wide


async def test_a_next_home_that_could_not_be_looked_at_is_looked_at_by_the_first_who_comes(eyes: Eyes) -> None:
    looks = looks_of(eyes, 1)
    eyes.is_down = True
    eyes.open.set()
    looks.ahead([AWAITED])
    await soon(lambda: eyes.seen == [NEW], what="it is looked at ahead")
    with pytest.raises(HomeDownError):
        await looks.once(NEW, ROUTE)
    assert eyes.seen == [NEW, NEW]


async def test_a_tenant_that_is_to_be_moved_again_is_awaited_again(eyes: Eyes) -> None:
    looks = looks_of(eyes, 1)
    eyes.open.set()
    looks.ahead([AWAITED])
    await soon(lambda: len(eyes.seen) == 1, what="it is looked at")
    looks.ahead([])
    looks.ahead([AWAITED])
    await soon(lambda: len(eyes.seen) == 2, what="it is looked at again")


async def test_closing_gives_up_what_is_under_way(eyes: Eyes) -> None:
    looks = looks_of(eyes, 1)
    visitor = asyncio.create_task(looks.once(OLD, ROUTE))
    looks.ahead([AWAITED])
    await soon(lambda: len(eyes.seen) == 2, what="both look")
    looks.close()
    with pytest.raises(asyncio.CancelledError):
        await visitor
