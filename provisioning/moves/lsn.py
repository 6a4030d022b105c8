"""Places in a server's log: numbers here, `16/B374D848` to PostgreSQL."""

from __future__ import annotations

from typing import NewType

Lsn = NewType("Lsn", int)
NOWHERE = Lsn(0)


def parse_lsn(text: str) -> Lsn:
    """From PostgreSQL's way of writing; ValueError for anything else."""
    high, _, low = text.partition("/")
    return Lsn(int(high, 16) << 32 | int(low, 16))


def lsn_text(lsn: Lsn) -> str:
    """In PostgreSQL's way of writing."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
