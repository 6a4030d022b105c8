"""Warm silos: finished databases that nobody lives in yet. How many each server is to have, and claiming one."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import ColumnElement, delete, exists, func, select
from sqlalchemy.orm import Session

from control_plane.domain.errors import InvalidError, NotFoundError
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.placement import Load
from control_plane.domain.server import ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import placing, servers, workflow_records
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import BUILDING, GOING, READY, WARM
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow, TargetRow, WorkflowRow
from control_plane.registry.workflows import REPLENISH, Workflows

WARM_MAX = 100
"""A server's, at most: each takes 8 MiB and a place in every migration."""
REPLENISH_AFTER_S = 1.0
"""Behind a claim: the tenant who has just come goes first, and claims that follow close are seen to at once."""
_SERVERS = uuid5(NAMESPACE_OID, "copyhold/server")


class NoSilosError(InvalidError):
    """That server takes no silos, and keeps none ready."""

    code = "no_silos"


class WarmNumberError(InvalidError):
    """A server keeps 0 to 100 silos ready."""

    code = "warm_number"


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What a server has of silos that nobody lives in, and what it is to have."""

    wanted: int
    """As many as were asked for and there is room for."""
    there: int
    """Finished or being made."""
    unfinished: int
    """Being made, by now or by a worker that died, or about to be dropped."""

    @property
    def right(self) -> bool:
        """Whether nothing is to be done."""
        return self.there == self.wanted and not self.unfinished


def subject_of(server: str) -> UUID:
    """The id under which workflows are started for a server."""
    return uuid5(_SERVERS, server)


def server_of(session: Session, subject: UUID) -> str | None:
    """The server of that id."""
    return next((name for name in session.scalars(select(ServerRow.name)) if subject_of(name) == subject), None)


def keep(session: Session, workflows: Workflows, server: str, number: int, actor: str) -> bool:
    """Have a server keep so many ready; False when it does. Commits with the caller.

    NotFoundError, NoSilosError or WarmNumberError when it cannot be.
    """
    row = session.get(ServerRow, server, with_for_update=True)
    if row is None:
        raise NotFoundError(f"there is no server {server!r}", server=server)
    if not 0 <= number <= WARM_MAX:
        raise WarmNumberError(f"a server keeps 0 to {WARM_MAX} silos ready, not {number}")
    if number and str(Model.SILO) not in row.models:
        raise NoSilosError(f"{server} takes no silos, and keeps none ready")
    changed, row.warm = row.warm != number, number
    session.flush()
    replenish(session, workflows, server, actor)
    return changed


def replenish(session: Session, workflows: Workflows, server: str, actor: str, *, after_s: float = 0) -> None:
    """Have a worker see to a server's warm silos after the caller's commit; once for all who ask before it begins."""
    row = session.get(ServerRow, server)
    if row is None or stock(session, server).right:
        return
    waiting = select(WorkflowRow).where(
        WorkflowRow.kind == REPLENISH,
        WorkflowRow.subject == subject_of(server),
        WorkflowRow.state == workflow_records.REQUESTED,
    )
    # Shared lock: it cannot begin, and look, before what the caller changes is committed.
    if session.scalars(waiting.with_for_update(read=True, skip_locked=True).limit(1)).first() is None:
        subject = subject_of(server)
        workflow_records.start(session, workflows, REPLENISH, subject, actor, server=server, after_s=after_s)


def stock(session: Session, server: str) -> Stock:
    """What there is and what there is to be."""
    row = session.get_one(ServerRow, server)
    query = select(DatabaseRow.state, func.count()).where(_vacant(server)).group_by(DatabaseRow.state)
    counted: dict[str, int] = dict(session.execute(query).all())
    return Stock(
        wanted=min(row.warm, _room(session, row)),
        there=counted.get(WARM, 0) + counted.get(BUILDING, 0),
        unfinished=counted.get(BUILDING, 0) + counted.get(GOING, 0),
    )


def kept(session: Session) -> dict[str, int]:
    """How many each server is to keep ready."""
    return dict(session.execute(select(ServerRow.name, ServerRow.warm)).all())


def claim(session: Session, server: str, wanted: Revisions) -> DatabaseRow | None:
    """A warm silo of the wanted revisions, taken for a tenant when the caller commits; None when there is none."""
    query = (
        select(DatabaseRow)
        .join(TargetRow, (TargetRow.database_id == DatabaseRow.id) & (TargetRow.schema == SHARED_SCHEMA))
        .where(
            DatabaseRow.server == server,
            DatabaseRow.state == WARM,
            DatabaseRow.home_revision == wanted.home,
            TargetRow.revision == wanted.tenant,
        )
        .order_by(DatabaseRow.id)
        .limit(1)
        .with_for_update(of=DatabaseRow, skip_locked=True)
    )
    row = session.scalars(query).one_or_none()
    if row is not None:
        row.state = READY
    return row


def next_to_build(session: Session, server: str) -> DatabaseRow | None:
    """One that was begun and not finished, else a new one if one more is wanted. Whoever calls this is alone at it."""
    query = select(DatabaseRow).where(_vacant(server), DatabaseRow.state == BUILDING).order_by(DatabaseRow.id)
    begun = session.scalars(query.limit(1)).one_or_none()
    if begun is not None:
        return begun
    now = stock(session, server)
    return servers.add_silo(session, server) if now.there < now.wanted else None


def next_to_drop(session: Session, server: str) -> DatabaseRow | None:
    """One that was given up and is not gone, else the newest of those too many, given up when the caller commits."""
    query = select(DatabaseRow).where(_vacant(server)).order_by(DatabaseRow.id.desc()).limit(1)
    going = session.scalars(query.where(DatabaseRow.state == GOING)).one_or_none()
    if going is not None:
        return going
    now = stock(session, server)
    if now.there <= now.wanted:
        return None
    row = session.scalars(
        query.where(DatabaseRow.state != GOING).with_for_update(of=DatabaseRow, skip_locked=True)
    ).one_or_none()
    if row is not None:
        row.state, row.home_revision = GOING, None
        session.execute(delete(TargetRow).where(TargetRow.database_id == row.id))
    return row


def _vacant(server: str) -> ColumnElement[bool]:
    return (
        (DatabaseRow.server == server)
        & (DatabaseRow.model == str(Model.SILO))
        & DatabaseRow.state.in_((WARM, BUILDING, GOING))
        & ~exists().where(HomeRow.database_id == DatabaseRow.id)
    )


def _room(session: Session, row: ServerRow) -> int:
    """For how many more silos there is room; none on a server that takes no new tenants."""
    full = row.capacity_bytes is not None and (row.used_bytes or 0) >= row.capacity_bytes
    if full or row.status != ServerStatus.ACTIVE or str(Model.SILO) not in row.models:
        return 0
    held = placing.loads(session, {}).get(row.name, Load())
    # Each needs a connection of its own as soon as somebody lives there.
    return max(0, min(row.capacity - held.tenants, row.connections - held.databases))
