"""Worlds of all three models on the shared platform, and a platform that may be broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import pytest

from tests.isolation.doors import Port
from tests.isolation.matrix import Matrix
from tests.isolation.operations import Served, served
from tests.isolation.world import World
from tests.platform_under_test import PlatformUnderTest, running_platform


@dataclass(kw_only=True)
class Proof:
    """What the proof works with on one platform."""

    platform: PlatformUnderTest
    worlds: dict[str, World] = field(default_factory=dict)

    def world(self, model: str, number: int = 1) -> World:
        """The n-th world of that model, made when it is first asked for."""
        name = f"{model}{number}"
        if name not in self.worlds:
            self.worlds[name] = World.found(self.platform, model)
        return self.worlds[name]

    def pair(self, mine: str, theirs: str) -> tuple[World, World]:
        """Two different worlds of those models."""
        return self.world(mine), self.world(theirs, 2 if mine == theirs else 1)

    def matrix(self, mine: str, theirs: str) -> Matrix:
        """The matrix of two worlds of those models, with nothing in them but what it needs."""
        me, them = self.pair(mine, theirs)
        me.sweep()
        them.sweep()
        return Matrix.of(me, them, self.served)

    @cached_property
    def served(self) -> Mapping[str, Served]:
        """What the tenant app says that it serves."""
        document = self.platform.client(self.world("pool").host).get("/openapi.json")
        return served(document.json())

    @contextmanager
    def port(self) -> Iterator[Port]:
        """The whole stack."""
        door = Port(self.platform)
        yield door
        door.close()


@contextmanager
def a_proof_on(platform: PlatformUnderTest) -> Iterator[Proof]:
    """The proof's tools, given back at the end of the block."""
    proof = Proof(platform=platform)
    yield proof
    for world in proof.worlds.values():
        world.close()


@pytest.fixture(scope="package")
def proof(platform: PlatformUnderTest) -> Iterator[Proof]:
    """On the platform that all tests share: nothing is broken there."""
    with a_proof_on(platform) as ready:
        yield ready


@pytest.fixture(scope="package")
def breakable() -> Iterator[Proof]:
    """On a platform of its own, whose layers may be taken off as long as they are put back."""
    with running_platform() as platform, a_proof_on(platform) as ready:
        yield ready
