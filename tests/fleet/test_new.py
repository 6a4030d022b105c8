"""A new revision comes with the safe way in it: filled in and nothing else, lint has nothing to say of it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from control_plane.domain.errors import InvalidError, SetupError
from control_plane.domain.server import Server
from migrations.fleet.chains import Chain, tenant_chain
from migrations.fleet.python_runs import PythonRuns
from migrations.fleet.writing import OPEN, TEMPLATE, Form, RevisionThereError, UnwritableChainError, write_revision
from migrations.lint.judge import judge
from migrations.lint.subject import Severity, subject
from tests.fleet.linting import lint_chain
from tests.fleet.linting import sql as executing
from tests.fleet.scratch import Scratch
from tests.fleet.test_lint import told, tried
from tests.fleet.writing import chain as written
from tests.fleet.writing import execute

pytestmark = pytest.mark.slow

FILLED = {
    Form.SQL: {
        "ALTER TABLE FILL IN ADD COLUMN FILL IN": "ALTER TABLE notes ADD COLUMN due date",
        "ALTER TABLE FILL IN DROP COLUMN FILL IN": "ALTER TABLE notes DROP COLUMN due",
    },
    Form.CONCURRENTLY: {
        "FILL IN_idx ON FILL IN (tenant_id, FILL IN)": "notes_rank_idx ON notes (tenant_id, rank)",
        "FILL IN_idx": "notes_rank_idx",
    },
    Form.PYTHON: {
        "UPDATE FILL IN AS row SET FILL IN = FILL IN": "UPDATE notes AS row SET rank = 1",
        "row.FILL IN IS NULL": "row.rank IS NULL",
        "FROM FILL IN": "FROM notes",
    },
}
FORMS = pytest.mark.parametrize("form", list(Form))


def again(chain: Chain, folder: Path) -> Chain:
    """The same files elsewhere: what a chain consists of is read once."""
    shutil.copytree(chain.folder, folder)
    return tenant_chain(str(folder))


def fill_in(path: Path, form: Form) -> None:
    """Write what was left open: the names of a table and a column, and words."""
    text = path.read_text()
    for left_open, filled in FILLED[form].items():
        text = text.replace(left_open, filled)
    path.write_text(text.replace(f"{OPEN}:", "Loses nothing:"))
    assert OPEN not in path.read_text()


@FORMS
def test_lint_names_every_line_that_is_left_open_and_nothing_else(form: Form, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    path = write_revision(chain, "count notes", form)
    report = judge([subject(again(chain, tmp_path / "again"), "0002")])
    lines = [number for number, line in enumerate(path.read_text().splitlines(), start=1) if OPEN in line]
    assert {finding.rule for finding in report.findings} == {"unfinished"}
    assert [int(re.findall(r"line (\d+):", str(finding.where))[0]) for finding in report.findings] == lines


@FORMS
def test_once_it_is_filled_in_lint_has_nothing_to_say(form: Form, cluster: Server, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    fill_in(write_revision(chain, "count notes", form), form)
    assert told(tried(cluster, again(chain, tmp_path / "again"))) == {}


def test_what_follows_an_unfinished_revision_is_not_tried(cluster: Server, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    write_revision(chain, "count notes")
    later = again(chain, tmp_path / "again")
    fill_in(write_revision(later, "count authors"), Form.SQL)
    found = tried(cluster, again(later, tmp_path / "later"))
    assert told(found) == {"0002": {"unfinished"}, "0003": {"not-watched"}}
    assert {finding.severity for finding in found.findings if finding.revision == "0003"} == {Severity.WARNING}


def test_rows_are_changed_in_steps_and_every_row_is_reached(scratch: Scratch, tmp_path: Path) -> None:
    table = "CREATE TABLE notes (tenant_id uuid, id uuid, rank int, PRIMARY KEY (tenant_id, id))"
    rows = (
        "INSERT INTO notes SELECT gen_random_uuid(), gen_random_uuid(), nullif(n % 3, 0) FROM generate_series(1, 50) n"
    )
    chain = written(tmp_path / "chain", execute(table, rows))
    path = write_revision(chain, "rank notes", Form.PYTHON)
    fill_in(path, Form.PYTHON)
    path.write_text(path.read_text().replace("5_000", "7").replace("SET rank = 1", "SET rank = 9"))
    ready = again(chain, tmp_path / "again")
    scratch.bring_to(chain, "0001")
    runs = PythonRuns()
    try:
        runs.run(scratch.dsn, ready, "public", ready.compiled("0001", "0002")[0])
    finally:
        runs.close()
    assert scratch.ask("SELECT count(*) FROM notes GROUP BY rank ORDER BY rank") == [17, 17, 16]
    assert scratch.revision == "0002"


def test_it_is_numbered_after_the_newest_and_named_by_its_message(tmp_path: Path) -> None:
    path = write_revision(lint_chain(tmp_path / "chain", executing("SELECT 1")), " add Due Date & rank to notes. ")
    assert path == tmp_path / "chain" / "versions" / "0003_add_due_date_rank_to_notes.py"
    module = path.read_text()
    assert module.startswith('"""Add Due Date & rank to notes.\n')
    assert 'revision = "0003"\ndown_revision = "0002"\n' in module


def test_a_long_message_makes_a_short_name(tmp_path: Path) -> None:
    path = write_revision(lint_chain(tmp_path / "chain"), "x" * 30 + " " + "y" * 30)
    assert path.name == f"0002_{'x' * 30}.py"


def test_revisions_that_have_no_numbers_get_names_that_nobody_has(tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    file = tmp_path / "chain" / "versions" / "0001.py"
    file.write_text(file.read_text().replace('"0001"', '"27c6a30d7c24"'))
    assert re.fullmatch(r"[0-9a-f]{12}_add_x\.py", write_revision(chain, "add x").name)


def test_a_template_of_the_apps_own_is_taken(tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    (chain.folder / TEMPLATE).write_text("# ${message}: ${down_revision} -> ${up_revision}\n")
    assert write_revision(chain, "add x").read_text() == "# Add x: 0001 -> 0002\n"
    (chain.folder / TEMPLATE).write_text("${nobody_knows_this()}\n")
    with pytest.raises(SetupError, match="cannot be used"):
        write_revision(chain, "add y")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "needs a message"),
        (" . ", "needs a message"),
        ("x" * 81, "80 characters at most, not 81"),
        ('add "x"', "one line without"),
        ("add x\nto y", "one line without"),
        ("add \\x", "one line without"),
    ],
)
def test_a_message_that_is_no_headline_is_refused(message: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=said):
        write_revision(lint_chain(tmp_path / "chain"), message)
    assert len(list((tmp_path / "chain" / "versions").glob("*.py"))) == 1


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain")
    path = write_revision(chain, "add x")
    path.write_text("mine")
    with pytest.raises(RevisionThereError, match="0002_add_x"):
        write_revision(chain, "Add x!")
    assert path.read_text() == "mine"


def test_a_chain_that_cannot_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = lint_chain(tmp_path / "chain")
    assert chain.head == "0001"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(UnwritableChainError, match="versions cannot be written to"):
        write_revision(chain, "add x")
