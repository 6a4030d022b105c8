"""The ORM's own guard: every statement of a session carries `tenant_id = :current`, every new row is given it.

Row-level security holds without it; it is here because a policy alone is slow on some plans, and as a second lock.
What the ORM does not see (text(), Core on a Table, bulk inserts) is held by row-level security.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, bindparam, event
from sqlalchemy.orm import (
    Mapped,
    ORMExecuteState,
    Session,
    UOWTransaction,
    mapped_column,
    with_loader_criteria,
)

from control_plane.domain.errors import CopyholdError

_TENANT = "copyhold.tenant_id"
_current: ContextVar[UUID] = ContextVar("current_tenant")
"""Of the statement that is about to be sent: set for each, and read when its parameters are put together."""


class ForeignRowError(CopyholdError):
    """A row of another tenant was about to be written in this tenant's session."""

    code = "foreign_row"


class TenantScoped:
    """A table of tenants: `tenant_id` first in its key, filled in by the session."""

    tenant_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, sort_order=-2)
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, sort_order=-1)


class TenantSession(Session):
    """A session of one tenant; it is never re-scoped and never shared between requests."""

    def __init__(self, *, tenant_id: UUID, **options: Any) -> None:
        super().__init__(info={_TENANT: tenant_id}, **options)

    @property
    def tenant_id(self) -> UUID:
        """Whose session this is."""
        tenant_id: UUID = self.info[_TENANT]
        return tenant_id


_current_tenant = bindparam("copyhold_current_tenant", callable_=_current.get, type_=Uuid)
# Made once: an option made for a statement costs it 80 µs.
_criteria, _criteria_of_loaded = (
    with_loader_criteria(
        TenantScoped,
        lambda cls: cls.tenant_id == _current_tenant,
        include_aliases=True,
        propagate_to_loaders=propagated,
        track_closure_variables=False,
    )
    for propagated in (True, False)
)


def _add_criteria(state: ORMExecuteState) -> None:
    if state.is_select or state.is_update or state.is_delete or state.is_insert:
        _current.set(state.session.info[_TENANT])
        state.statement = state.statement.options(_criteria_of_loaded if state.is_relationship_load else _criteria)


def _fill_in_tenant(session: Session, _context: UOWTransaction, _instances: object) -> None:
    current = session.info[_TENANT]
    for row in session.new:
        if isinstance(row, TenantScoped):
            if row.tenant_id is None:
                row.tenant_id = current
            elif row.tenant_id != current:
                raise ForeignRowError(table=type(row).__name__)


def scope_orm() -> None:
    """Put the guard on TenantSession. Called once, at import; the mutation tests take it off and put it back."""
    event.listen(TenantSession, "do_orm_execute", _add_criteria)
    event.listen(TenantSession, "before_flush", _fill_in_tenant)


def unscope_orm() -> None:
    """Take the guard off, criteria and insert default alike, so that a test can see the database hold alone."""
    event.remove(TenantSession, "do_orm_execute", _add_criteria)
    event.remove(TenantSession, "before_flush", _fill_in_tenant)


scope_orm()
