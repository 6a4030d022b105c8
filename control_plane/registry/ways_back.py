"""Who has a way back, and through which homes: it ends when one of them is brought to another revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.domain.moving import Phase
from control_plane.registry.tables import HomeRow, MoveRow, TenantRow

Target = tuple[UUID, str]
"""A database and a schema in it."""


@dataclass(frozen=True, kw_only=True)
class WayBack:
    """A tenant that may still be had back in the home that it has left."""

    slug: str
    until: datetime | None
    """None: until somebody decides."""
    through: frozenset[Target]
    """The home that it lives in, and the one that is kept."""


def ways_back(session: Session) -> list[WayBack]:
    """All of them, by slug."""
    query = (
        select(TenantRow.slug, MoveRow.undo_until, MoveRow.id, HomeRow.database_id, HomeRow.schema)
        .join(TenantRow, TenantRow.id == MoveRow.tenant_id)
        .join(HomeRow, HomeRow.id.in_((MoveRow.source_id, MoveRow.target_id)))
        .where(MoveRow.phase == str(Phase.KEPT), MoveRow.revision.is_not(None))
    )
    found: dict[UUID, WayBack] = {}
    for slug, until, move_id, database_id, schema in session.execute(query):
        before = found[move_id].through if move_id in found else frozenset()
        found[move_id] = WayBack(slug=slug, until=until, through=before | {(database_id, schema)})
    return sorted(found.values(), key=lambda each: each.slug)
