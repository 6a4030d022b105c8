"""Bringing targets to a revision over direct connections, safe to repeat.

What a phase does and the look at where the target is before and after it travel in one message: a thousand targets cost
a thousand round trips, not five thousand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from control_plane.domain.errors import ConflictError, CopyholdError
from migrations.fleet.chains import Chain, Phase
from migrations.fleet.python_runs import PythonRuns

OWNER = "copyhold_owner"
LOCK_TIMEOUT_MS = 2_000
"""How long DDL queues for a table; behind it the tenant's own reads queue."""
CONCURRENT_LOCK_TIMEOUT_MS = 60_000
"""The same outside of a transaction: what runs CONCURRENTLY waits for older transactions, and nobody waits for it."""
STATEMENT_TIMEOUT_MS = 600_000
LOCK_TRIES = 5
TARGET_LOCK_WAIT_S = 60.0
POLL_S = 0.05
_LOCKS = 42
_MARK = "copyhold stopped here: "


class TargetBusyError(ConflictError):
    """Another migration holds this target."""

    code = "target_busy"


class NotMigratedError(CopyholdError):
    """The target is not what it should be after its migration."""

    code = "not_migrated"


# What a CREATE INDEX CONCURRENTLY that did not finish leaves behind: IF NOT EXISTS would take it for done.
# Nearly always there are none, and a join costs a fresh connection more than the whole of pg_index: asked for first.
ANY_INVALID_INDEX = "SELECT FROM pg_index WHERE NOT indisvalid LIMIT 1"
INVALID_INDEXES = """
SELECT n.nspname, i.relname
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
 WHERE NOT x.indisvalid AND i.relkind = 'i' AND NOT i.relispartition
"""

RunInPython = Callable[[str, Phase], None]
"""Runs a revision in Python on the target at that schema; see python_runs."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What brings one kind of target from one revision to another; the same for each, compiled once."""

    chain: Chain
    current: str | None
    wanted: str
    phases: tuple[Phase, ...]
    check: str | None = None
    """A condition in SQL that holds in a target that has arrived."""


@dataclass(kw_only=True)
class Database:
    """A settled connection to one database with targets. Not shared between threads; close it at the end."""

    connection: psycopg.Connection[Any]
    attempts: int = field(default=0, init=False)
    """How often the newest target's phases were sent, less their number: 0 when none had to be repeated."""
    _invalid: dict[str, set[str]] | None = field(default=None, init=False)
    """Invalid indexes by schema, of the whole database: to look for them costs as much for one schema as for all."""

    @classmethod
    def open(cls, dsn: str, *, owner: str = OWNER) -> Database:
        """`dsn` is direct and of a role that may become `owner`, who owns what is made."""
        # In the message that connects, not in one of their own: most databases are visited for one target.
        options = f"-c role={owner} -c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS}"
        return cls(connection=psycopg.connect(dsn, autocommit=True, prepare_threshold=None, options=options))

    def close(self) -> None:
        """Closing twice is fine."""
        self.connection.close()

    def version(self, chain: Chain, schema: str) -> str | None:
        """The target's revision, or None before the first."""
        self.connection.execute(_stands_in(schema).encode())
        return version(self.connection, chain)

    def follow(self, script: Script, schema: str, in_python: RunInPython | None = None) -> str:
        """Bring the target at `schema` from the script's first revision to its last; says where it is afterwards.

        That is the last one, or the revision at which another migration has left it meanwhile: then nothing was sent.
        Committed a revision at a time. DDL that waits longer than LOCK_TIMEOUT_MS for a table gives way and is tried
        again, LOCK_TRIES times in all. TargetBusyError when another migration keeps the target for too long.
        """
        self.attempts = 0
        for number, phase in enumerate(script.phases):
            last = number == len(script.phases) - 1
            try:
                self._send(script, schema, phase, script.check if last else None, in_python)
            except _ElsewhereError as found:
                now = self.version(script.chain, schema)
                if number == 0 and now is not None:
                    return now
                raise NotMigratedError(f"the target was at {now or 'no revision'} in the midst of it") from found
        return script.wanted

    def _send(
        self, script: Script, schema: str, phase: Phase, check: str | None, in_python: RunInPython | None
    ) -> None:
        deadline = time.monotonic() + TARGET_LOCK_WAIT_S
        tries = 0
        while True:
            try:
                if phase.transactional:
                    self._send_transaction(script.chain, schema, phase, check)
                else:
                    self._send_alone(script.chain, schema, phase, check, in_python)
            except _LockedError as error:
                # Polled: a session that waits inside pg_advisory_lock deadlocks with CREATE INDEX CONCURRENTLY.
                if time.monotonic() > deadline:
                    raise TargetBusyError(target=schema) from error
                time.sleep(POLL_S)
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
                tries += 1
                self.attempts += 1
                if tries == LOCK_TRIES:
                    raise
                time.sleep(0.1 * 2**tries)
            else:
                return

    def _send_transaction(self, chain: Chain, schema: str, phase: Phase, check: str | None) -> None:
        before = f"{_locks(chain, schema)}; {_looks(chain, phase.before)}"
        after = _looks(chain, phase.after, check)
        with _marks_heard(), self._rolled_back():
            message = f"{_stands_in(schema)};\nBEGIN;\n{before};\n{phase.sql}\n;{after};\nCOMMIT"
            self.connection.execute(message.encode())

    def _send_alone(
        self, chain: Chain, schema: str, phase: Phase, check: str | None, in_python: RunInPython | None
    ) -> None:
        after = _looks(chain, phase.after, check) if check or phase.after != phase.before else ""
        with self._held(chain, schema, phase.before, after):
            if phase.python:
                assert in_python is not None, "revisions in Python need somebody to run them"
                in_python(schema, phase)
            else:
                self._drop_invalid_indexes(schema)
                self.connection.execute(phase.sql.encode())

    @contextmanager
    def _rolled_back(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error:
            if not self.connection.broken:
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _held(self, chain: Chain, schema: str, before: str | None, after: str) -> Iterator[None]:
        """The target's lock for more than a transaction, and patience with other locks; each in one message."""
        patient = f"SET lock_timeout = {CONCURRENT_LOCK_TIMEOUT_MS}"
        taken = f"{_stands_in(schema)}; {patient}; {_locks(chain, schema, session=True)}; {_looks(chain, before)}"
        release = f"SELECT pg_advisory_unlock({_lock_key(chain, schema)}); SET lock_timeout = {LOCK_TIMEOUT_MS}"
        try:
            with _marks_heard():
                self.connection.execute(taken.encode())
            yield
            with _marks_heard():
                self.connection.execute(f"{after}; {release}".encode())
        except _LockedError:
            raise  # somebody else's
        except BaseException:
            self._invalid = None
            if not self.connection.broken:
                self.connection.execute(release.encode())
            raise

    def _drop_invalid_indexes(self, schema: str) -> None:
        if self._invalid is None:
            self._invalid = {}
            if not self.connection.execute(ANY_INVALID_INDEX).rowcount:
                return
            for place, name in self.connection.execute(INVALID_INDEXES).fetchall():
                self._invalid.setdefault(place, set()).add(name)
        for name in self._invalid.pop(schema, ()):
            index = sql.Identifier(name)
            still = "SELECT FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
            if self.connection.execute(still, [index.as_string(None)]).rowcount:
                self.connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(index))


