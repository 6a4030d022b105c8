"""A chain's SQL is taken at Alembic's output, statement by statement, and arrives in the database as it was written."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from migrations.fleet.chains import CONTROL, HOME, BrokenChainError, Chain, UnknownRevisionError, tenant_chain
from tests.fleet.scratch import Scratch
from tests.fleet.writing import chain, concurrently, execute, write_revision

TENANT = tenant_chain("migrations:tenant")
CHAINS = pytest.mark.parametrize("named", [CONTROL, HOME, TENANT], ids=lambda named: named.name)
FUNCTION = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; RETURN 100 % 7; END $$"


@CHAINS
def test_each_revision_of_ours_is_a_transaction_that_ends_with_its_version(named: Chain) -> None:
    for current, wanted in itertools.pairwise([None, *named.revisions]):
        *_, last = named.compiled(current, wanted)
        assert last.transactional
        assert "alembic_version" in last.sql.rstrip("\n;").rpartition("\n")[2]
        assert f"'{wanted}'" in last.sql


@CHAINS
def test_the_whole_way_is_made_of_the_single_ones(named: Chain) -> None:
    single = [
        phase for pair in itertools.pairwise([None, *named.revisions]) for phase in named.compiled(pair[0], pair[1])
    ]
    assert named.compiled(None, named.head) == tuple(single)


def test_compiling_twice_gives_the_same(tmp_path: Path) -> None:
    bodies = [execute("SELECT 1"), concurrently("SELECT 2"), execute("SELECT 3")]
    one, other = chain(tmp_path / "one", *bodies), chain(tmp_path / "other", *bodies)
    assert one.compiled(None, "head") == other.compiled(None, "0003")


def test_threads_that_compile_different_chains_do_not_mix_them_up(tmp_path: Path) -> None:
    chains = [chain(tmp_path / f"chain{n}", *[execute(f"SELECT {n}, {m}") for m in range(5)]) for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        compiled = list(pool.map(lambda each: each.compiled(None, "0005"), chains))
    for n, phases in enumerate(compiled):
        assert [phase.sql.count(f"SELECT {n}, {m}") for m, phase in enumerate(phases)] == [1] * 5
        assert len(phases) == 5


@pytest.mark.parametrize(
    "text",
    [
        "a; b",
        "100%",
        "%s %(name)s",
        "12:30",
        "a: b",
        "'quoted'",
        "$1 $$",
        "-- no comment",
        "BEGIN;",
        "\\n",
        "a\tb",
        "ä€",
    ],
)
def test_a_string_arrives_as_it_was_written(tmp_path: Path, scratch: Scratch, text: str) -> None:
    quoted = text.replace("'", "''")
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)", f"INSERT INTO a VALUES ('{quoted}')"))
    scratch.bring_to(written, "0001")
    assert scratch.ask("SELECT b FROM a") == [text]


def test_a_colon_before_a_word_is_escaped_as_everywhere_in_alembic(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(tmp_path / "chain", execute(r"""CREATE TABLE a AS SELECT '{"b"\:1}'::jsonb AS b"""))
    scratch.bring_to(written, "0001")
    assert scratch.ask("SELECT b FROM a") == [{"b": 1}]


@pytest.mark.parametrize("body", [execute("""SELECT '{"b":true}'"""), "op.execute(sa.text('SELECT :true'))"])
def test_a_colon_that_was_not_escaped_is_told_and_no_null_is_written_in_its_place(tmp_path: Path, body: str) -> None:
    with pytest.raises(BrokenChainError, match="no value for :true"):
        chain(tmp_path / "chain", f"import sqlalchemy as sa\n{body}").compiled(None, "0001")


def test_a_value_that_was_bound_is_written(tmp_path: Path, scratch: Scratch) -> None:
    body = "import sqlalchemy as sa\nop.execute(sa.text('CREATE TABLE a AS SELECT :b AS b').bindparams(b='it\\'s'))"
    scratch.bring_to(chain(tmp_path / "chain", body), "0001")
    assert scratch.ask("SELECT b FROM a") == ["it's"]


def test_a_function_body_arrives_as_it_was_written(tmp_path: Path, scratch: Scratch) -> None:
    scratch.bring_to(chain(tmp_path / "chain", execute(FUNCTION)), "0001")
    assert scratch.ask("SELECT prosrc FROM pg_proc WHERE proname = 'f'") == [" BEGIN PERFORM 1; RETURN 100 % 7; END "]
    assert scratch.ask("SELECT f()") == [2]


def test_comments_take_no_statement_with_them(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(
        tmp_path / "chain",
        execute("-- why\nCREATE TABLE a ()", "-- nothing but\n-- a comment", "CREATE TABLE b () -- because"),
        concurrently("-- why\nVACUUM a"),
    )
    scratch.bring_to(written, "0002")
    assert scratch.tables() == {"a", "b"}
    assert [phase.transactional for phase in written.compiled("0001", "0002")] == [False, True]


def test_what_runs_outside_of_a_transaction_is_a_phase_of_its_own(tmp_path: Path) -> None:
    body = "\n".join([execute("SELECT 1", "SELECT 2"), concurrently("SELECT 'a;b'"), execute("SELECT 4")])
    phases = chain(tmp_path / "chain", execute("SELECT 0"), body).compiled("0001", "0002")
    assert [phase.transactional for phase in phases] == [True, False, True]
    assert phases[0].sql == "SELECT 1;\nSELECT 2;"
    assert phases[1].sql == "SELECT 'a;b';"
    assert phases[2].sql.startswith("SELECT 4;\nUPDATE alembic_version")


def test_an_unknown_revision_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownRevisionError, match=r"no revision '0099'; there are 0001, 0002"):
        TENANT.checked("0099")
    with pytest.raises(UnknownRevisionError, match="0099"):
        TENANT.compiled("0099", "0002")


def test_revisions_are_compared_by_their_place_in_the_chain() -> None:
    assert TENANT.checked("head") == TENANT.head == TENANT.revisions[-1]
    assert TENANT.upgrades(None, "0001")
    assert TENANT.upgrades("0001", "0002")
    assert not TENANT.upgrades("0002", "0001")
    assert not TENANT.upgrades("0002", "0002")
    assert not TENANT.upgrades("9999", "0002")
    assert TENANT.up_to("0002") == ("0001", "0002")
    assert TENANT.up_to("9999") == ()


def test_a_revision_that_fails_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(BrokenChainError, match="to 0001: ZeroDivisionError"):
        chain(tmp_path / "fails", "1 / 0").compiled(None, "0001")
    with pytest.raises(BrokenChainError, match="cannot be read: SyntaxError"):
        _ = chain(tmp_path / "unreadable", "= = =").head


def test_a_chain_that_forks_or_is_empty_is_refused(tmp_path: Path) -> None:
    forked = chain(tmp_path / "forked", execute("SELECT 1"), execute("SELECT 2"))
    write_revision(tmp_path / "forked", "0003", "0001", execute("SELECT 3"))
    for broken in (forked, chain(tmp_path / "empty")):
        with pytest.raises(BrokenChainError, match="not one line"):
            _ = broken.head
