"""Is every target what its revision says? All schemas of a database at once, over one connection, changing nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Engine

from control_plane.domain.server import Server
from control_plane.doors import NoDoorError
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from migrations.fleet import reality, shapes
from migrations.fleet.chains import HOME, Chain
from migrations.fleet.plan import Target
from migrations.fleet.reaching import Reaching, ServerUnreachableError
from migrations.fleet.references import NoReferenceError, Reference, References
from migrations.fleet.words import in_words

AT_ONCE = 8
"""Databases at once, one connection each."""
MIGRATOR = "copyhold_migrator"
STATEMENT_TIMEOUT_S = 120
LOCK_TIMEOUT_S = 5
# search_path: nothing that somebody has put into a tenant's database is called by accident. jit: it takes longer to
# compile the query than to run it.
OPTIONS = (
    "-c default_transaction_read_only=on -c default_transaction_isolation=repeatable\\ read -c search_path=pg_catalog"
    f" -c jit=off -c statement_timeout={STATEMENT_TIMEOUT_S}s -c lock_timeout={LOCK_TIMEOUT_S}s"
)

Place = tuple[str, str]
"""A server and a database on it."""
Targets = Callable[[], Iterable[Target]]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing in which a target is not what its revision, or the ledger, says. No value of a row is in it."""

    server: str
    database: str
    schema: str | None = None
    """None for what concerns the database as a whole."""
    kind: str
    """What the object is: table, column, index, policy, grant …; or revision, schema, database, reference."""
    object: str | None = None
    difference: str
    """missing, unexpected, differs, invalid (an index), unknown (a revision), unreachable, unbuildable."""
    expected: str | None = None
    found: str | None = None

    @property
    def place(self) -> tuple[str, ...]:
        """What makes it the same finding when it is found again."""
        parts = (self.server, self.database, self.schema, self.kind, self.object, self.difference)
        return tuple(part or "" for part in parts)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found, by place, and how much was looked at."""

    findings: tuple[Finding, ...]
    targets: int
    databases: int
    duration_ms: int


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One database in one moment."""

    revisions: Mapping[str, str]
    sums: Mapping[str, str]


def check(
    engine: Engine,
    tenant: Chain,
    references: References,
    targets: Targets,
    on_database: Callable[[str, str], None] = lambda _server, _database: None,
) -> Report:
    """Hold every target against a freshly built one of the revision that it is at, and its revision against the ledger.

    `targets` reads the ledger. Where something differs it is read anew and looked at a second time: only what is found
    twice counts, for the platform goes on working meanwhile. `on_database` is told each server and database once.
    What cannot be reached is a finding. Changes nothing in the fleet; ControlDatabaseError without a ledger.
    """
    started = time.monotonic()
    looker = _Looker(engine, tenant, references)
    places = _by_place(targets())
    found = looker.look(places, on_database)
    if found:
        again = _by_place(targets())
        suspects = {(finding.server, finding.database) for finding in found}
        before = {finding.place for finding in found}
        later = looker.look({place: again[place] for place in suspects & again.keys()})
        found = [finding for finding in later if finding.place in before]
    return Report(
        findings=tuple(sorted(found, key=lambda finding: finding.place)),
        targets=sum(map(len, places.values())),
        databases=len(places),
        duration_ms=round((time.monotonic() - started) * 1000),
    )


