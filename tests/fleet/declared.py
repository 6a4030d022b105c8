"""Chains whose revisions do nothing, and say whether they expand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from migrations.fleet.chains import Chain
from tests.fleet.writing import chain


def declared_chain(folder: Path, *, expands: Sequence[bool]) -> Chain:
    """A chain in `folder`, which must be new: 0001, 0002 … each of which expands, or does not."""
    made = chain(folder, *("pass" for _ in expands))
    for number, says in enumerate(expands, start=1):
        with (folder / "versions" / f"{number:04}.py").open("a") as module:
            module.write(f"\nexpands = {says}\n")
    return made
