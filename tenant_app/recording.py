"""Which keys' users rows are known to be there, so that not every request of a key writes its own once more.

A process remembers it once a transaction with the row has been committed. Where the row is gone after all, because an
older state of a home was brought back, what refers to it breaks, once a process: there it is forgotten then, and
written with the next.
"""

from __future__ import annotations

from typing import cast
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction

from control_plane.routing.scope import TenantSession

TENANTS_MAX, USERS_MAX = 10_000, 100
"""So many tenants, and users of each: keys come and go, and nobody tells which have gone."""
_RECORDED, _RELIED = "tenant_app.recorded", "tenant_app.relied"
_known: dict[UUID, set[UUID]] = {}
"""By tenant. What is forgotten of it costs a statement."""


def relies_on(session: AsyncSession, user_id: UUID) -> bool:
    """Whether that user of the session's tenant is known to have a row; the session relies on it from now on."""
    is_known = user_id in _known.get(_tenant_of(session), ())
    session.sync_session.info[_RELIED] = is_known
    return is_known


def remember_once_committed(session: AsyncSession, user_id: UUID) -> None:
    """The session has written that user's row."""
    session.sync_session.info[_RECORDED] = user_id


def was_wrong(session: AsyncSession) -> bool:
    """Whether the session relied on what was known, when a reference is broken. All of its tenant is forgotten then."""
    relied: bool = session.sync_session.info.get(_RELIED, False)
    if relied:
        _known.pop(_tenant_of(session), None)
    return relied


def _tenant_of(session: AsyncSession) -> UUID:
    return cast(TenantSession, session.sync_session).tenant_id


def _remember(session: Session) -> None:
    # The end of a savepoint is told as a commit too.
    if session.in_nested_transaction() or (user_id := session.info.pop(_RECORDED, None)) is None:
        return
    if len(_known) >= TENANTS_MAX:
        _known.clear()
    users = _known.setdefault(cast(TenantSession, session).tenant_id, set())
    if len(users) >= USERS_MAX:
        users.clear()
    users.add(user_id)


def _unremember(session: Session, _: SessionTransaction) -> None:
    session.info.pop(_RECORDED, None)


event.listen(TenantSession, "after_commit", _remember)
event.listen(TenantSession, "after_soft_rollback", _unremember)