class _Looker:
    def __init__(self, engine: Engine, tenant: Chain, references: References) -> None:
        self._engine, self._tenant, self._references = engine, tenant, references
        self._reaching = Reaching()

    def look(
        self, places: Mapping[Place, Sequence[Target]], tell: Callable[[str, str], None] = lambda *_: None
    ) -> list[Finding]:
        with transaction(self._engine) as session:
            known = {server.name: server for server in servers.all_servers(session)}
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="check") as pool:
            running = {
                pool.submit(self._look_into, known[place[0]], place[1], targets): place
                for place, targets in places.items()
            }
            try:
                findings: list[Finding] = []
                for future in as_completed(running):
                    findings += future.result()
                    tell(*running[future])
                return findings
            finally:
                pool.shutdown(cancel_futures=True)

    def _look_into(self, server: Server, database: str, targets: Sequence[Target]) -> list[Finding]:
        try:
            dsn = self._references.doors.dsn(server, database, MIGRATOR)
            with self._reaching.trying(server.name):
                connection = psycopg.connect(dsn, autocommit=True, prepare_threshold=None, options=OPTIONS)
            with connection:
                seen = _seen(connection, targets)
                found = list(_revisions(targets, seen, {HOME.name: HOME, self._tenant.name: self._tenant}))
                return found + self._shapes(connection, server, targets, seen)
        except (psycopg.Error, NoDoorError, ServerUnreachableError) as error:
            return [_finding((server.name, database), "database", "unreachable", found=in_words(error))]

    def _shapes(
        self, connection: psycopg.Connection[Any], server: Server, targets: Sequence[Target], seen: _Seen
    ) -> list[Finding]:
        found: list[Finding] = []
        differing: dict[str, Reference] = {}
        for target, revisions in self._comparable(targets, seen):
            try:
                reference = self._references.at(server, target.chain, revisions)
            except NoReferenceError as error:
                found.append(_about(target, "reference", "unbuildable", found=error.message))
                continue
            if seen.sums[target.schema] != reference.sum:
                differing[target.schema] = reference
        there = shapes.objects(connection, list(differing))
        for target in targets:
            if target.schema in differing and target.schema in there:
                differences = shapes.differences(differing[target.schema].parts, there[target.schema])
                found += [_of_object(target, each) for each in differences]
        return found

    def _comparable(self, targets: Iterable[Target], seen: _Seen) -> Iterator[tuple[Target, Revisions]]:
        """The targets that are at revisions that can be built here; `_revisions` tells of all others."""
        home = seen.revisions.get(str(HOME.version_schema))
        for target in targets:
            tenant = self._tenant.head if target.chain == HOME.name else seen.revisions.get(target.schema)
            if target.schema in seen.sums and home in HOME.revisions and tenant in self._tenant.revisions:
                yield target, Revisions(home=str(home), tenant=str(tenant))


def _seen(connection: psycopg.Connection[Any], targets: Sequence[Target]) -> _Seen:
    schemas = sorted({target.schema for target in targets} | {str(HOME.version_schema)})
    with connection.transaction():
        revisions = reality.revisions_in(connection, schemas)
        return _Seen(revisions=revisions, sums=shapes.sums(connection, schemas))


def _revisions(targets: Iterable[Target], seen: _Seen, chains: Mapping[str, Chain]) -> Iterator[Finding]:
    """Where ledger and version table disagree, and where there is a revision that this version does not know."""
    for target in targets:
        there = seen.revisions.get(target.schema)
        if target.schema not in seen.sums:
            yield _about(target, "schema", "missing")
        elif there != target.revision:
            how = "missing" if there is None else "unexpected" if target.revision is None else "differs"
            yield _about(target, "revision", how, expected=target.revision, found=there)
        if there is not None and there not in chains[target.chain].revisions:
            yield _about(target, "revision", "unknown", found=there)


def _of_object(target: Target, difference: shapes.Difference) -> Finding:
    return _finding(
        (target.server, target.database),
        difference.part.kind,
        difference.how,
        schema=target.schema,
        object=str(difference.part),
        expected=difference.expected,
        found=difference.found,
    )


def _about(target: Target, kind: str, difference: str, **facts: str | None) -> Finding:
    return _finding((target.server, target.database), kind, difference, schema=target.schema, **facts)


def _finding(place: Place, kind: str, difference: str, **facts: str | None) -> Finding:
    return Finding(server=place[0], database=place[1], kind=kind, difference=difference, **facts)


def _by_place(targets: Iterable[Target]) -> dict[Place, list[Target]]:
    places: dict[Place, list[Target]] = {}
    for target in targets:
        places.setdefault((target.server, target.database), []).append(target)
    return places
