"""Queries for placing tenants: what each server holds, and its pools and bridges that take one more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from control_plane.domain import names
from control_plane.domain.budget import Budget, share_out
from control_plane.domain.ids import new_id
from control_plane.domain.placement import Choice, Load, Verdict, Wish, choose_server, consider
from control_plane.domain.tenant import Model, Plan
from control_plane.registry import servers
from control_plane.registry.servers import BUILDING, GOING, GONE, READY
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow, TenantRow

FullAt = Mapping[Model, int]
"""With how many tenants a pool or bridge database is full; one that is not named never is."""


def budget(session: Session) -> Budget:
    """How the servers' connections are shared out among all that the pooler is to serve."""
    return share_out(servers.all_servers(session), servers.for_pooler(session))


def wish_of(row: TenantRow) -> Wish:
    """A tenant as something to place."""
    return Wish(
        model=Model(row.model),
        plan=Plan(row.plan),
        labels=tuple(row.labels),
        server=row.wanted_server,
        region=row.wanted_region,
    )


def verdict(session: Session, wish: Wish, full_at: FullAt) -> Verdict:
    """Where it would go now, and what speaks against each server; UnknownServerError for an unknown name."""
    return consider(servers.all_servers(session), loads(session, full_at, wish.apart), wish)


def choose(session: Session, wish: Wish, full_at: FullAt, *, hold: bool = False, mover: UUID | None = None) -> Choice:
    """See `choose_server`. With `hold`, others that choose wait for the caller's transaction to end.

    `mover` is the tenant, when it has a home already: it is kept apart from others, not from itself.
    """
    # Locked before it is counted: two that choose at once must not both get the last place.
    known = servers.all_servers(session, lock=hold)
    return choose_server(known, loads(session, full_at, wish.apart, mover), wish)


def loads(session: Session, full_at: FullAt, apart: Sequence[str] = (), mover: UUID | None = None) -> dict[str, Load]:
    """What each server holds, and which of those labels its tenants but `mover` have.

    Servers without a database are left out.
    """
    labelled = _labelled(session, apart, mover) if apart else {}
    lived_in = _homes_by_database().subquery()
    homes = func.coalesce(lived_in.c.homes, 0)
    takes = DatabaseRow.state.not_in((GOING, GONE))
    query = (
        select(
            DatabaseRow.server,
            func.sum(homes),
            func.count().filter(takes, or_(DatabaseRow.model != str(Model.SILO), homes > 0)),
            *(func.count().filter(_has_room(model, homes, full_at)) for model in (Model.POOL, Model.BRIDGE)),
        )
        .outerjoin(lived_in, lived_in.c.database_id == DatabaseRow.id)
        .group_by(DatabaseRow.server)
    )
    return {
        server: Load(
            tenants=int(tenants),
            databases=databases,
            roomy=frozenset(model for model, there in ((Model.POOL, pools), (Model.BRIDGE, bridges)) if there),
            apart=labelled.get(server, frozenset()),
        )
        for server, tenants, databases, pools, bridges in session.execute(query)
    }


def database_with_room(
    session: Session, server: str, model: Model, full_at: FullAt, name: str | None = None
) -> DatabaseRow | None:
    """The emptiest of a server's pools or bridges, one that is still being built included; None when all are full.

    With a name it is that one or none.
    """
    lived_in = _homes_by_database().subquery()
    homes = func.coalesce(lived_in.c.homes, 0)
    query = (
        select(DatabaseRow)
        .outerjoin(lived_in, lived_in.c.database_id == DatabaseRow.id)
        .where(DatabaseRow.server == server, _has_room(model, homes, full_at))
        .order_by(homes, DatabaseRow.created_at, DatabaseRow.name)
        .limit(1)
    )
    return session.scalars(query if name is None else query.where(DatabaseRow.name == name)).one_or_none()


def add_shared(session: Session, server: str, model: Model) -> DatabaseRow:
    """A pool or bridge that is to be built there. Whoever calls this holds the servers.

    Its number is the next of the whole platform: at the pooler, names of all servers meet.
    """
    taken = set(session.scalars(select(DatabaseRow.name).where(DatabaseRow.model == str(model))))
    number = next(n for n in range(1, len(taken) + 2) if names.shared_database(str(model), n) not in taken)
    name = names.shared_database(str(model), number)
    row = DatabaseRow(id=new_id(), server=server, name=name, model=str(model), alias=name, login=name, state=BUILDING)
    session.add(row)
    session.flush()
    return row


def measured_at(session: Session) -> dict[str, datetime | None]:
    """When each server's bytes were last measured."""
    return dict(session.execute(select(ServerRow.name, ServerRow.measured_at)).all())


def _homes_by_database() -> Select[UUID, int]:
    return (
        select(HomeRow.database_id, func.count().label("homes"))
        .where(HomeRow.state != "left")
        .group_by(HomeRow.database_id)
    )


def _has_room(model: Model, homes: ColumnElement[int], full_at: FullAt) -> ColumnElement[bool]:
    """Whole or being built; a row without a revision that is neither was entered by a start that ended before it."""
    usable = or_(
        DatabaseRow.state == BUILDING, and_(DatabaseRow.state == READY, DatabaseRow.home_revision.is_not(None))
    )
    here = and_(DatabaseRow.model == str(model), usable)
    return and_(here, homes < full_at[model]) if model in full_at else here


def _labelled(session: Session, labels: Sequence[str], mover: UUID | None) -> dict[str, frozenset[str]]:
    query = (
        select(DatabaseRow.server, TenantRow.labels)
        .join(HomeRow, HomeRow.database_id == DatabaseRow.id)
        .join(TenantRow, TenantRow.id == HomeRow.tenant_id)
        .where(HomeRow.state != "left", TenantRow.labels.overlap(cast(list(labels), ARRAY(Text))))
        .distinct()
    )
    if mover is not None:
        query = query.where(TenantRow.id != mover)
    found: dict[str, frozenset[str]] = {}
    for server, theirs in session.execute(query):
        found[server] = found.get(server, frozenset()) | frozenset(theirs).intersection(labels)
    return found
