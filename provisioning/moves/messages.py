"""What a stream says, in the words of PostgreSQL's pgoutput plugin, version 1 of its protocol."""

from __future__ import annotations

import enum
from typing import NamedTuple, TypeAlias

from provisioning.moves.lsn import Lsn


class Unchanged(enum.Enum):
    """Stands for a value stored apart from its row (TOAST) that was not changed, and so is not sent."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED
Value: TypeAlias = bytes | Unchanged | None
"""A column's value as text, NULL, or not sent."""
Row: TypeAlias = tuple[Value, ...]


class Begin(NamedTuple):
    """The source transaction whose changes follow. Transactions come whole, in the order of their commits."""

    commit_lsn: Lsn
    """Where its commit stands in the log."""
    xid: int


class Commit(NamedTuple):
    """Its end."""

    commit_lsn: Lsn
    end_lsn: Lsn
    """Behind its commit: the place from which to go on when it has been applied."""


class RelationColumn(NamedTuple):
    """A column that is sent of a table."""

    name: str
    is_key: bool


class Relation(NamedTuple):
    """A table, told before its first change and again when it has changed itself."""

    oid: int
    schema: str
    name: str
    replica_identity: str
    columns: tuple[RelationColumn, ...]


class Insert(NamedTuple):
    """A new row."""

    relation: int
    row: Row


class Update(NamedTuple):
    """A changed row."""

    relation: int
    old: Row | None
    """With a changed key the old one, NULL elsewhere; the whole row where replica identity is FULL; else None."""
    row: Row


class Delete(NamedTuple):
    """A row that went: its key, NULL elsewhere; or the whole row where replica identity is FULL."""

    relation: int
    old: Row


class Truncate(NamedTuple):
    """Tables that were emptied, whoever's rows were in them."""

    relations: tuple[int, ...]


class Told(NamedTuple):
    """What somebody wrote into the log by pg_logical_emit_message."""

    transactional: bool
    lsn: Lsn
    prefix: str
    content: bytes


class Origin(NamedTuple):
    """Where the transaction came from, when it was itself brought by a stream."""

    lsn: Lsn
    name: str


class Type(NamedTuple):
    """A type that PostgreSQL does not come with."""

    oid: int
    schema: str
    name: str


Change: TypeAlias = Insert | Update | Delete
Message: TypeAlias = Begin | Commit | Relation | Change | Truncate | Told | Origin | Type
