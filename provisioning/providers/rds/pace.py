"""How often AWS is asked, and for how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 20.0
"""Between two tries of one call that AWS throttled or did not answer."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Bounds of all waiting. The clock is given, so that nothing has to wait in order to be tried."""

    tries: int = 8
    """Of one call."""
    poll_s: float = 15.0
    """Between two looks at an instance; creating one takes AWS 5 to 30 minutes."""
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random

    def back_off(self, failures: int) -> None:
        """Pause after that many failures in a row: twice as long each time, out of step with others."""
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1))
        self.sleep(longest * (0.5 + self.random() / 2))
