"""`copyhold migrate new`: the app chain's next revision."""

from __future__ import annotations

from pathlib import Path

from control_plane.domain.errors import UsageError
from migrations.fleet.chains import Chain
from migrations.fleet.writing import Form, write_revision


def new_revision(chain: Chain, message: str, *, concurrently: bool, python: bool) -> Path:
    """Write it and say where it is."""
    if concurrently and python:
        raise UsageError("--concurrently and --python are two revisions")
    form = Form.CONCURRENTLY if concurrently else Form.PYTHON if python else Form.SQL
    path = write_revision(chain, message, form)
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
