"""Queries on staff and on what they show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.registry.tables import StaffRow, StaffTokenRow


def add(session: Session, *, email: str, role: str, password_hash: str | None) -> StaffRow | None:
    """Enter a member of staff, or None when the address is taken. Waits for another transaction that is taking it."""
    values = {"id": new_id(), "email": email, "role": role, "password_hash": password_hash}
    statement = insert(StaffRow).values(values).on_conflict_do_nothing(index_elements=["email"]).returning(StaffRow)
    return session.scalars(statement).one_or_none()


def remove(session: Session, email: str) -> bool:
    """Strike a member of staff with all they can show; False when there is nobody of that address."""
    gone = session.execute(delete(StaffRow).where(StaffRow.email == email).returning(StaffRow.id))
    return gone.one_or_none() is not None


def get(session: Session, staff_id: UUID) -> StaffRow | None:
    """The member of staff of that id."""
    return session.get(StaffRow, staff_id)


def by_email(session: Session, email: str) -> StaffRow | None:
    """The member of staff of that address."""
    return session.scalars(select(StaffRow).where(StaffRow.email == email)).one_or_none()


def all_staff(session: Session) -> Sequence[StaffRow]:
    """Everybody, by address."""
    return session.scalars(select(StaffRow).order_by(StaffRow.email)).all()


def add_token(session: Session, staff_id: UUID, kind: str, secret_sha256: str, life: timedelta) -> StaffTokenRow:
    """Record what a member of staff may show from now on, for `life`."""
    row = StaffTokenRow(
        id=new_id(), staff_id=staff_id, kind=kind, secret_sha256=secret_sha256, expires_at=func.now() + life
    )
    session.add(row)
    session.flush()
    return row


def of_token(session: Session, secret_sha256: str, kind: str) -> StaffRow | None:
    """Whose living token or session that is."""
    query = (
        select(StaffRow)
        .join(StaffTokenRow, StaffTokenRow.staff_id == StaffRow.id)
        .where(
            StaffTokenRow.secret_sha256 == secret_sha256,
            StaffTokenRow.kind == kind,
            StaffTokenRow.expires_at > func.now(),
        )
    )
    return session.scalars(query).one_or_none()


def drop_token(session: Session, secret_sha256: str) -> None:
    """End one token or session."""
    session.execute(delete(StaffTokenRow).where(StaffTokenRow.secret_sha256 == secret_sha256))


def drop_expired(session: Session, staff_id: UUID) -> None:
    """Forget what one member can show no more, so that nobody's past piles up."""
    session.execute(
        delete(StaffTokenRow).where(StaffTokenRow.staff_id == staff_id, StaffTokenRow.expires_at <= func.now())
    )
