"""Files that are whole or absent: a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o600, sync: bool = True) -> None:
    """Replace `path` in one step; it is on disk when this returns, without `sync` some time after."""
    data = content.encode() if isinstance(content, str) else content
    temporary = _write_beside(path, data, mode, sync=sync)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_folder(path.parent)


def write_once(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Create `path` in one step, or leave it alone when it exists."""
    temporary = _write_beside(path, content, mode)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write_beside(path: Path, data: bytes, mode: int, *, sync: bool = True) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if sync:
                os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Have what was made, renamed or deleted in it on disk when this returns."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
