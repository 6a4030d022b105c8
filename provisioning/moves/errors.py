"""What goes wrong while a tenant is moved, and the seam at which the driver's errors become these."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from control_plane.domain.errors import ConflictError, CopyholdError, UnavailableError
from migrations.fleet.words import in_words
from provisioning.roles import Connection

_GONE = ("08", "57P")
"""The classes of SQLSTATEs with which servers end connections, or take none."""


class SourceGoneError(UnavailableError):
    """The database that the tenant leaves does not answer any more."""

    code = "move_source_gone"


class TargetGoneError(UnavailableError):
    """The database that the tenant moves into does not answer any more."""

    code = "move_target_gone"


class SourceFailedError(CopyholdError):
    """The database that the tenant leaves has refused what the move asked of it."""

    code = "move_source_failed"


class TargetFailedError(CopyholdError):
    """The database that the tenant moves into has refused what the move brought."""

    code = "move_target_failed"


class SlotBusyError(UnavailableError):
    """Transactions that write are open on the server, and a stream cannot begin before they end."""

    code = "move_slot_busy"


class SlotTakenError(UnavailableError):
    """Somebody else reads the stream."""

    code = "move_slot_taken"


class SlotLostError(ConflictError):
    """The source has thrown away changes that were still to come: the move has to begin anew."""

    code = "move_slot_lost"


class DamagedStreamError(CopyholdError):
    """The source's stream is not what it must be."""

    code = "move_stream_damaged"


class DivergedError(CopyholdError):
    """The target does not have what the stream changes: it is no copy of the source."""

    code = "move_diverged"


class ForeignRowError(CopyholdError):
    """The stream brought a row of another tenant's. It was not written."""

    code = "move_foreign_row"


class UnmovableError(ConflictError):
    """The home has tables that cannot be moved."""

    code = "move_unmovable"


class ShapesDifferError(ConflictError):
    """The two homes do not have the same tables and columns."""

    code = "move_shapes_differ"


class NotEmptyError(ConflictError):
    """The target has rows of this tenant already."""

    code = "move_target_not_empty"


class NotBegunError(ConflictError):
    """Nothing is recorded of this stream in the target: the tenant's rows have not been copied there."""

    code = "move_not_begun"


class NotCaughtUpError(UnavailableError):
    """What was waited for did not come out of the stream in time."""

    code = "move_not_caught_up"


@contextmanager
def at_source(connection: Connection | None = None) -> Iterator[None]:
    """Have what the driver raises in the block be one of the source's errors."""
    try:
        yield
    except psycopg.Error as error:
        failed = SourceGoneError if _is_gone(error, connection) else SourceFailedError
        raise failed(f"source: {in_words(error)}", sqlstate=error.sqlstate) from error


@contextmanager
def at_target(connection: Connection | None = None) -> Iterator[None]:
    """Have what the driver raises in the block be one of the target's errors."""
    try:
        yield
    except psycopg.Error as error:
        failed = TargetGoneError if _is_gone(error, connection) else TargetFailedError
        raise failed(f"target: {in_words(error)}", sqlstate=error.sqlstate) from error


def _is_gone(error: psycopg.Error, connection: Connection | None) -> bool:
    if connection is None or connection.broken:
        return True
    state = error.sqlstate
    # Without one it is the driver's own: the connection ended in the midst of something.
    return isinstance(error, psycopg.OperationalError) and (state is None or state.startswith(_GONE))
