"""What targets of a revision should consist of: built freshly in a scratch database, read, and kept for the next time.

A scratch database never outlives the one who built it: whoever is killed in the midst of it holds its lock no more, and
the next one to build on that server drops what was left.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from control_plane.domain.errors import CopyholdError
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.doors import Doors, NoDoorError
from control_plane.registry import shapes as registry
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.shapes import ShapeKey
from migrations.fleet import shapes
from migrations.fleet.chains import HOME, Chain
from migrations.fleet.shapes import Expected, Part, Parts
from migrations.fleet.words import in_words

PREFIX = "reference_"
LOCKS = 44
"""Keeps these advisory locks apart from those of other uses."""
_OPTIONS = "-c search_path=pg_catalog -c jit=off"

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(%s, %s))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(%s, %s))"
_LEFTOVERS = """
SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s)
 UNION SELECT rolname FROM pg_roles WHERE starts_with(rolname, %(prefix)s)
"""

Furnish = Callable[[Server, str, Revisions], None]
"""Makes a database of that name on the server, as a silo of those revisions would be, its login admitted.

It is built from nothing by both chains, in Python where a revision wants that. What it leaves is dropped by the caller.
"""


class NoReferenceError(CopyholdError):
    """What a revision should look like could not be built."""

    code = "no_reference"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a target consists of that was built a moment ago; `sum` as shapes.sums makes it."""

    sum: str
    parts: Parts


class References:
    """What every revision should look like, on every server. Threads may share it; each reference is built once."""

    def __init__(self, engine: Engine, tenant: Chain, furnish: Furnish, doors: Doors) -> None:
        self._engine, self._tenant, self._furnish = engine, tenant, furnish
        self.doors = doors
        self._known: dict[ShapeKey, Reference | NoReferenceError] = {}
        self._versions: dict[str, int] = {}
        self._building = threading.Lock()

    def at(self, server: Server, chain: str, revisions: Revisions) -> Reference:
        """What a target of that chain (home or tenant) is at those revisions on that server.

        The tenant tables of a revision depend on the tenancy schema that they were built under as well. Built within a
        second unless it was kept. NoReferenceError when it cannot be, and again each time that it is asked for.
        """
        with self._building:
            try:
                key = self._key(chain, revisions, self._version(server))
                if key not in self._known and (kept := self._kept(key)) is not None:
                    self._known[key] = kept
                if key not in self._known:
                    self._build(server, revisions, key)
            except (psycopg.Error, NoDoorError) as error:
                raise NoReferenceError(f"no reference can be built on {server.name}: {in_words(error)}") from error
            found = self._known[key]
        if isinstance(found, NoReferenceError):
            raise found
        return found

    def touched(
        self, server: Server, chain: str, before: str | None, after: str, *, home: str = HOME.head
    ) -> tuple[Expected, ...]:
        """What the way from one revision to another adds, changes and takes away: see shapes.touched.

        For the tenant chain under the tenancy schema of revision `home`. NoReferenceError when one cannot be built.
        """
        left, come = (
            {} if revision is None else self.at(server, chain, self._pair(chain, revision, home)).parts
            for revision in (before, after)
        )
        return shapes.touched(left, come)

    def _pair(self, chain: str, revision: str, home: str) -> Revisions:
        if chain == HOME.name:
            return Revisions(home=revision, tenant=self._tenant.head)
        return Revisions(home=home, tenant=revision)

    def _build(self, server: Server, revisions: Revisions, key: ShapeKey) -> None:
        """One database has both: the tenancy schema and the tenant tables."""
        keys = {
            name: self._key(chain, revisions, key.server_version)
            for chain, name in ((HOME.name, str(HOME.version_schema)), (self._tenant.name, SHARED_SCHEMA))
        }
        try:
            found = self._built(server, revisions, tuple(keys))
        except (psycopg.Error, CopyholdError) as error:
            place = f"{revisions.home} and {revisions.tenant} on {server.name}"
            self._known[key] = NoReferenceError(f"no reference of {place} can be built: {in_words(error)}")
            return
        for schema, each in keys.items():
            self._known[each] = found[schema]
            with transaction(self._engine) as session:
                registry.keep(session, each, _as_data(found[schema]))

    def _built(self, server: Server, revisions: Revisions, schemas: tuple[str, ...]) -> dict[str, Reference]:
        with _scratch_database(self.doors, server) as name:
            self._furnish(server, name, revisions)
            with _connected(self.doors, server, name) as connection:
                sums, parts = shapes.sums(connection, schemas), shapes.objects(connection, schemas)
        return {schema: Reference(sum=sums[schema], parts=parts[schema]) for schema in schemas}

    def _kept(self, key: ShapeKey) -> Reference | None:
        with transaction(self._engine) as session:
            data = registry.kept(session, key)
        return _from_data(data) if data is not None else None

    def _key(self, chain: str, revisions: Revisions, server_version: int) -> ShapeKey:
        home = chain == HOME.name
        return ShapeKey(
            chain=chain,
            revision=revisions.home if home else revisions.tenant,
            source=_source((HOME, revisions.home), *(() if home else ((self._tenant, revisions.tenant),))),
            server_version=server_version,
        )

    def _version(self, server: Server) -> int:
        """Of PostgreSQL, to the minor version: what it says of its objects may change with each."""
        if server.name not in self._versions:
            with _connected(self.doors, server, "postgres") as admin:
                self._versions[server.name] = admin.info.server_version
        return self._versions[server.name]


def _source(*chains: tuple[Chain, str]) -> str:
    """A sum of everything that builds those chains up to those revisions, and of how the outcome is read."""
    digest = hashlib.sha256(shapes.shape_query().encode())
    for chain, revision in chains:
        for phase in chain.compiled(None, revision):
            digest.update(
                Path(chain.script(str(phase.after)).path).read_bytes() if phase.python else phase.sql.encode()
            )
            digest.update(b"\0")
    return digest.hexdigest()


def drop_leftovers(doors: Doors, server: Server) -> None:
    """Drop what builders have left on that server who were killed."""
    with _connected(doors, server, "postgres") as admin:
        _drop_leftovers(admin)


@contextmanager
def _scratch_database(doors: Doors, server: Server) -> Iterator[str]:
    """The name of a database and login that are dropped at the end of the block, should they be there by then."""
    name = PREFIX + secrets.token_hex(8)
    with _connected(doors, server, "postgres") as admin:
        _drop_leftovers(admin)
        admin.execute(_LOCK, [name, LOCKS])
        try:
            yield name
        finally:
            _drop(admin, name)


def _drop_leftovers(admin: psycopg.Connection[Any]) -> None:
    """Drop what others have left who were killed: who still builds holds a lock."""
    for (name,) in admin.execute(_LEFTOVERS, {"prefix": PREFIX}).fetchall():
        if admin.execute(_LOCK, [name, LOCKS]).fetchone() == (True,):
            with suppress(psycopg.Error):  # in the way of nobody, and the next one tries again
                _drop(admin, name)
            admin.execute(_UNLOCK, [name, LOCKS])


def _drop(admin: psycopg.Connection[Any], name: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


def _connected(doors: Doors, server: Server, database: str) -> psycopg.Connection[Any]:
    dsn = doors.dsn(server, database, server.admin)
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None, options=_OPTIONS)


def _as_data(reference: Reference) -> dict[str, Any]:
    return {"sum": reference.sum, "parts": [[*part, definition] for part, definition in reference.parts.items()]}


def _from_data(data: dict[str, Any]) -> Reference:
    parts = {Part(kind, table, name): definition for kind, table, name, definition in data["parts"]}
    return Reference(sum=data["sum"], parts=parts)
