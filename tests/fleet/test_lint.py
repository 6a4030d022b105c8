"""Each rule of lint finds the revision that breaks it, and nothing else, and leaves alone the one that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.doors import SOCKETS
from migrations.fleet.chains import Chain, tenant_chain
from migrations.lint.judge import Report, judge
from migrations.lint.subject import subject
from provisioning.doctor.revisions import DATABASE, watch
from provisioning.roles import SUPERUSER, connect
from tests.fleet.lint_cases import CASES, Case
from tests.fleet.linting import (
    INDEX,
    MIGRATOR,
    OF_AUTHOR,
    OWNER,
    PYTHON,
    Module,
    alone,
    contract,
    index,
    lint_chain,
)
from tests.fleet.linting import sql as executing

pytestmark = pytest.mark.slow


def read(chain: Chain) -> Report:
    """What is found without a database."""
    return judge([subject(chain, revision) for revision in chain.revisions])


def tried(server: Server, chain: Chain, *wanted: str) -> Report:
    """What is found on that server, where an earlier trial's database goes first."""
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE)))
    subjects = [subject(chain, revision) for revision in chain.revisions]
    asked = [each for each in subjects if not wanted or each.name in wanted]
    return judge(asked, watch(server, chain, subjects, [each.name for each in asked]))


