"""Each rule of lint finds the revision that breaks it, and nothing else, and leaves alone the one that keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import sql

from control_plane.domain.server import Server
from control_plane.registry.servers import direct_dsn
from migrations.fleet.chains import Chain, tenant_chain
from migrations.fleet.writing import Form, write_revision
from migrations.lint.judge import Report, judge
from migrations.lint.subject import subject
from provisioning.doctor.revisions import DATABASE, watch
from provisioning.roles import SUPERUSER, connect
from tests.fleet.linting import CASES, Case, Module, index, lint_chain
from tests.fleet.linting import sql as executing


def read(chain: Chain) -> Report:
    """What is found without a database."""
    return judge([subject(chain, revision) for revision in chain.revisions])


def tried(server: Server, chain: Chain, *wanted: str) -> Report:
    """What is found on that server, where an earlier trial's database goes first."""
    with connect(direct_dsn(server, "postgres", SUPERUSER)) as admin:
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
    assert told(read(chain)).get(chain.head, set()) == (set() if case.unread else {case.rule})
