"""Writing a stream's changes into the target: many source transactions in each of its own, and how far it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from provisioning.moves.copying import ignore_triggers
from provisioning.moves.errors import DamagedStreamError, ForeignRowError, NotBegunError, at_target
from provisioning.moves.lsn import Lsn, lsn_text
from provisioning.moves.messages import Begin, Change, Commit, Relation
from provisioning.moves.pipeline import Pipeline
from provisioning.moves.places import Place, target_of
from provisioning.moves.progress import applied
from provisioning.moves.statements import TableWriter
from provisioning.moves.tables import Table
from provisioning.roles import Connection

STATEMENTS_A_TRIP = 500
CHANGES_A_TRANSACTION = 5_000
_ADVANCE = b"UPDATE tenancy.streams SET applied = $1::text::pg_lsn WHERE name = $2::text AND applied = $3::text::pg_lsn"


class Applier:
    """Applies one tenant's changes. Not for several threads, and of no use after an error: open another one.

    Nothing is ever applied twice: what a target transaction wrote and how far it came are committed together, and of
    two that apply the same stream the one that comes later fails.
    """

    def __init__(
        self, pipeline: Pipeline, name: str, place: Lsn, schema: str, tables: Sequence[Table], tenant_id: UUID
    ) -> None:
        self._pipeline = pipeline
        self._name, self._schema = name, schema
        self._tables = {table.name: table for table in tables}
        self._tenant = str(tenant_id).encode()
        self._writers: dict[int, TableWriter] = {}
        self.applied = place
        """Everything that was committed before that place is committed in the target."""
        self._reached = place
        self._inside = self._skipping = self._open = False
        self._changes = 0
        self.written = 0
        """Changes sent to the target so far."""

    @classmethod
    @contextmanager
    def opened(
        cls,
        target: Place,
        name: str,
        tables: Sequence[Table],
        tenant_id: UUID,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Iterator[Applier]:
        """One that goes on where the stream of that name was left; NotBegunError when it was not begun.

        What has not been committed at the block's end is lost, and comes again. `meanwhile` is called about once a
        second while the target takes long.
        """
        with target_of(target) as connection:
            with at_target(connection):
                place = applied(connection, name)
            if place is None:
                raise NotBegunError
            ignore_triggers(connection)
            yield cls(Pipeline(connection, meanwhile), name, place, target.schema, tables, tenant_id)

    @property
    def connection(self) -> Connection:
        """To the target."""
        return self._pipeline.connection

    @property
    def round_trips(self) -> int:
        """To the target, so far."""
        return self._pipeline.round_trips

    @property
    def inside(self) -> bool:
        """Whether a source transaction is half through."""
        return self._inside

    @property
    def settled(self) -> bool:
        """Whether nothing has come that is not committed."""
        return not (self._inside or self._open)

    def know(self, relation: Relation) -> None:
        """Learn what a table of the source looks like; ShapesDifferError when it is not the target's.

        Of one that is not moved nothing is learnt, and no change may come: partitions are told of, beside their root.
        """
        table = self._tables.get(relation.name)
        if table is not None:
            self._writers[relation.oid] = TableWriter(relation, table, self._schema)

    def begin(self, begin: Begin) -> None:
        """A source transaction begins. One that has been applied already is skipped."""
        self._inside, self._skipping = True, begin.commit_lsn < self.applied

    def change(self, change: Change) -> None:
        """One change of it. ForeignRowError, before anything is written, for a row that is not the tenant's."""
        writer = self._writers.get(change.relation)
        if writer is None or not self._inside:
            raise DamagedStreamError("the stream has a change of an unknown table, or outside of a transaction")
        if any(tenant != self._tenant for tenant in writer.tenants(change)):
            raise ForeignRowError
        if self._skipping:
            return
        if not self._open:
            self._pipeline.send(b"BEGIN")
            self._open = True
        text, parameters, tag = writer.statement(change)
        self._pipeline.send(text, parameters, tag=tag)
        self._changes += 1
        self.written += 1
        if len(self._pipeline) >= STATEMENTS_A_TRIP:
            self._pipeline.round_trip()

    def end(self, commit: Commit) -> None:
        """The source transaction is whole. Many of them make one of the target's."""
        self._inside = False
        self._reached = max(self._reached, commit.end_lsn)
        if self._changes >= CHANGES_A_TRANSACTION:
            self.commit()

    def commit(self) -> None:
        """Commit what has come, with its progress, unless a source transaction is half through."""
        if self._inside or not self._open:
            return
        places = lsn_text(self._reached).encode(), self._name.encode(), lsn_text(self.applied).encode()
        self._pipeline.send(_ADVANCE, places, tag=b"UPDATE 1")
        # What became of the rows is known before anything is committed.
        self._pipeline.round_trip()
        self._pipeline.send(b"COMMIT", tag=b"COMMIT")
        self._pipeline.round_trip()
        self.applied, self._changes, self._open = self._reached, 0, False
