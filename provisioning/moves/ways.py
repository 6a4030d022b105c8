"""The way there and the way back: slot, snapshot, copy and stream in the order in which they make a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import MetaData

from provisioning.duty import Duty
from provisioning.erasing import erase_rows_over
from provisioning.moves import fences, progress
from provisioning.moves.copying import Tell, copy_rows, snapshot_of
from provisioning.moves.errors import at_source, at_target
from provisioning.moves.following import Follower
from provisioning.moves.places import Place, log_end, source_alone, source_of, target_alone, target_of
from provisioning.moves.slots import (
    Waiting,
    back_name,
    create_slot,
    drop_slot,
    forward_name,
    publish,
    unpublish,
)
from provisioning.moves.stream import Stream
from provisioning.moves.tables import Table, require_same_shape, tables_of
from provisioning.roles import Connection
from provisioning.sessions import end_others


def moved_tables(source: Place, target: Place, metadata: MetaData) -> tuple[Table, ...]:
    """The tables of the source, parents first; UnmovableError, or ShapesDifferError when the target has others."""
    with source_of(source) as connection, at_source(connection):
        here = tables_of(connection, source.schema, metadata)
    with target_of(target) as connection, at_target(connection):
        require_same_shape(here, tables_of(connection, target.schema, metadata))
    return here


@contextmanager
def way_there(
    source: Place,
    target: Place,
    tables: Sequence[Table],
    tenant_id: UUID,
    *,
    tell: Tell = lambda _: None,
    waiting: Waiting = lambda _: None,
    duty: Duty | None = None,
) -> Iterator[Follower]:
    """Copy the tenant into the target, then follow the source for as long as the block lasts.

    Its slot ends with the block: what was begun and not brought to its end is undone by `clear_way_there` and
    `erase_tenant`, and begun anew. SlotBusyError, NotEmptyError, and what `Follower.opened` raises.
    """
    name = forward_name(tenant_id)
    with source_of(source) as watcher:
        drop_slot(watcher, name)
        publish(watcher, name, source.schema, [table.name for table in tables], tenant_id)
        with Stream.opened(source, name) as stream:
            slot = create_slot(stream.connection, watcher, name, temporary=True, snapshot=True, waiting=waiting)
            assert slot.snapshot is not None
            with snapshot_of(source, slot.snapshot) as reading, target_of(target) as writing:
                schemas = source.schema, target.schema
                copy_rows(reading, writing, schemas, tables, tenant_id, tell=tell, duty=duty)
                with at_target(writing):
                    progress.begin(writing, name, slot.start)
            with Follower.opened(stream, name, source.schema, target, tables, tenant_id) as follower:
                yield follower


def clear_way_there(source: Place, target: Place, tenant_id: UUID) -> None:
    """Leave neither slot nor publication of it at the source, nor progress at the target; repeatable.

    Whoever works on the tenant's move still, at either end, is ended.
    """
    with source_alone(source) as connection, at_source(connection):
        _clear(connection, forward_name(tenant_id))
    with target_alone(target) as connection, at_target(connection):
        _clear(connection, forward_name(tenant_id))


def prepare_way_back(
    new: Place, tables: Sequence[Table], tenant_id: UUID, *, waiting: Waiting = lambda _: None
) -> None:
    """Have the new home keep what is changed in it, for the way back, until `clear_target`; one of before goes.

    To be called before the tenant is let in there. Its server keeps its log meanwhile, up to max_slot_wal_keep_size.
    """
    name = back_name(tenant_id)
    with source_of(new) as watcher:
        drop_slot(watcher, name)
        publish(watcher, name, new.schema, [table.name for table in tables], tenant_id)
        with Stream.opened(new, name) as stream:
            create_slot(stream.connection, watcher, name, temporary=False, snapshot=False, waiting=waiting)


def begin_way_back(new: Place, old: Place, tenant_id: UUID) -> None:
    """Record in the old home that both have the same rows now: to be called while nobody writes in either."""
    with source_of(new) as connection, at_source(connection):
        end = log_end(connection)
    with target_of(old) as connection, at_target(connection):
        progress.begin(connection, back_name(tenant_id), end)


@contextmanager
def way_back(new: Place, old: Place, tables: Sequence[Table], tenant_id: UUID) -> Iterator[Follower]:
    """Have what is changed in the new home flow into the old one for as long as the block lasts; repeatable.

    Goes on where it was left, whoever was killed: what that one has sent still is over before it is asked how far it
    came. NotBegunError, SlotLostError, SlotTakenError.
    """
    name = back_name(tenant_id)
    with source_alone(new):
        pass
    with target_alone(old):
        pass
    with (
        Stream.opened(new, name) as stream,
        Follower.opened(stream, name, new.schema, old, tables, tenant_id) as follower,
    ):
        yield follower


def clear_source(source: Place, tenant_id: UUID) -> None:
    """Leave nothing of either way at the end that is left, whatever has become of the other one; repeatable.

    Neither slot nor publication nor progress. Whoever works on the tenant's move still, there, is ended.
    """
    with source_alone(source) as connection, at_source(connection):
        _clear(connection, forward_name(tenant_id), back_name(tenant_id))


def clear_target(target: Place, tenant_id: UUID) -> None:
    """The same at the end that is moved into."""
    with target_alone(target) as connection, at_target(connection):
        _clear(connection, forward_name(tenant_id), back_name(tenant_id))


def serve(lives_in: Place, tenant_id: UUID, epoch: int) -> None:
    """Let the tenant in again where it lives, and end what whoever worked on its move before has under way there.

    Where that cannot be ended it is let in all the same, and the error raised then.
    """
    with source_of(lives_in) as connection, at_source(connection):
        try:
            end_others(connection)
        finally:
            fences.thaw(connection, tenant_id, epoch)


def erase_tenant(place: Place, tenant_id: UUID, *, duty: Duty | None = None) -> None:
    """Delete the tenant's rows there, some at a time, each time committed; repeatable.

    Nothing may stream them away: the way from there is cleared first. Whoever works on the tenant's move still is
    ended, else rows that are on their way would come after it.
    """
    with target_alone(place) as connection, at_target(connection):
        erase_rows_over(connection, place.schema, tenant_id, duty=duty)


def _clear(connection: Connection, *names: str) -> None:
    for name in names:
        drop_slot(connection, name)
        unpublish(connection, name)
        progress.forget(connection, name)
