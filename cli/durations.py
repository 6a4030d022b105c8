"""Durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from control_plane.domain.errors import UsageError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `12h`, `30d` or `4w`; UsageError for anything else."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{text!r} is no duration: write a number and s, m, h, d or w, as in 30d")
    try:
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError as error:
        raise UsageError(f"{text!r} is too long") from error
