"""How long a move will take and a tenant will wait, by what earlier moves of this platform took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from control_plane.registry.move_figures import Earlier
from provisioning.moves.copying import Size

ROWS_A_SECOND = 80_000
"""Copied on one machine without a rest: 100,000 rows took 1.3 to 3.0 s, a million 8.6 to 12.1."""
AROUND_IT_S = 2.0
"""For the home, the stream's beginning, catching up and the end."""
STALL_MS = 60
"""Longest wait seen with 100,000 rows, 8 connections and 200 transactions a second: 18 to 63 ms."""
STALL_LARGE_MS = 270
"""With a million: 115 to 266 ms."""
LARGE_ROWS = 500_000
FEW_ROWS = 10_000
"""Up to here what is around the copy takes longer than the copy itself."""
ENOUGH = 3
"""Fewer than so many earlier moves tell nothing."""
ALMOST_ALL = 0.9


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is to be expected of a move."""

    seconds: float
    stall_ms: int
    from_moves: int
    """How many earlier ones it is taken from; without any, from figures that were measured elsewhere."""


def expected(size: Size, earlier: Sequence[Earlier], share: float) -> Expected:
    """Of so much to copy in that share of the time, after these moves, the newest of which count as the oldest do."""
    few = [each for each in earlier if each.rows < FEW_ROWS]
    around_s = median(each.seconds for each in few) if len(few) >= ENOUGH else AROUND_IT_S
    many = [each for each in earlier if each.rows >= FEW_ROWS and each.seconds > around_s]
    copy_s = size.rows / ROWS_A_SECOND / share
    if len(many) >= ENOUGH:
        a_row_s = median((each.seconds - around_s) / each.rows for each in many)
        a_byte_s = median((each.seconds - around_s) / max(each.bytes, 1) for each in many)
        # Wide rows take their time by the byte, narrow ones by the row.
        copy_s = max(size.rows * a_row_s, size.bytes * a_byte_s)
    alike = [each for each in earlier if (each.rows < LARGE_ROWS) is (size.rows < LARGE_ROWS)]
    stalls = sorted(each.stall_ms for each in alike)
    known = STALL_MS if size.rows < LARGE_ROWS else STALL_LARGE_MS
    stall_ms = stalls[int(ALMOST_ALL * (len(stalls) - 1))] if len(stalls) >= ENOUGH else known
    used = {id(each) for group in (few, many, alike) if len(group) >= ENOUGH for each in group}
    return Expected(seconds=round(around_s + copy_s, 1), stall_ms=round(stall_ms), from_moves=len(used))
