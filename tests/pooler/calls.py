"""The pooler's owner at work: its console lets nobody else in, so tests have these functions called by that user."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import control_engine, transaction
from control_plane.settings import Settings
from provisioning.pooler.apply import Drift, Pooler, PoolerRefusedError


def diff(settings: Settings) -> Drift:
    """How roll, files and running pooler differ."""
    with _pooler(settings) as pooler:
        return pooler.diff()


def apply(settings: Settings) -> bool:
    """Bring the pooler in line; whether anything had to be changed."""
    with _pooler(settings) as pooler:
        return pooler.apply()


def mend(settings: Settings) -> Drift:
    """Bring the pooler in line; how it differs afterwards."""
    with _pooler(settings) as pooler:
        pooler.apply()
        return pooler.diff()


def come_and_go(settings: Settings, alias: str, times: int) -> None:
    """Have a database come and go on the roll, so often, with the pooler following each time."""
    with _pooler(settings) as pooler:
        for number in range(times):
            with transaction(pooler._engine) as session:
                if number % 2:
                    session.execute(text("DELETE FROM databases WHERE name = :name"), {"name": alias})
                else:
                    servers.ensure_database(session, "alpha", alias, Model.BRIDGE)
            assert pooler.apply()


def apply_elsewhere(settings: Settings) -> str:
    """What is said when the files are written where the running pooler does not look for them."""
    with tempfile.TemporaryDirectory(dir=settings.pooler_dir.parent) as folder:
        misled = settings.model_copy(update={"pooler_dir": Path(folder)})
        with _pooler(misled) as pooler, pytest.raises(PoolerRefusedError) as refused:
            pooler.apply()
    return refused.value.message


def console(settings: Settings, *commands: str) -> list[dict[str, object]]:
    """What the console says to the last of these commands."""
    with _pooler(settings) as pooler:
        return [pooler._console(command) for command in commands][-1]  # type: ignore[arg-type]


def edit(settings: Settings, name: str, old: str, new: str) -> None:
    """Edit one of the pooler's files by hand."""
    path = settings.pooler_dir / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@contextmanager
def _pooler(settings: Settings) -> Iterator[Pooler]:
    engine = control_engine(settings.control_dsn, timeout_s=10)
    try:
        yield Pooler(settings, engine)
    finally:
        engine.dispose()
