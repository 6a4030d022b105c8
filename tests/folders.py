"""Folders for what tests start: in memory where there is room, so that no test waits for the disk to write."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

MEMORY, DISK = Path("/dev/shm"), Path("/tmp")
ROOM_BYTES = 4 * 1024**3


def new_folder(prefix: str) -> Path:
    """An empty folder, closed to others. Not pytest's own, which the platform's user cannot reach when root tests."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=roomiest()))


def roomiest() -> Path:
    """Where such folders are made."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    return MEMORY if roomy else DISK
