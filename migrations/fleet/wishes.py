"""What whoever starts a run may choose: which targets, in which order, how many at a time, when to stop."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from control_plane.domain.errors import InvalidError

AT_ONCE = 8
"""Targets at once on one server; past this, two cores gain nothing (measured: 1,000 schemas in 1.1 s with 8)."""
FAILURES = "10%"


class WavesError(InvalidError):
    """These waves cannot be."""

    code = "waves_invalid"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Targets by what is said of their tenant. A pool, which many share, is named by its database."""

    names: tuple[str, ...] = ()
    """Slugs, or names of databases."""
    labels: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.names or self.labels or self.plans or self.servers)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a run is to go."""

    to: str = "head"
    down: bool = False
    only: Chosen = field(default_factory=Chosen)
    """Every condition that is given has to hold; none: the whole fleet."""
    canaries: Chosen = field(default_factory=Chosen)
    """Whoever meets one of the conditions is in the first wave, and no one else."""
    waves: tuple[str, ...] = ("1", "100%")
    """How far each wave goes, as a number of targets or a share of them all, canaries apart."""
    enterprise: str = "last"
    """Where silos of enterprise tenants go: first, last, or mixed."""
    max_failures: str = FAILURES
    at_once: int = AT_ONCE
    pause_s: float = 0.0
    verify: bool = False
    """Read where every target really is before planning, in place of believing the ledger."""

    @classmethod
    def from_ledger(cls, options: dict[str, Any]) -> Wishes:
        """What `for_ledger` wrote."""
        plain: dict[str, Any] = {**options, "waves": tuple(options["waves"])}
        for name in ("only", "canaries"):
            plain[name] = Chosen(**{key: tuple(value) for key, value in options[name].items()})
        return cls(**plain)

    def for_ledger(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    def checked(self) -> Wishes:
        """These, or WavesError when they make no sense."""
        wave_ends(self.waves, 100)
        failures_allowed(self.max_failures, 100)
        if self.enterprise not in {"first", "last", "mixed"}:
            raise WavesError(f"enterprise silos go first, last or mixed, not {self.enterprise!r}")
        if not 1 <= self.at_once <= 64:
            raise WavesError("between 1 and 64 targets at once on a server")
        return self


def wave_ends(waves: tuple[str, ...], targets: int) -> tuple[int, ...]:
    """Up to which target each wave goes. Waves that would be empty are left out."""
    ends: list[int] = []
    shares = [_share(wave) for wave in waves]
    if not shares or shares[-1] != (100.0, True):
        raise WavesError("the last wave has to be 100%: a run is for all of the chosen targets")
    for (amount, percent), (later, later_percent) in itertools.pairwise(shares):
        if percent == later_percent and later <= amount:
            raise WavesError(f"each wave has to go further than the one before: {', '.join(waves)}")
    for amount, percent in shares:
        end = min(targets, math.ceil(targets * amount / 100) if percent else int(amount))
        if end > (ends[-1] if ends else 0):
            ends.append(end)
    return tuple(ends)


def failures_allowed(rule: str, targets: int) -> int:
    """How many targets of a wave may fail before it stops; of a wave of one, a share allows none."""
    try:
        amount, percent = _share(rule, least=0)
    except WavesError as error:
        raise WavesError(f"failures are counted like 3 or 10%, not {rule!r}") from error
    if not percent:
        return int(amount)
    return math.ceil(targets * amount / 100) if targets > 1 or amount == 100 else 0


def _share(text: str, *, least: float = 1) -> tuple[float, bool]:
    percent = text.endswith("%")
    number = text.removesuffix("%")
    try:
        amount = float(number) if percent else int(number)
    except ValueError:
        raise WavesError(f"a wave is a number or a share like 1 or 25%, not {text!r}") from None
    if not (0 if percent else least) <= amount <= (100 if percent else 10**9) or (percent and amount == 0 and least):
        raise WavesError(f"{text} is no part of a fleet")
    return amount, percent
