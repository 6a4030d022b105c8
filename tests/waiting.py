"""Waiting for a fact, bounded, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 60.0
"""Ten times what anything takes on a machine that has nothing else to do."""
POLL_S = 0.02


def until(fact: Callable[[], bool], *, what: str, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as `fact` holds; fail with its name when it does not within `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while not fact():
        assert time.monotonic() < end, f"did not come true in {deadline_s} s: {what}"
        time.sleep(POLL_S)
