"""Files by which a process tells whoever started it that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def marked_ready(mark: Path | None) -> Iterator[None]:
    """Have the file there during the block, where one is named; a kill leaves it behind."""
    if mark is None:
        yield
        return
    mark.touch()  # there is room for a name on a full disk
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)
