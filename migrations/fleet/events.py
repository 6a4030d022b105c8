"""What a run over the fleet tells while it goes on, what it says at its end, and what it is given to work with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from migrations.fleet.crew import Outcome
from migrations.fleet.plan import Plan, Target

STOPPED_BY_SOMEBODY = "somebody stopped it"


@dataclass(frozen=True, kw_only=True)
class Began:
    """A run has been entered in the ledger."""

    run_id: UUID
    plan: Plan


@dataclass(frozen=True, kw_only=True)
class WaveBegan:
    """A wave begins."""

    number: int
    targets: int


@dataclass(frozen=True, kw_only=True)
class WaveEnded:
    """A wave has ended; `stopped` says why no other follows, None when the run goes on."""

    number: int
    done: int
    failed: int
    stopped: str | None


Event = Began | WaveBegan | Outcome | WaveEnded


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a run. `run_id` is None when there was nothing to do."""

    run_id: UUID | None
    state: str
    reason: str | None
    done: int
    failed: tuple[Outcome, ...]
    not_started: int
    there_already: int
    ahead: tuple[Target, ...]
    duration_ms: int


@dataclass(frozen=True, kw_only=True)
class Hands:
    """What a run is given by whoever starts it."""

    tell: Callable[[Event], None]
    stop: threading.Event
    """Set it, and the run ends when what is in flight has."""
    approve: Callable[[int], bool] | None = None
    """Asked before each wave but the first."""
    probe: Callable[[Sequence[Target]], list[str]] | None = None
    """Asks some targets whether they are served, and says what is wrong."""
    compare: Callable[[UUID], str | None] | None = None
    """Asked at the end of a run of which nothing failed: holds its targets against freshly built ones, and says how
    they differ. A run whose targets do is recorded as failed.
    """
