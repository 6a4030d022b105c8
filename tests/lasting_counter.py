"""Rate limits that no minute ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class LastingCounter:
    """Counts without end, so that no test depends on when a minute is over."""

    counts: Counter[str] = field(default_factory=Counter)

    async def hit(self, name: str) -> int:
        """See routing.throttle.Counter."""
        self.counts[name] += 1
        return self.counts[name]

    async def close(self) -> None:
        """See routing.throttle.Counter."""
