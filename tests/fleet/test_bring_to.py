"""One target is brought to a revision: whatever stood in the way, whoever else tries, however often it is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from migrations.fleet import replay
from migrations.fleet.chains import Chain, UnknownRevisionError
from migrations.fleet.replay import NotMigratedError, TargetBusyError
from migrations.fleet.words import in_words
from tests.fleet.scratch import Scratch
from tests.fleet.writing import chain, concurrently, execute
from tests.waiting import until

pytestmark = pytest.mark.slow

SECRET = "hush@example.com"
INDEX = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_b_idx ON a (b)"
INDEXES = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND indrelid = 'a'::regclass"


@pytest.fixture
def three(tmp_path: Path) -> Chain:
    """Tables a, b and c, one a revision."""
    return chain(tmp_path / "three", *(execute(f"CREATE TABLE {name} (b text)") for name in "abc"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock time-outs that a test can wait for."""
    monkeypatch.setattr(replay, "LOCK_TIMEOUT_MS", 100)


@contextmanager
def locked(scratch: Scratch, table: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody reads the table in a long transaction."""
    with scratch.superuser() as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE".encode())
        yield holder


def test_it_goes_all_the_way_and_says_where_it_is(three: Chain, scratch: Scratch) -> None:
    assert scratch.bring_to(three, "0002") == "0002"
    assert (scratch.revision, scratch.tables()) == ("0002", {"a", "b"})
    assert scratch.bring_to(three, "0003") == "0003"
    assert (scratch.revision, scratch.tables()) == ("0003", {"a", "b", "c"})


def test_what_it_makes_belongs_to_the_owner(three: Chain, scratch: Scratch) -> None:
    scratch.bring_to(three, "0003")
    assert set(scratch.ask("SELECT tableowner FROM pg_tables WHERE schemaname = 'public'")) == {"copyhold_owner"}


def test_repeating_it_changes_nothing(three: Chain, scratch: Scratch) -> None:
    scratch.bring_to(three, "0003")
    before = scratch.ask("SELECT xmin::text || tableoid || cmin FROM alembic_version")
    assert scratch.bring_to(three, "0003") == "0003"
    assert scratch.ask("SELECT xmin::text || tableoid || cmin FROM alembic_version") == before


@pytest.mark.parametrize("found", ["0003", "9999"], ids=["past the wanted one", "unknown"])
def test_a_target_that_is_ahead_is_left_alone(three: Chain, scratch: Scratch, found: str) -> None:
    scratch.bring_to(three, "0003")
    scratch.tell(f"UPDATE alembic_version SET version_num = '{found}'")
    assert scratch.bring_to(three, "0002") == found
    assert scratch.revision == found


def test_an_unknown_revision_is_an_error_and_changes_nothing(three: Chain, scratch: Scratch) -> None:
    with pytest.raises(UnknownRevisionError):
        scratch.bring_to(three, "0042")
    assert scratch.revision is None


def test_a_revision_that_fails_leaves_those_before_it_and_nothing_of_its_own(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(
        tmp_path / "chain",
        execute("CREATE TABLE a (b text)"),
        execute("CREATE TABLE half ()", "ALTER TABLE missing ADD c int"),
        execute("CREATE TABLE c ()"),
    )
    with pytest.raises(psycopg.errors.UndefinedTable):
        scratch.bring_to(written, "0003")
    assert (scratch.revision, scratch.tables()) == ("0001", {"a"})
    scratch.tell("CREATE TABLE missing (); ALTER TABLE missing OWNER TO copyhold_owner")
    assert scratch.bring_to(written, "0003") == "0003"
    assert scratch.tables() == {"a", "half", "missing", "c"}


def test_a_first_revision_that_fails_leaves_nothing(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(tmp_path / "chain", execute("CREATE TABLE a ()", "SELECT 1 / 0"))
    with pytest.raises(psycopg.errors.DivisionByZero):
        scratch.bring_to(written, "0001")
    assert (scratch.revision, scratch.tables()) == (None, set())


def test_what_failed_is_said_without_any_value_of_a_row(tmp_path: Path, scratch: Scratch) -> None:
    bodies = ["CREATE UNIQUE INDEX ON a (b)", "ALTER TABLE a ALTER b TYPE int USING b::int"]
    for number, body in enumerate(bodies):
        written = chain(tmp_path / f"chain{number}", execute("CREATE TABLE IF NOT EXISTS a (b text)"), execute(body))
        scratch.bring_to(written, "0001")
        scratch.tell(f"INSERT INTO a VALUES ('{SECRET}'), ('{SECRET}')")
        with pytest.raises(psycopg.Error) as failed:
            scratch.bring_to(written, "0002")
        assert SECRET in str(failed.value)
        said = in_words(failed.value)
        assert SECRET not in said
        assert "\n" not in said
        assert "unique index" in said or "does not fit" in said


def test_a_version_that_did_not_come_is_an_error(tmp_path: Path, scratch: Scratch) -> None:
    lying = chain(
        tmp_path / "chain",
        execute("CREATE TABLE a ()"),
        execute("CREATE RULE lie AS ON UPDATE TO alembic_version DO INSTEAD NOTHING"),
    )
    with pytest.raises(NotMigratedError):
        scratch.bring_to(lying, "0002")


@pytest.mark.usefixtures("impatient")
def test_ddl_gives_way_and_tries_again(
    tmp_path: Path, scratch: Scratch, elsewhere: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOCK_TRIES", 1000)  # until the second one is seen
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), execute("ALTER TABLE a ADD c int"))
    scratch.bring_to(written, "0001")
    tries: set[tuple[int, object]] = set()
    with locked(scratch, "a"):
        running = elsewhere.submit(scratch.bring_to, written, "0002")

        def tried_again() -> bool:
            tries.update(scratch.waiting())
            return len(tries) > 1

        until(tried_again, what="the second try waits for the table")
    assert running.result() == "0002"


@pytest.mark.usefixtures("impatient")
def test_ddl_gives_up_in_the_end(tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "LOCK_TRIES", 2)
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), execute("ALTER TABLE a ADD c int"))
    scratch.bring_to(written, "0001")
    with locked(scratch, "a"), pytest.raises(psycopg.errors.LockNotAvailable):
        scratch.bring_to(written, "0002")
    assert scratch.revision == "0001"


def test_a_deadlock_is_tried_again(
    tmp_path: Path, scratch: Scratch, elsewhere: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "LOCK_TIMEOUT_MS", 60_000)
    alters = [f"ALTER TABLE {name} ADD c int" for name in ("first", "gate", "last")]
    tables = [f"CREATE TABLE {name} ()" for name in ("first", "gate", "last")]
    # The one that is seen to be waiting last finds the deadlock: it is to be the revision.
    written = chain(tmp_path / "chain", execute(*tables), execute("SET LOCAL deadlock_timeout = '1ms'", *alters))
    scratch.bring_to(written, "0001")
    scratch.tell("GRANT SET ON PARAMETER deadlock_timeout TO copyhold_owner")
    with locked(scratch, "last") as holder:
        holder.execute("SET LOCAL deadlock_timeout = '1min'")
        with locked(scratch, "gate"):
            running = elsewhere.submit(scratch.bring_to, written, "0002")
            until(lambda: len(scratch.waiting()) == 1, what="the revision has the first table and waits at the gate")
            crossing = elsewhere.submit(holder.execute, "LOCK TABLE first IN ACCESS SHARE MODE")
            until(lambda: len(scratch.waiting()) == 2, what="the holder of the last waits for the first")
        crossing.result()
    assert running.result() == "0002"


def test_a_second_runner_polls_and_then_finds_it_done(
    tmp_path: Path, scratch: Scratch, elsewhere: ThreadPoolExecutor
) -> None:
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), execute("ALTER TABLE a ADD c int"))
    scratch.bring_to(written, "0001")
    with locked(scratch, "a"):
        first = elsewhere.submit(scratch.bring_to, written, "0002")
        until(lambda: bool(scratch.waiting()), what="the first runner waits for the table")
        others = [elsewhere.submit(scratch.bring_to, written, "0002") for _ in range(3)]
        sessions = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE '%migrator'"
        )
        until(lambda: scratch.ask(sessions) == [4], what="the other runners are there")
        assert scratch.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == [0]
    assert [runner.result() for runner in (first, *others)] == ["0002"] * 4


def test_a_target_that_somebody_else_keeps_is_busy(
    three: Chain, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "TARGET_LOCK_WAIT_S", 0.2)
    with scratch.superuser() as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('tenant/public', 42))")
        with pytest.raises(TargetBusyError):
            scratch.bring_to(three, "0001")
    assert scratch.revision is None


def test_an_index_built_concurrently_waits_for_older_transactions(
    tmp_path: Path, scratch: Scratch, elsewhere: ThreadPoolExecutor
) -> None:
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), concurrently(INDEX))
    scratch.bring_to(written, "0001")
    with scratch.superuser() as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT * FROM a")
        running = elsewhere.submit(scratch.bring_to, written, "0002")
        until(lambda: bool(scratch.waiting()), what="the index waits for the reader")
    assert running.result() == "0002"
    assert scratch.ask(INDEXES) == ["a_b_idx"]


def test_an_index_that_was_left_half_built_is_built_anew(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), concurrently(INDEX))
    scratch.bring_to(written, "0001")
    scratch.tell("INSERT INTO a VALUES ('x'), ('x')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        scratch.bring_to(written, "0002")
    assert (scratch.revision, scratch.ask(INDEXES)) == ("0001", [])
    scratch.tell("TRUNCATE a")
    assert scratch.bring_to(written, "0002") == "0002"
    assert scratch.ask(INDEXES) == ["a_b_idx"]


def test_a_crash_between_an_index_and_its_version_row_is_made_good(tmp_path: Path, scratch: Scratch) -> None:
    written = chain(tmp_path / "chain", execute("CREATE TABLE a (b text)"), concurrently(INDEX))
    scratch.bring_to(written, "0001")
    scratch.tell(INDEX)
    assert scratch.bring_to(written, "0002") == "0002"


def test_two_schemas_of_a_database_are_targets_of_their_own(three: Chain, scratch: Scratch) -> None:
    scratch.tell("CREATE SCHEMA t_1 AUTHORIZATION copyhold_owner")
    scratch.bring_to(three, "0002")
    assert replay.bring_to(scratch.dsn, three, "t_1", "0001") == "0001"
    assert scratch.ask("SELECT version_num FROM t_1.alembic_version") == ["0001"]
    assert scratch.revision == "0002"
