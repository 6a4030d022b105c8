"""Revisions in Python: Alembic runs them, each in a process, with a connection of the migrator, who sees every row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migrations.fleet.chains import Chain
from migrations.fleet.python_runs import PythonRevisionError
from migrations.fleet.replay import bring_to
from tests.fleet.scratch import Scratch
from tests.fleet.writing import chain, execute

pytestmark = pytest.mark.slow

TABLES = execute("CREATE TABLE things (id int, twice int)", "INSERT INTO things SELECT n FROM generate_series(1, 5) n")
BACKFILL = """
import sqlalchemy as sa
bind = op.get_bind()
for (id,) in bind.execute(sa.text("SELECT id FROM things ORDER BY id")).fetchall():
    bind.execute(sa.text("UPDATE things SET twice = :twice WHERE id = :id"), {"twice": 2 * id, "id": id})
"""


def in_python(folder: Path, *bodies: str) -> Chain:
    """A chain whose revisions after the first two are in Python."""
    grants = execute("GRANT ALL ON things TO copyhold_migrator")
    made = chain(folder, TABLES, grants, *bodies)
    for number in range(3, 3 + len(bodies)):
        with (folder / "versions" / f"{number:04}.py").open("a") as module:
            module.write("\npython = True\n")
    return made


def test_a_revision_in_python_is_run_and_recorded(tmp_path: Path, scratch: Scratch) -> None:
    written = in_python(tmp_path / "chain", BACKFILL)
    assert bring_to(scratch.dsn, written, "public", "0003") == "0003"
    assert scratch.ask("SELECT twice FROM things ORDER BY id") == [2, 4, 6, 8, 10]
    assert scratch.revision == "0003"


def test_one_that_fails_leaves_nothing_and_names_no_value(tmp_path: Path, scratch: Scratch) -> None:
    written = in_python(tmp_path / "chain", BACKFILL + "\nbind.execute(sa.text(\"SELECT 'secret'::int\"))")
    with pytest.raises(PythonRevisionError) as refused:
        bring_to(scratch.dsn, written, "public", "0003")
    assert "secret" not in str(refused.value)
    assert scratch.ask("SELECT count(twice) FROM things") == [0]
    assert scratch.revision == "0002"


def test_many_at_once_each_reach_their_own_target(tmp_path: Path, scratch: Scratch) -> None:
    """In threads, Alembic would mix them up and report success for targets that it never touched."""
    written = in_python(tmp_path / "chain", BACKFILL)
    schemas = [f"t_{number}" for number in range(12)]
    for schema in schemas:
        scratch.tell(f"CREATE SCHEMA {schema} AUTHORIZATION copyhold_owner; GRANT USAGE ON SCHEMA {schema} TO PUBLIC")

    def bring(schema: str) -> str | None:
        return bring_to(scratch.dsn, written, schema, "0003")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(bring, schemas)) == ["0003"] * len(schemas)
    for schema in schemas:
        assert scratch.ask(f"SELECT count(*) FROM {schema}.things WHERE twice = 2 * id") == [5]


def test_one_whose_process_is_killed_has_failed_and_the_next_is_run(tmp_path: Path, scratch: Scratch) -> None:
    written = in_python(tmp_path / "chain", "import os\nos.kill(os.getpid(), 9)", BACKFILL)
    with pytest.raises(PythonRevisionError, match="the process that ran it ended"):
        bring_to(scratch.dsn, written, "public", "0003")
    assert scratch.revision == "0002"


def test_a_chain_with_python_in_it_says_so_in_its_plan(tmp_path: Path) -> None:
    written = in_python(tmp_path / "chain", BACKFILL)
    assert [phase.python for phase in written.compiled(None, "0003")] == [False, False, True]
