"""Revisions in Python: run by Alembic itself, each target in a process of a pool, never in a thread.

Alembic's `op` and `context` are process-wide: in threads it reports success for targets that it never touched.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import CopyholdError
from control_plane.registry.engine import sqlalchemy_url
from migrations.fleet.chains import Chain, Phase, config_of
from migrations.fleet.words import in_words

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

PROCESSES = 2


class PythonRevisionError(CopyholdError):
    """A revision in Python failed."""

    code = "python_revision_failed"


class PythonRuns:
    """Processes that start with the first revision in Python. Close it at the end."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def run(self, dsn: str, chain: Chain, schema: str, phase: Phase) -> None:
        """Run the revision and wait for it. PythonRevisionError with its reason, without values of rows."""
        if self._pool is None:
            # Imported here: hardly a chain needs them.
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor

            self._pool = ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))
        up = phase.before is None or chain.upgrades(phase.before, str(phase.after))
        try:
            said = self._pool.submit(_run, dsn, chain.location, schema, up, str(phase.after)).result()
        except BrokenExecutor as error:
            self._pool = None  # a process ended in the midst of a revision; the next one gets new ones
            raise PythonRevisionError("the process that ran it ended") from error
        if said is not None:
            raise PythonRevisionError(said)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _run(dsn: str, location: str, schema: str, up: bool, after: str) -> str | None:
    """Why it failed, or None. As the migrator, who sees every row; DDL has to ask for the owner's role."""
    from alembic import command

    engine = create_engine(sqlalchemy_url(dsn), hide_parameters=True)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f'SET search_path = "{schema}"')
            connection.exec_driver_sql("SET lock_timeout = 2000")
            connection.commit()
            config = config_of(location)
            config.attributes["connection"] = connection
            (command.upgrade if up else command.downgrade)(config, after)
            connection.commit()
    except DBAPIError as error:
        return in_words(error.orig) if hasattr(error.orig, "sqlstate") else type(error).__name__  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - somebody's program, which may fail in any way
        return f"{type(error).__name__} in the revision's own code"
    finally:
        engine.dispose()
    return None