def bring_to(dsn: str, chain: Chain, schema: str, wanted: str, *, owner: str = OWNER) -> str | None:
    """Bring the target at `schema` of the database at `dsn` to `wanted`; says where it is afterwards.

    That is `wanted`, or the later revision at which it was found, and left. See Database.follow.
    """
    with closing(Database.open(dsn, owner=owner)) as database:
        return bring(database, dsn, chain, schema, wanted)


def bring(database: Database, dsn: str, chain: Chain, schema: str, wanted: str) -> str | None:
    """As `bring_to`, on a connection that is there; `dsn` is for revisions in Python, which have their own."""
    with closing(PythonRuns()) as runs:
        while True:
            current = database.version(chain, schema)
            if current == wanted or not chain.upgrades(current, wanted):
                return current
            script = Script(chain=chain, current=current, wanted=wanted, phases=chain.compiled(current, wanted))
            if database.follow(script, schema, partial(runs.run, dsn, chain)) == wanted:
                return wanted


def version(connection: psycopg.Connection[Any], chain: Chain) -> str | None:
    """The target's revision, or None before the first; the connection's search_path names the target."""
    table = sql.Identifier(*([chain.version_schema] if chain.version_schema else []), "alembic_version")
    found = connection.execute("SELECT to_regclass(%s)", [table.as_string(connection)]).fetchone()
    if found is None or found[0] is None:
        return None
    row = connection.execute(sql.SQL("SELECT version_num FROM {}").format(table)).fetchone()
    return str(row[0]) if row else None


class _ElsewhereError(Exception):
    pass


class _LockedError(Exception):
    pass


def _stands_in(schema: str) -> str:
    return f"SET search_path = {sql.Identifier(schema).as_string(None)}"


def _lock_key(chain: Chain, schema: str) -> str:
    return f"hashtextextended({_quoted(f'{chain.name}/{schema}')}, {_LOCKS})"


def _locks(chain: Chain, schema: str, *, session: bool = False) -> str:
    """A query that takes the target's lock, or fails. Before any look at it, and apart from that: a query sees what was
    there when it began.
    """
    take = "pg_try_advisory_lock" if session else "pg_try_advisory_xact_lock"
    said = f"{_quoted(_MARK + 'locked')} || left(current_user, 0)"
    return f"SELECT (CASE WHEN {take}({_lock_key(chain, schema)}) THEN 'true' ELSE {said} END)::boolean"


def _looks(chain: Chain, expected: str | None, check: str | None = None) -> str:
    """A query that fails, saying why, unless the target is at `expected`.

    The words become a boolean that they are not: a query cannot raise, and a function for it would be one more object.
    They depend on a column, or the planner would make that of them at once.
    """
    table = f"{chain.version_schema}.alembic_version" if chain.version_schema else "alembic_version"
    found = f"(SELECT version_num FROM {table})" if expected else f"(SELECT to_regclass({_quoted(table)})::text)"  # noqa: S608
    elsewhere = f"v IS DISTINCT FROM {_quoted(expected)}" if expected else "v IS NOT NULL"
    stops = [(elsewhere, "elsewhere")]
    if check is not None:
        stops.append((f"({check}) IS NOT TRUE", "unlike"))
    cases = " ".join(
        f"WHEN {condition} THEN {_quoted(_MARK + why)} || coalesce(left(v, 0), '')" for condition, why in stops
    )
    return f"SELECT (CASE {cases} ELSE 'true' END)::boolean FROM (SELECT {found} AS v OFFSET 0) target"  # noqa: S608


@contextmanager
def _marks_heard() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InvalidTextRepresentation as error:
        said = (error.diag.message_primary or "").partition(_MARK)[2].rstrip('"')
        if said.startswith("elsewhere"):
            raise _ElsewhereError from error
        if said.startswith("locked"):
            raise _LockedError from error
        if said.startswith("unlike"):
            raise NotMigratedError("the target lacks something that this revision brings to others") from error
        raise


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
