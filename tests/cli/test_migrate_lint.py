"""`copyhold migrate lint` and `new`, on a chain of the tests' own, without a platform."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tenant_app.inbox import Inbox
from tests.cli.shell import Shell
from tests.fleet.linting import index, lint_chain, sql
from tests.forking import Said

pytestmark = pytest.mark.slow

APP = "tests.cli.test_migrate_lint:elsewhere"
FINDING = {"file", "revision", "rule", "severity", "where", "what", "remedy", "accepted"}
GOOD = sql("ALTER TABLE notes ADD COLUMN due date")
BAD = sql("CREATE INDEX ON notes (tenant_id, rank)")
DOUBTFUL = sql("DROP INDEX notes_other_idx")


def __getattr__(name: str) -> Inbox:
    """`elsewhere`: an app whose revisions are in a folder that a test names."""
    if name != APP.partition(":")[2]:
        raise AttributeError(name)
    return Inbox(migrations=os.environ["CHAIN_UNDER_TEST"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test writes its chain."""
    return tmp_path / "chain"


def migrate(folder: Path, *arguments: str, **variables: str) -> Said:
    """The command, with that chain as the app's."""
    named = {"COPYHOLD_TENANT_APP": APP, "CHAIN_UNDER_TEST": str(folder), **variables}
    return Shell().start("migrate", *arguments, variables=named).ended()


@pytest.mark.parametrize("how", [(), ("--static",)], ids=["tried", "read"])
def test_clean_revisions_end_with_0(folder: Path, how: tuple[str, ...]) -> None:
    lint_chain(folder, GOOD, index("rank"))
    said = migrate(folder, "lint", *how)
    where = "by their text alone" if how else "on a PostgreSQL of their own"
    assert (said.code, said.err) == (0, "")
    assert said.out == f"looked at 3 revisions {where}: 0 errors, 0 warnings\n"


def test_an_error_ends_with_1_and_says_what_to_do(folder: Path) -> None:
    lint_chain(folder, GOOD, BAD)
    said = migrate(folder, "lint")
    assert said.code == 1
    assert said.out.splitlines() == [
        f"error  require-concurrent-index-creation  {folder}/versions/0003.py",
        "  CREATE INDEX ON notes (tenant_id, rank);",
        "  an index is built on a table that is in use, and writes to it wait: notes is read while nobody may write it",
        "  → a revision of its own: `copyhold migrate new --concurrently`",
        "",
        "looked at 3 revisions on a PostgreSQL of their own: 1 error, 0 warnings",
    ]


def test_warnings_alone_end_with_0(folder: Path) -> None:
    lint_chain(folder, index("other"), DOUBTFUL)
    said = migrate(folder, "lint")
    assert said.code == 0
    assert said.out.startswith("warning  require-concurrent-index-deletion  ")
    assert said.out.endswith("0 errors, 1 warning\n")


def test_only_the_revisions_meant_are_looked_at(folder: Path) -> None:
    lint_chain(folder, BAD, GOOD)
    assert migrate(folder, "lint").code == 1
    assert migrate(folder, "lint", "0003").out.startswith("looked at 1 revision ")
    assert migrate(folder, "lint", "--since", "0002").out.startswith("looked at 1 revision ")
    assert migrate(folder, "lint", "--since", "head", "--static").out.startswith("looked at 0 revisions ")
    unknown = migrate(folder, "lint", "0009")
    assert (unknown.code, unknown.error) == (2, "there is no revision '0009'; there are 0001, 0002, 0003")
    assert migrate(folder, "lint", "0003", "--since", "0002").code == 2


def test_json_has_all_of_a_finding(folder: Path) -> None:
    accepted = 'expands = True\naccepted = {"require-concurrent-index-creation": "it is small"}'
    lint_chain(folder, BAD, sql("CREATE INDEX ON notes (tenant_id, other)", said=accepted))
    said = migrate(folder, "lint", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert (found["static"], found["errors"], found["warnings"]) == (False, 1, 0)
    assert found["revisions"] == ["0001", "0002", "0003"]
    assert [set(each) for each in (*found["findings"], *found["accepted"])] == [FINDING, FINDING]
    assert [(each["revision"], each["accepted"]) for each in found["accepted"]] == [("0003", "it is small")]


def test_a_new_revision_is_written_and_lint_says_what_is_left_to_fill_in(folder: Path) -> None:
    lint_chain(folder)
    said = migrate(folder, "new", "-m", "add a colour to labels")
    assert (said.code, said.out) == (0, f"{folder}/versions/0002_add_a_colour_to_labels.py\n")
    assert "`copyhold migrate lint` says what is left" in said.err
    left = migrate(folder, "lint", "--static")
    assert left.code == 1
    assert left.out.count("error  unfinished  ") == Path(said.out.strip()).read_text().count("FILL IN:") + 2
    assert migrate(folder, "new", "-m", "index labels", "--concurrently").out.endswith("/0003_index_labels.py\n")


@pytest.mark.parametrize("arguments", [("-m", ""), ("-m", "x", "--concurrently", "--python"), ()])
def test_a_revision_that_cannot_be_meant_is_refused(folder: Path, arguments: tuple[str, ...]) -> None:
    lint_chain(folder)
    assert migrate(folder, "new", *arguments).code == 2
    assert [path.name for path in (folder / "versions").glob("*.py")] == ["0001.py"]


def test_an_app_that_cannot_be_loaded_is_named(folder: Path) -> None:
    said = migrate(folder, "lint", COPYHOLD_TENANT_APP="nowhere:app")
    assert said.error.startswith("the tenant app 'nowhere:app' cannot be loaded")
