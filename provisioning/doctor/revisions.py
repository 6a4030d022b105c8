"""Trying revisions on a server that holds nothing else: what each one locks, reads, breaks and leaves behind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
from psycopg import sql

from control_plane.domain.errors import CopyholdError
from control_plane.domain.names import bridge_schema
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry.fleet import Revisions
from migrations.fleet.chains import HOME, Chain, Phase
from migrations.fleet.python_runs import PythonRuns
from migrations.fleet.shapes import Parts, differences, objects
from migrations.fleet.words import in_words
from migrations.lint import rules
from migrations.lint.judge import Watched, finished
from migrations.lint.subject import Place, Problem, Rule, Severity, Subject
from provisioning.databases import Builder
from provisioning.doctor.findings import Finding
from provisioning.doctor.homes import look_at_home
from provisioning.doctor.roll import RollDatabase
from provisioning.doctor.watching import (
    INDEXES_NOT_BY_TENANT,
    NOT_ASKING,
    broken_by,
    execute_alone,
    execute_watched,
    tables,
)
from provisioning.roles import MIGRATOR, OWNER, Connection, connect

DATABASE = "trial"
NOBODY = UUID(int=0)
SCHEMA = bridge_schema(NOBODY)
"""A bridge tenant's: names that are qualified with the schema of pools and silos lead nowhere in it."""
STATEMENT_TIMEOUT_S = 60
IMPLIED_BY = {
    "policy_missing": {"tenant_id"},
    "rls_disabled": {"tenant_id", "policy_missing"},
    "rls_not_forced": {"tenant_id", "policy_missing", "rls_disabled"},
}
"""By one of the doctor's checks, those that say as much of the same table already."""


class _FailedError(Exception):
    """A statement failed."""

    def __init__(self, words: str, place: Place | None = None) -> None:
        super().__init__(words)
        self.words, self.place = words, place


