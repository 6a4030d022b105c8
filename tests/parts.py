"""The parts of a running platform as processes: stopped by a test, and started again by the platform's supervisor."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

POOLER = "pooler"
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
"""How PostgreSQL is stopped: at once but in order, or without a word to anybody."""


def postmaster(platform: PlatformUnderTest, server: str) -> int:
    """The process of that server; 0 when there is none."""
    file = platform.layout.servers / server / "postmaster.pid"
    try:
        return int(file.read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return 0


def pooler(platform: PlatformUnderTest) -> int:
    """The pooler's process; 0 when there is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if words[0].endswith("pgbouncer") and any(str(platform.data) in word for word in words):
            return int(entry.name)
    return 0


def restart(platform: PlatformUnderTest, part: str, how: signal.Signals) -> None:
    """Stop a server or the pooler, and wait until the platform has started it again."""
    before = _process(platform, part)
    os.kill(before, how)
    until(lambda: _process(platform, part) not in (0, before) and _ready(platform, part), what=f"{part} is up again")


def _process(platform: PlatformUnderTest, part: str) -> int:
    return pooler(platform) if part == POOLER else postmaster(platform, part)


def _ready(platform: PlatformUnderTest, part: str) -> bool:
    return part == POOLER or platform.layout.provider.is_ready(part)
