"""By which recipe a tenant is moved, for how long it waits, whether there is a way back: a pure function of facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control_plane.domain.moving import Recipe
from provisioning.moves.copying import Size
from provisioning.moves.obstacles import Kind, Obstacle
from provisioning.moves.preconditions import Facts, objections

LONG_TRANSACTION_S = 60.0
"""A stream cannot begin before every transaction that writes has ended. The app's own end by themselves before that."""
FROZEN_ROWS_A_SECOND, FROZEN_BYTES_A_SECOND = 80_000, 40_000_000
"""Copied and compared, rather fewer than were measured (100,000 rows took 1.4 s, a million 11.2; on a busy machine
200,000 took 6.1): who agrees to a wait is not to wait much longer.
"""
FROZEN_AROUND_S = 0.2
"""To freeze, to look at each table, to switch."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What whoever asks for a move agrees to."""

    allow_freeze: bool
    window_s: int
    """For how long there is to be a way back."""
    nobody_waits: bool = False
    """Whether the tenant is suspended: then nobody has to agree to a wait."""
    bound_s: float
    """For how long at most a tenant is copied under freeze."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the move is made."""

    recipe: Recipe
    window_s: int
    stall_s: float | None
    """For how long the tenant waits under freeze; None by a stream, where it is some milliseconds."""
    note: str | None
    """What becomes of the terms, where it is something else than was asked for."""
    objections: tuple[str, ...]
    """Nothing when it may begin."""


def plan(facts: Facts, terms: Terms) -> Plan:
    """The one that these facts leave: a copy under freeze only where the server can send no stream as it is set up."""
    make = _under_freeze if _of(facts.obstacles, Kind.SETUP) else _by_stream
    return make(facts, terms)


def stall_s(size: Size) -> float:
    """For how long a copy of so much under freeze takes, about."""
    took = size.rows / FROZEN_ROWS_A_SECOND + size.bytes / FROZEN_BYTES_A_SECOND
    return round(FROZEN_AROUND_S + took, 1)


def _by_stream(facts: Facts, terms: Terms) -> Plan:
    found = [*objections(facts), *(f"on {facts.server} {each.words}" for each in facts.obstacles)]
    if facts.oldest_writer is not None and facts.oldest_writer_s > LONG_TRANSACTION_S:
        found.append(f"a transaction on {facts.server} goes on for too long: {facts.oldest_writer}; end it, or wait")
    found += _against_the_way_back(facts, terms.window_s)
    note = f"--allow-freeze changes nothing: {facts.server} can send a stream" if terms.allow_freeze else None
    return Plan(recipe=Recipe.STREAM, window_s=terms.window_s, stall_s=None, note=note, objections=tuple(found))


def _under_freeze(facts: Facts, terms: Terms) -> Plan:
    never = _of(facts.target_obstacles, Kind.SETUP)
    window_s, note = terms.window_s, None
    if window_s and never:
        window_s, note = 0, f"no way back, and the old home goes at once: on {facts.target} {_words(never)}"
    return Plan(
        recipe=Recipe.FREEZE,
        window_s=window_s,
        stall_s=stall_s(facts.size) if facts.size is not None else None,
        note=note,
        objections=(*objections(facts), *_against_freezing(facts, terms, window_s)),
    )


def _against_freezing(facts: Facts, terms: Terms, window_s: int) -> Iterator[str]:
    for obstacle in _of(facts.obstacles, Kind.ROWS):
        yield f"on {facts.server} {obstacle.words}"
    expected, why = _expected(facts.size), _words(_of(facts.obstacles, Kind.SETUP))
    if not (terms.allow_freeze or terms.nobody_waits):
        yield f"on {facts.server} {why}. Or --allow-freeze: copied under freeze, the tenant {expected}"
    if facts.size is not None and stall_s(facts.size) > terms.bound_s:
        yield f"the tenant {expected}; at most {terms.bound_s:g} s are allowed (COPYHOLD_LIMITS__FROZEN_COPY_S)"
    yield from _against_the_way_back(facts, window_s)


def _expected(size: Size | None) -> str:
    if size is None:
        return "would stall for nobody knows how long"
    return f"would stall for about {stall_s(size):g} s: {size.rows} rows, {size.bytes} bytes"


def _against_the_way_back(facts: Facts, window_s: int) -> Iterator[str]:
    """What has to come back comes by a stream from the target; those whom nothing streams to are in nobody's way."""
    if not window_s:
        return
    found = [each for each in facts.target_obstacles if each.kind is not Kind.ROWS]
    if found:
        yield f"nothing could flow back from {facts.target}: {_words(found)}. Or --undo-window 0s: no way back"
    elif facts.target_writer is not None and facts.target_writer_s > LONG_TRANSACTION_S:
        yield (
            f"a transaction on {facts.target} goes on for too long: {facts.target_writer}; end it, or wait. Or"
            " --undo-window 0s: no way back"
        )


def _of(found: Iterable[Obstacle], kind: Kind) -> list[Obstacle]:
    return [each for each in found if each.kind is kind]


def _words(found: Iterable[Obstacle]) -> str:
    return "; ".join(each.words for each in found)
