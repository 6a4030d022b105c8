"""Decoding PostgreSQL's logical replication messages (pgoutput, protocol version 1). Pure: bytes in, messages out."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from provisioning.moves.errors import DamagedStreamError
from provisioning.moves.lsn import Lsn
from provisioning.moves.messages import (
    UNCHANGED,
    Begin,
    Commit,
    Delete,
    Insert,
    Message,
    Origin,
    Relation,
    RelationColumn,
    Row,
    Told,
    Truncate,
    Type,
    Update,
    Value,
)

_INT16, _INT32, _INT64 = struct.Struct("!h"), struct.Struct("!I"), struct.Struct("!Q")
_LENGTH = struct.Struct("!i")
_NULL, _KEPT, _TEXT = b"nut"
_NEW, _KEY, _OLD = b"NKO"


def decode(data: bytes) -> Message:
    """One message; DamagedStreamError for anything that is not exactly one of that version of the protocol."""
    read = _READ.get(data[:1])
    if read is None:
        raise DamagedStreamError(f"the stream has a message of an unknown kind: {data[:1]!r}")
    try:
        message, end = read(data)
    except (struct.error, IndexError, ValueError) as error:
        raise DamagedStreamError(f"the stream has a broken message of kind {data[:1]!r}") from error
    if end != len(data):
        raise DamagedStreamError(f"the stream has a message of kind {data[:1]!r} of another length than it says")
    return message


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _lsn(data: bytes, at: int) -> Lsn:
    return Lsn(_INT64.unpack_from(data, at)[0])


def _oid(data: bytes, at: int) -> int:
    return int(_INT32.unpack_from(data, at)[0])


def _row(data: bytes, at: int) -> tuple[Row, int]:
    number: int = _INT16.unpack_from(data, at)[0]
    at += 2
    values: list[Value] = []
    for _ in range(number):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            end = at + 4 + _LENGTH.unpack_from(data, at)[0]
            if not at + 4 <= end <= len(data):
                raise ValueError("a value ends outside of its message")
            values.append(data[at + 4 : end])
            at = end
        elif kind == _NULL:
            values.append(None)
        elif kind == _KEPT:
            values.append(UNCHANGED)
        else:
            raise ValueError("a value is of an unknown kind")
    return tuple(values), at


def _marked_row(data: bytes, at: int, *marks: int) -> tuple[Row, int]:
    if data[at] not in marks:
        raise ValueError("a row is of an unknown kind")
    return _row(data, at + 1)


def _begin(data: bytes) -> tuple[Message, int]:
    return Begin(commit_lsn=_lsn(data, 1), xid=_oid(data, 17)), 21


def _commit(data: bytes) -> tuple[Message, int]:
    return Commit(commit_lsn=_lsn(data, 2), end_lsn=_lsn(data, 10)), 18 + _INT64.size


def _relation(data: bytes) -> tuple[Message, int]:
    schema, at = _text(data, 5)
    name, at = _text(data, at)
    identity = chr(data[at])
    number: int = _INT16.unpack_from(data, at + 1)[0]
    at += 3
    columns: list[RelationColumn] = []
    for _ in range(number):
        is_key = bool(data[at] & 1)
        column, at = _text(data, at + 1)
        columns.append(RelationColumn(name=column, is_key=is_key))
        at += 8  # its type and that type's modifier: the target's own are what counts
    # The catalogue's own tables come with an empty schema.
    found = Relation(_oid(data, 1), schema or "pg_catalog", name, identity, tuple(columns))
    return found, at


def _insert(data: bytes) -> tuple[Message, int]:
    row, end = _marked_row(data, 5, _NEW)
    return Insert(_oid(data, 1), row), end


def _update(data: bytes) -> tuple[Message, int]:
    old, at = (None, 5) if data[5] == _NEW else _marked_row(data, 5, _KEY, _OLD)
    row, end = _marked_row(data, at, _NEW)
    return Update(_oid(data, 1), old, row), end


def _delete(data: bytes) -> tuple[Message, int]:
    old, end = _marked_row(data, 5, _KEY, _OLD)
    return Delete(_oid(data, 1), old), end


def _truncate(data: bytes) -> tuple[Message, int]:
    number = _oid(data, 1)
    end = 6 + 4 * number
    return Truncate(tuple(_oid(data, at) for at in range(6, end, 4))), end


def _told(data: bytes) -> tuple[Message, int]:
    prefix, at = _text(data, 10)
    end = at + 4 + _oid(data, at)
    told = Told(transactional=bool(data[1]), lsn=_lsn(data, 2), prefix=prefix, content=data[at + 4 : end])
    return told, end


def _origin(data: bytes) -> tuple[Message, int]:
    name, end = _text(data, 9)
    return Origin(lsn=_lsn(data, 1), name=name), end


def _type(data: bytes) -> tuple[Message, int]:
    schema, at = _text(data, 5)
    name, end = _text(data, at)
    return Type(oid=_oid(data, 1), schema=schema, name=name), end


_READ: Mapping[bytes, Callable[[bytes], tuple[Message, int]]] = {
    b"B": _begin,
    b"C": _commit,
    b"R": _relation,
    b"I": _insert,
    b"U": _update,
    b"D": _delete,
    b"T": _truncate,
    b"M": _told,
    b"O": _origin,
    b"Y": _type,
}
