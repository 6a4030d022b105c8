"""Ids: UUIDv7, made here and not by a database, so that their order is their age."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, 12 of their fraction, then 62 random bits.

    The fraction keeps two of one machine in the order in which they were made, which milliseconds do not.
    """
    millis, nanos = divmod(time.time_ns(), 1_000_000)
    fraction = nanos * 4096 // 1_000_000
    chance = int.from_bytes(os.urandom(8)) >> 2
    return UUID(int=(millis & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | chance)


def made_at(identifier: UUID) -> datetime | None:
    """When a UUIDv7 was made, to the millisecond; None for an id of another kind."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC) if identifier.version == 7 else None


def parse_id(text: str) -> UUID | None:
    """The id written in `text`, or None: only the canonical 36-character form counts."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None