def told(report: Report) -> dict[str, set[str]]:
    """The rules broken, by revision."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.revision, set()).add(finding.rule)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule} {case.name}".strip())
def test_a_rule_finds_what_breaks_it_and_nothing_else(case: Case, cluster: Server, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain", *case.keeps, case.breaks)
    assert told(tried(cluster, chain)) == {chain.head: {case.rule}}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule} {case.name}".strip())
def test_without_a_database_the_same_is_found_but_for_what_only_one_shows(case: Case, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain", *case.keeps, case.breaks)
    found = told(read(chain)).get(chain.head, set())
    assert case.rule not in found if case.unread else found == {case.rule}


def test_our_own_revisions_come_out_clean(cluster: Server) -> None:
    report = tried(cluster, tenant_chain("migrations:tenant"))
    assert report.findings == ()
    assert {(finding.revision, finding.rule) for finding in report.accepted} == {
        ("0002", "require-concurrent-index-creation")
    }


def test_a_finding_says_where_it_is_what_happens_and_what_to_do(cluster: Server, tmp_path: Path) -> None:
    body = executing("ALTER TABLE notes ADD COLUMN due date", "CREATE INDEX ON notes\n (tenant_id, due) -- soon")
    chain = lint_chain(tmp_path / "chain", body)
    (finding,) = tried(cluster, chain).findings
    assert (finding.revision, finding.file) == ("0002", str(chain.script("0002").path))
    assert finding.where == "CREATE INDEX ON notes (tenant_id, due) ;"
    assert finding.what.endswith("and writes to it wait: notes is read while nobody may read or write it")
    assert finding.remedy == "a revision of its own: `copyhold migrate new --concurrently`"


def test_an_accepted_rule_is_told_with_its_reason_and_is_no_finding(tmp_path: Path) -> None:
    said = 'expands = True\naccepted = {"require-concurrent-index-creation": "it is small"}'
    report = read(lint_chain(tmp_path / "chain", executing("CREATE INDEX ON notes (tenant_id, rank)", said=said)))
    assert (report.errors, report.warnings) == (0, 0)
    assert [(finding.rule, finding.accepted) for finding in report.accepted] == [
        ("require-concurrent-index-creation", "it is small")
    ]


def test_a_comment_accepts_nothing(tmp_path: Path) -> None:
    ignoring = "-- squawk-ignore require-concurrent-index-creation\nCREATE INDEX ON notes (tenant_id, rank)"
    found = told(read(lint_chain(tmp_path / "chain", executing("-- squawk-ignore-file\nSELECT 1", ignoring))))
    assert found == {"0002": {"require-concurrent-index-creation"}}


def test_only_what_is_asked_for_is_told_and_what_comes_before_it_is_there(cluster: Server, tmp_path: Path) -> None:
    bad = executing("CREATE INDEX ON notes (tenant_id, rank)")
    chain = lint_chain(tmp_path / "chain", bad, executing("ALTER TABLE notes ADD COLUMN due date"), bad, bad)
    assert told(tried(cluster, chain, "0003", "0004")) == {"0004": {"require-concurrent-index-creation"}}


def test_a_table_that_the_revision_itself_makes_may_be_locked(cluster: Server, tmp_path: Path) -> None:
    made = executing(
        "CREATE TABLE tags (tenant_id uuid NOT NULL, id uuid NOT NULL, name text, PRIMARY KEY (tenant_id, id))",
        "SELECT tenancy.protect('tags')",
        "CREATE INDEX ON tags (tenant_id, name)",
        "ALTER TABLE tags ADD CONSTRAINT named CHECK (name <> '')",
    )
    assert told(tried(cluster, lint_chain(tmp_path / "chain", made))) == {}


def test_what_cannot_be_read_without_a_database_is_told_and_the_rest_is_read(cluster: Server, tmp_path: Path) -> None:
    odd = executing("SELECT 1 OPERATOR(pg_catalog.+) FROM (TABLE notes) ..", "CREATE INDEX ON notes (tenant_id, rank)")
    chain = lint_chain(tmp_path / "chain", odd)
    assert told(read(chain)) == {"0002": {"unreadable-statement", "require-concurrent-index-creation"}}
    assert "unreadable-statement" not in told(tried(cluster, chain))["0002"]


def test_a_revision_that_cannot_be_compiled_fails_and_later_ones_are_not_tried(cluster: Server, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain", Module(up="op.execute('COMMIT')"), executing("SELECT 1"), index("rank"))
    assert told(tried(cluster, chain)) == {"0002": {"fails"}, "0003": {"not-watched"}, "0004": {"not-watched"}}
    (finding,) = read(chain).findings
    assert "a transaction is begun or ended by hand" in finding.what


def test_a_revision_in_python_is_tried_and_its_strings_are_read(cluster: Server, tmp_path: Path) -> None:
    run = "connection = op.get_bind()\nconnection.exec_driver_sql('SET ROLE copyhold_owner')\n"
    adds = Module(up=run + "connection.exec_driver_sql('ALTER TABLE notes ADD COLUMN hint text')", said=PYTHON)
    names = Module(up=run + "connection.exec_driver_sql('SELECT 1 FROM public.notes LIMIT 0')", said=PYTHON)
    chain = lint_chain(tmp_path / "chain", adds, names)
    assert told(read(chain)) == {"0003": {"qualified-name"}}
    assert told(tried(cluster, chain)) == {"0002": {"statistics"}, "0003": {"qualified-name", "fails"}}


def test_a_downgrade_that_is_missing_is_none(cluster: Server, tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain", executing("ALTER TABLE notes ADD COLUMN due date"))
    file = chain.folder / "versions" / "0002.py"
    written = file.read_text()
    other = lint_chain(tmp_path / "other", executing("SELECT 1"))
    (other.folder / "versions" / "0002.py").write_text(written.partition("def downgrade")[0])
    assert told(tried(cluster, tenant_chain(str(tmp_path / "other")))) == {}


def test_squawk_looks_at_indexes_that_are_built_again_and_again(tmp_path: Path) -> None:
    chain = lint_chain(tmp_path / "chain", executing(*(INDEX.format("", name, "rank") for name in ("one", "two"))))
    assert [finding.where for finding in read(chain).findings] == [
        f"CREATE INDEX IF NOT EXISTS notes_{name}_idx ON notes (tenant_id, rank);" for name in ("one", "two")
    ]


def test_the_safe_ways_that_the_operations_page_tells_come_out_clean(cluster: Server, tmp_path: Path) -> None:
    fill = f"op.get_bind().exec_driver_sql({'UPDATE notes SET mark = id WHERE mark IS NULL'!r})"
    modules = (
        executing(
            "ALTER TABLE notes ADD COLUMN mark uuid", "ALTER TABLE notes ALTER mark SET DEFAULT gen_random_uuid()"
        ),
        Module(up=f"with op.get_context().autocommit_block():\n    {fill}", said=PYTHON),
        executing("ALTER TABLE notes ADD CONSTRAINT marked CHECK (mark IS NOT NULL) NOT VALID"),
        executing("ALTER TABLE notes VALIDATE CONSTRAINT marked"),
        contract("ALTER TABLE notes ALTER COLUMN mark SET NOT NULL", "ALTER TABLE notes DROP CONSTRAINT marked"),
        alone("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one_mark ON notes (tenant_id, mark)"),
        executing("ALTER TABLE notes ADD CONSTRAINT one_mark UNIQUE USING INDEX one_mark"),
        index("author_id"),
        executing(f"ALTER TABLE notes ADD CONSTRAINT author {OF_AUTHOR} NOT VALID"),
        executing(MIGRATOR, "ALTER TABLE notes VALIDATE CONSTRAINT author", OWNER),
        executing("ALTER TABLE notes ALTER COLUMN label TYPE text"),
        index("other"),
        alone("DROP INDEX CONCURRENTLY IF EXISTS notes_other_idx"),
        contract("ALTER TABLE notes DROP COLUMN other"),
    )
    assert told(tried(cluster, lint_chain(tmp_path / "chain", *modules))) == {}
