"""What has to be true before a tenant is moved, as a pure function of facts: each objection says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from provisioning.moves.copying import Size
from provisioning.moves.obstacles import Kind, Obstacle

OLDEST_VERSION = 150000
"""Publications of rows, and not of whole tables."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that is asked about a move before it begins."""

    server: str
    """Where the tenant lives."""
    version: int
    obstacles: tuple[Obstacle, ...]
    """What keeps that server from sending a stream."""
    target: str | None
    """Where it is to live; None when there is no place for it."""
    target_obstacles: tuple[Obstacle, ...]
    """What keeps that one from sending a stream back."""
    size: Size | None
    """How much there is to copy; None where that could not be read."""
    target_writer: str | None = None
    """The oldest transaction there that has written something, in words."""
    target_writer_s: float = 0.0
    tables: Mapping[str, Size] = field(default_factory=dict)
    """The same by table, the largest first; those without a row are left out."""
    oldest_writer: str | None
    """The oldest transaction of the server that has written something, in words."""
    oldest_writer_s: float
    revisions: tuple[str | None, str | None]
    """Of the home that is left: its database's and its own."""
    wanted: tuple[str, str]
    """At which homes are built now."""
    unmovable: str | None
    """What the tables themselves object, in words."""
    unindexed: tuple[str, ...]
    """References without an index: deleting what they refer to searches whole tables."""


def objections(facts: Facts) -> list[str]:
    """Everything that speaks against the move whatever its recipe; see `recipes` for what depends on that."""
    return [*_of_the_home(facts), *_of_the_server(facts), *_of_the_target(facts)]


def _of_the_home(facts: Facts) -> Iterator[str]:
    if facts.revisions != facts.wanted:
        here, there = (" and ".join(each or "none known" for each in of) for of in (facts.revisions, facts.wanted))
        yield f"its home is at {here}, new ones are built at {there}: bring it there first (copyhold migrate up)"
    if facts.unmovable is not None:
        yield facts.unmovable
    for reference in facts.unindexed:
        yield f"the reference {reference} has no index, and the old rows could not be deleted in time: add one"


def _of_the_server(facts: Facts) -> Iterator[str]:
    if facts.version < OLDEST_VERSION:
        yield f"{facts.server} is PostgreSQL {facts.version // 10000}: moves need 15"


def _of_the_target(facts: Facts) -> Iterator[str]:
    for obstacle in facts.target_obstacles:
        if obstacle.kind is Kind.ROWS:
            yield f"on {facts.target} {obstacle.words}"
