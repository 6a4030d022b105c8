"""Queries on what each revision of the tenant tables asks of the app."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.registry.tables import RevisionRow


def publish(session: Session, needs: Mapping[str, str]) -> None:
    """Say of each revision which one, at least, an app has to know to work with it; routes carry it from then on."""
    if needs:
        statement = insert(RevisionRow).values([{"name": name, "needs": known} for name, known in needs.items()])
        new = statement.excluded.needs
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["name"], set_={"needs": new}, where=RevisionRow.needs.is_distinct_from(new)
            )
        )
