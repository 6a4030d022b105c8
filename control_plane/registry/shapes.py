"""Queries on what freshly built targets consist of, kept so that each is built once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import ShapeRow


@dataclass(frozen=True, kw_only=True)
class ShapeKey:
    """Whose shape it is: a revision's, as that SQL (`source` is its sum) builds it on that version of PostgreSQL."""

    chain: str
    revision: str
    source: str
    server_version: int


def kept(session: Session, key: ShapeKey) -> dict[str, Any] | None:
    """What was kept under that key."""
    row = session.get(ShapeRow, (key.chain, key.revision, key.source, key.server_version))
    return row.objects if row is not None else None


def keep(session: Session, key: ShapeKey, objects: dict[str, Any]) -> None:
    """Keep it; somebody else may have been faster, with the same."""
    statement = insert(ShapeRow).values(
        chain=key.chain,
        revision=key.revision,
        source=key.source,
        server_version=key.server_version,
        objects=objects,
    )
    session.execute(statement.on_conflict_do_nothing())
