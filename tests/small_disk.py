"""A server's data on a small disk of its own, in memory, that tests fill up. Needs root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts import FAST, postmaster
from tests.platform_under_test import PlatformUnderTest, copyhold
from tests.provisioning.workers import processes
from tests.waiting import until

ROOM_MB = 600
NO_SPACE = "No space left on device"


@contextmanager
def small_disk(platform: PlatformUnderTest, server: str) -> Iterator[None]:
    """For as long as the block lasts. The server is stopped for it, and started again by the platform."""
    disk = _moved(platform, server)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def take_room(platform: PlatformUnderTest, server: str) -> None:
    """Leave not a page on the disk."""
    disk = platform.layout.provider.data(server)
    until(lambda: _resized(disk, f"{shutil.disk_usage(disk).used // 1024}k"), what="the disk is full")


def give_room(platform: PlatformUnderTest, server: str) -> None:
    """Make the disk large enough, and wait until its server is there, whatever became of it meanwhile."""
    assert _resized(platform.layout.provider.data(server), f"{ROOM_MB}m")
    until(lambda: platform.layout.provider.is_ready(server) or not processes(platform, "up"), what="it is back or gone")
    if not processes(platform, "up"):  # it gives up on a server that does not stand
        copyhold("up", "--data", str(platform.data), "--detach")


def _moved(platform: PlatformUnderTest, server: str) -> Path:
    provider = platform.layout.provider
    data, before = provider.data(server), platform.layout.servers / f".{server}.before"
    owner = pwd.getpwuid(data.stat().st_uid)
    (supervisor,) = processes(platform, "up")
    os.kill(supervisor, signal.SIGSTOP)
    try:
        os.kill(postmaster(platform, server), FAST)
        until(lambda: postmaster(platform, server) == 0, what=f"{server} has stopped")
        data.rename(before)
        data.mkdir()
        options = f"size={ROOM_MB}m,mode=0700,uid={owner.pw_uid},gid={owner.pw_gid}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", data], check=True)
        subprocess.run(["cp", "-a", f"{before}/.", data], check=True)
        shutil.rmtree(before)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    until(lambda: provider.is_ready(server), what=f"{server} is back")
    return data


def _resized(disk: Path, size: str) -> bool:
    """Whether the disk has that size now: it may have come to hold more."""
    return subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=False).returncode == 0