@dataclass
class _Found:
    long: dict[Place, str | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    failed: bool = False


@dataclass(frozen=True)
class _Look:
    defects: frozenset[Finding]
    indexes: frozenset[str]
    shape: Parts


def watch(server: Server, chain: Chain, subjects: Sequence[Subject], wanted: Collection[str]) -> Mapping[str, Watched]:
    """What each of the `wanted` revisions does, applied one after the other from the first, in a database of its own.

    `subjects` are all revisions up to the last one wanted. Where one cannot be applied, it says so, and so does each
    later one. The server is taken for one that nobody else uses.
    """
    trial = _Trial(server, chain)
    trial.build()
    watched: dict[str, Watched] = {}
    stopped: str | None = None
    for subject in subjects:
        if stopped is not None:
            said = f"{stopped} comes before it, and is not finished or fails"
            found = _Found(problems=[subject.problem(rules.NOT_WATCHED, detail=said)])
        elif finished(subject):
            found = trial.apply(subject, look=subject.name in wanted)
        else:
            found = _Found(failed=True)
        if found.failed:
            stopped = subject.name
        if subject.name in wanted:
            watched[subject.name] = Watched(long=found.long, problems=tuple(found.problems))
    return watched


class _Trial:
    """One database with one empty schema, as a bridge has them."""

    def __init__(self, server: Server, chain: Chain) -> None:
        self._server, self._chain = server, chain
        self._builder = Builder(server=server, tenant_chain=chain, doors=SOCKETS)
        self._last: _Look | None = None
        """What was seen after the last revision, if anybody looked."""

    def build(self) -> None:
        revisions = Revisions(home=HOME.head, tenant=self._chain.head)
        self._builder.build_shared(DATABASE, revisions, with_tables=False)
        with self._builder.admin(DATABASE) as admin:
            made = sql.SQL("CREATE SCHEMA {0} AUTHORIZATION {1}; GRANT USAGE ON SCHEMA {0} TO {2}")
            admin.execute(made.format(sql.Identifier(SCHEMA), sql.Identifier(OWNER), sql.Identifier(DATABASE)))

    def apply(self, subject: Subject, *, look: bool) -> _Found:
        """Apply a revision; with `look`, see what it leaves behind, take it back, and apply it again."""
        found = _Found()
        before = (self._last or self._look()) if look else None
        self._last = None
        try:
            self._send(subject, subject.phases, found)
        except _FailedError as error:
            found.problems.append(subject.problem(rules.FAILS, place=error.place, detail=error.words))
            found.failed = True
            return found
        if before is not None:
            self._last = self._look()
            found.problems += _left_behind(subject, before, self._last)
            found.problems += self._taken_back(subject, before.shape, found)
        return found

    def _taken_back(self, subject: Subject, before: Parts, found: _Found) -> Iterator[Problem]:
        if not subject.way_back:
            return
        try:
            there = self._without(subject)
        except _FailedError as error:
            found.failed = not _transactional(subject.way_back)
            yield subject.problem(rules.DOWNGRADE_FAILS, detail=error.words)
            return
        for each in differences(before, there):
            yield subject.problem(rules.DOWNGRADE_DIFFERS, where=f"{each.part.kind} {each.part}", detail=each.how)

    def _without(self, subject: Subject) -> Parts:
        """How everything is once the revision is taken back; it is in place again afterwards."""
        if not _transactional(subject.way_back):
            self._send(subject, subject.way_back, _Found())
            with self._connected() as connection:
                there = _shape(connection)
            self._send(subject, subject.phases, _Found())
            return there
        try:
            with self._connected() as connection, connection.transaction(force_rollback=True):
                for phase in subject.way_back:
                    connection.execute(phase.sql.encode())
                return _shape(connection)
        except psycopg.Error as error:
            raise _FailedError(in_words(error)) from error

    def _look(self) -> _Look:
        row = RollDatabase(
            id=NOBODY,
            server=self._server.name,
            name=DATABASE,
            model=Model.BRIDGE,
            home_revision=HOME.head,
            targets={SCHEMA: None},
            logins=(DATABASE,),
        )
        with self._connected() as connection:
            return _Look(
                defects=frozenset(look_at_home(SOCKETS, self._server, row, lint=True).findings),
                indexes=frozenset(name for (name,) in connection.execute(INDEXES_NOT_BY_TENANT)),
                shape=_shape(connection),
            )

    def _send(self, subject: Subject, phases: Sequence[Phase], found: _Found) -> None:
        """Note what is seen; _FailedError where PostgreSQL says no."""
        for number, phase in enumerate(phases):
            if phase.python:
                self._run_python(phase)
            else:
                with self._connected() as connection:
                    _send_phase(connection, subject, number, phase, found)

    def _run_python(self, phase: Phase) -> None:
        runs = PythonRuns()
        try:
            runs.run(SOCKETS.dsn(self._server, DATABASE, MIGRATOR), self._chain, SCHEMA, phase)
        except CopyholdError as error:
            raise _FailedError(error.message) from error
        finally:
            runs.close()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """As `migrations.fleet.replay` settles its connections."""
        with connect(SOCKETS.dsn(self._server, DATABASE, MIGRATOR)) as connection:
            settled = sql.SQL("SET ROLE {}; SET search_path = {}; SET statement_timeout = {}")
            connection.execute(
                settled.format(sql.Identifier(OWNER), sql.Identifier(SCHEMA), sql.Literal(f"{STATEMENT_TIMEOUT_S}s"))
            )
            yield connection


def _transactional(phases: Sequence[Phase]) -> bool:
    return all(phase.transactional for phase in phases)


def _shape(connection: Connection) -> Parts:
    return objects(connection, [SCHEMA]).get(SCHEMA, {})


def _send_phase(connection: Connection, subject: Subject, number: int, phase: Phase, found: _Found) -> None:
    place = None
    connection.execute(NOT_ASKING)
    try:
        if not phase.transactional:
            for each, statement in enumerate(phase.statements):
                place = (number, each)
                long, problems = execute_alone(connection, subject, place, statement)
                found.problems += problems
                if long is not None:  # otherwise it is not known: locks are gone by now
                    found.long[place] = long
            return
        with connection.transaction():
            there = tables(connection)
            for each, statement in enumerate(phase.statements):
                place = (number, each)
                long, problems = execute_watched(connection, subject, place, statement, there)
                found.long[place] = long
                found.problems += problems
    except psycopg.Error as error:
        raise _FailedError(in_words(error), place) from error


def _left_behind(subject: Subject, before: _Look, after: _Look) -> Iterator[Problem]:
    """What is wrong since this revision and was not before it."""
    found = sorted(after.defects - before.defects, key=lambda finding: finding.place)
    told: dict[str | None, set[str]] = {}
    for finding in found:
        told.setdefault(finding.object, set()).add(finding.check)
    for finding in found:
        if not IMPLIED_BY.get(finding.check, set()) & told[finding.object]:
            yield subject.problem(_rule(finding), where=_unqualified(finding.object or ""))
    for name in sorted(after.indexes - before.indexes):
        yield subject.problem(rules.INDEX_NOT_BY_TENANT, where=name)
    yield from broken_by(subject, before.shape, after.shape)


def _rule(finding: Finding) -> Rule:
    return Rule(
        name=finding.check.replace("_", "-"),
        severity=Severity(finding.severity.value),
        what=_unqualified(finding.what),
        remedy=_unqualified(finding.remedy),
    )


def _unqualified(text: str) -> str:
    return text.replace(f"{SCHEMA}.", "")
