"""The parts of a running platform as processes: stopped by a test, and started again by the platform's supervisor."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

POOLER, REDIS = "pooler", "redis"
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


def redis(platform: PlatformUnderTest) -> int:
    """The process of Redis; 0 when there is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == platform.layout.redis:
                return int(entry.name)
    return 0


def stop(platform: PlatformUnderTest, part: str) -> None:
    """End a part without a word, whose supervisor is held still, and wait until it is gone."""
    process = _process(platform, part)
    assert process, f"{part} is there"
    os.kill(process, signal.SIGKILL if part in {POOLER, REDIS} else IMMEDIATE)
    until(lambda: _has_ended(process), what=f"{part} is gone")


def _has_ended(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def restart(platform: PlatformUnderTest, part: str, how: signal.Signals) -> None:
    """Stop a server or the pooler, and wait until the platform has started it again."""
    before = _process(platform, part)
    assert before, f"{part} is there"
    os.kill(before, how)
    until(lambda: _process(platform, part) not in (0, before) and _ready(platform, part), what=f"{part} is up again")


def _process(platform: PlatformUnderTest, part: str) -> int:
    named = {POOLER: pooler, REDIS: redis}.get(part)
    return named(platform) if named is not None else postmaster(platform, part)


def _ready(platform: PlatformUnderTest, part: str) -> bool:
    return part in {POOLER, REDIS} or platform.layout.provider.is_ready(part)
