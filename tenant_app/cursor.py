"""Cursors: where a page of a list ended, as opaque text that is good for that list alone.

A cursor carries no authority (a list shows only what its caller may see, wherever it starts), so its check is plain,
not keyed: it tells a mangled cursor, and one of another list, from a good one.
"""

from __future__ import annotations

import base64
import hashlib
from uuid import UUID

from control_plane.domain.errors import InvalidError

LENGTH = 27
"""Characters of a cursor: 16 bytes of id and 4 of check, without padding."""
_CHECK_BYTES = 4


class CursorError(InvalidError):
    """That cursor is not one of this list; start again without it."""

    code = "cursor_invalid"


def written(row_id: UUID, of: str) -> str:
    """The cursor of the place after `row_id` in the list named `of`."""
    return base64.urlsafe_b64encode(row_id.bytes + _check(row_id.bytes, of)).decode().rstrip("=")


def read(cursor: str, of: str) -> UUID:
    """The id that `cursor` stands for, or CursorError."""
    if len(cursor) != LENGTH:
        raise CursorError
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=", altchars=b"-_", validate=True)
    except ValueError as error:
        raise CursorError from error
    row_id = UUID(bytes=raw[:16])
    # Compared as text: two spellings of the last character's spare bits would decode alike.
    if written(row_id, of) != cursor:
        raise CursorError
    return row_id


def _check(row: bytes, of: str) -> bytes:
    return hashlib.sha256(row + of.encode()).digest()[:_CHECK_BYTES]
