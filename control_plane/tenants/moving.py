"""Moving tenants: asking for it, cancelling it, having it back, giving up what was left.

Each function works inside the caller's transaction and leaves committing to it. Whoever calls one has locked the
tenant, which is the first of the locks that a move takes; docs/adr/0014 has their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from control_plane.domain.ids import new_id
from control_plane.domain.moving import MOVABLE, RULES, UNDO_WINDOW_MAX, Phase
from control_plane.domain.placement import Choice, NoServerError, Wish
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import fleet, moves, placing, servers, tenants, workflow_records
from control_plane.registry.tables import DatabaseRow, HomeRow, MoveRow, RouteRow, TargetRow, TenantRow
from control_plane.registry.workflow_records import UNENDED
from control_plane.registry.workflows import MOVE, MOVE_BACK, RESUME, ROTATE, SUSPEND, TIDY_MOVE, Workflows
from control_plane.tenants.rotating import login_changes

UNDO_WINDOW = timedelta(hours=1)
"""Of a caller who does not know what the settings say."""
LANE = "moves"
"""Moves take long: they have a lane of their own, and leave those of servers to what is quick."""
AGAIN_AFTER = timedelta(minutes=1)
"""What is left to do of a move, and failed, is begun with again."""
TIDIED_AT_ONCE = 20


class NotMovableError(ConflictError):
    """This tenant cannot be moved now."""

    code = "not_movable"


class NoWayBackError(ConflictError):
    """There is no way back from this move."""

    code = "move_no_way_back"


class WindowError(InvalidError):
    """The home that was left is kept for 0 to 7 days."""

    code = "undo_window_invalid"


class UnknownDatabaseError(InvalidError):
    """There is no such pool or bridge."""

    code = "database_unknown"


@dataclass(frozen=True, kw_only=True)
class Journey:
    """From where to where a tenant would move, and why there."""

    tenant_id: UUID
    source: HomeRow
    source_database: DatabaseRow
    choice: Choice
    model: Model


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """A move that nobody has begun, as far as the roll knows."""

    source: HomeRow
    source_database: DatabaseRow
    server: Server | None
    """Where it would go, or was told to go; None when there is no place for it."""
    reason: str | None
    """Why there."""
    objections: list[str]
    """Why it would not be begun now, in words; nothing when it would."""


def consider(
    session: Session,
    tenant: TenantRow,
    model: Model,
    server: str | None,
    full_at: placing.FullAt,
    *,
    database: str | None = None,
) -> Journey:
    """Where it would go now, or into that pool or bridge. NotMovableError, NoServerError, UnknownServerError or
    UnknownDatabaseError when it cannot go anywhere.
    """
    home, left = _lives_in(session, tenant)
    if database is not None:
        server = _server_of(session, database, model, server)
        if database == left.name:
            raise NotMovableError(f"{tenant.slug!r} lives in {database} already")
    wish = Wish(
        model=model, plan=Plan(tenant.plan), labels=tuple(tenant.labels), server=server, region=tenant.wanted_region
    )
    choice = placing.choose(session, wish, full_at, mover=tenant.id)
    if database is not None:
        named_with_room(session, database, choice.server, model, full_at)
    elif (choice.server.name, model) == (left.server, Model(home.model)) and model is not Model.SILO:
        raise NotMovableError(
            f"{tenant.slug!r} lives in a {model} on {left.server} already, in {left.name}: --database names another one"
        )
    return Journey(tenant_id=tenant.id, source=home, source_database=left, choice=choice, model=model)


def named_with_room(session: Session, name: str, server: Server, model: Model, full_at: placing.FullAt) -> DatabaseRow:
    """That pool or bridge; NoServerError when it takes no more tenants."""
    found = placing.database_with_room(session, server.name, model, full_at, name)
    if found is None:
        raise NoServerError(f"{name} takes no more tenants")
    return found


def foresee(
    session: Session,
    tenant: TenantRow,
    model: Model,
    server: str | None,
    full_at: placing.FullAt,
    *,
    database: str | None = None,
) -> Prospect:
    """Where it would go now, and all that the roll has against it. NotMovableError for a tenant without a home,
    UnknownServerError, UnknownDatabaseError.
    """
    home, left = _lives_in(session, tenant)
    choice, objections = None, []
    try:
        choice = consider(session, tenant, model, server, full_at, database=database).choice
    except (NoServerError, NotMovableError) as error:
        objections.append(error.message)
    told = server if database is None else _server_of(session, database, model, server)
    named = servers.server_named(session, told) if told is not None else None
    return Prospect(
        source=home,
        source_database=left,
        server=choice.server if choice is not None else named,
        reason=choice.reason if choice is not None else None,
        objections=objections + _hindrances(session, tenant, left),
    )


def request(
    session: Session,
    workflows: Workflows,
    tenant: TenantRow,
    actor: str,
    *,
    model: Model,
    server: str | None = None,
    database: str | None = None,
    undo_window: timedelta = UNDO_WINDOW,
    allow_freeze: bool = False,
    full_at: placing.FullAt | None = None,
) -> MoveRow:
    """Begin to move a tenant; it is served all the time, unless `allow_freeze` and there is no other way. One that is
    suspended stays so.

    WindowError, what `consider` raises, and NotMovableError or FleetBusyError while something else is done to it, to
    its database or to the fleet.
    """
    if not timedelta(0) <= undo_window <= UNDO_WINDOW_MAX:
        raise WindowError
    _refuse_unless_movable(session, tenant)
    journey = consider(session, tenant, model, server, full_at or {}, database=database)
    refuse_while_login_changes(session, journey.source_database)
    # Until this commits no run over the fleet begins, and whoever begins one after that sees the move.
    fleet.keep_still(session)
    route = session.get_one(RouteRow, tenant.id)
    row = MoveRow(
        id=new_id(),
        tenant_id=tenant.id,
        actor=actor,
        source_id=journey.source.id,
        model=str(model),
        server=server if database is None else journey.choice.server.name,
        database=database,
        phase=str(Phase.REQUESTED),
        epoch=route.epoch,
        undo_window_s=round(undo_window.total_seconds()),
        allow_freeze=allow_freeze,
    )
    moves.add(session, row)
    _set_out(tenant)
    facts = {"to": str(model), "server": server} | ({"allow_freeze": True} if allow_freeze else {})
    facts |= {"database": database} if database is not None else {}
    audit.record(session, actor, "tenant.move", tenant.slug, tenant_id=tenant.id, **facts)
    _start(session, workflows, tenant, row, MOVE, actor)
    return row


def cancel(session: Session, tenant: TenantRow, actor: str) -> MoveRow:
    """Have a move end where it began; it does as soon as whoever works on it hears of that.

    NotFoundError when the tenant is not moving, NotMovableError when it has arrived.
    """
    row = _open(session, tenant)
    if not RULES[Phase(row.phase)].can_cancel:
        raise NotMovableError(f"it is too late to cancel: the move of {tenant.slug!r} is {_words(row)}")
    if not row.cancel_asked:
        row.cancel_asked = True
        audit.record(session, actor, "tenant.move_cancel", tenant.slug, tenant_id=tenant.id)
    return row


def back(session: Session, workflows: Workflows, tenant: TenantRow, actor: str) -> MoveRow:
    """Have a tenant that has moved back in the home that it left, with all that it has done since.

    NoWayBackError when that home is not kept any more, or can be of no use; FleetBusyError and NotMovableError as
    `request`.
    """
    row = moves.open_of(session, tenant.id, lock=True)
    if row is None or Phase(row.phase) is not Phase.KEPT:
        raise NoWayBackError(f"no home that {tenant.slug!r} has left is kept")
    if row.revision is None:
        raise NoWayBackError(f"there is no way back for {tenant.slug!r}: {row.reason or 'what changed was not kept'}")
    _refuse_unless_settled(tenant)
    _refuse_while_let_in(session, tenant)
    fleet.keep_still(session)
    homes = [session.get_one(HomeRow, home_id) for home_id in (row.source_id, row.target_id)]
    for home in sorted(homes, key=lambda each: each.database_id):
        refuse_while_login_changes(session, servers.database(session, home.database_id))
        if session.get_one(TargetRow, (home.database_id, home.schema)).revision != row.revision:
            raise NoWayBackError(f"there is no way back for {tenant.slug!r}: its homes have been migrated since")
    moves.change_phase(row, Phase.RETURNING)
    row.cancel_asked = False
    _set_out(tenant)
    audit.record(session, actor, "tenant.move_back", tenant.slug, tenant_id=tenant.id)
    _start(session, workflows, tenant, row, MOVE_BACK, actor)
    return row


def settle(session: Session, tenant: TenantRow, actor: str) -> MoveRow:
    """Give up the home that a tenant has left before its time: a worker cleans it up in a moment."""
    row = _open(session, tenant)
    if Phase(row.phase) is not Phase.KEPT:
        raise NotMovableError(f"the move of {tenant.slug!r} is {_words(row)}")
    row.undo_until = func.now()
    audit.record(session, actor, "tenant.move_settle", tenant.slug, tenant_id=tenant.id)
    session.flush()
    session.refresh(row)
    return row


def tidy_due(session: Session, workflows: Workflows, actor: str) -> list[UUID]:
    """Have workers go on with moves that wait for nobody else: those whose time has come, those that were left alone.

    Of many that look at once, one begins with each.
    """
    due = moves.waiting(session, AGAIN_AFTER, TIDIED_AT_ONCE)
    for row in due:
        row.workflow_id = workflow_records.start(session, workflows, TIDY_MOVE, row.id, actor, server=LANE)
    return [row.id for row in due]


def refuse_while_login_changes(session: Session, database: DatabaseRow) -> None:
    """NotMovableError while the login of that database is being changed; none begins before the caller commits."""
    # As far as others enter homes of it on the roll meanwhile, they need not wait.
    session.refresh(database, with_for_update={"key_share": True})
    if database.next_login is not None and login_changes(session, database.id):
        raise NotMovableError(f"the login of {database.name} is being changed ({ROTATE}): wait until it is")


def _start(session: Session, workflows: Workflows, tenant: TenantRow, row: MoveRow, kind: str, actor: str) -> None:
    session.flush()
    row.workflow_id = workflow_records.start(session, workflows, kind, row.id, actor, server=LANE)
    tenant.workflow_id = row.workflow_id
    session.flush()


def _refuse_unless_movable(session: Session, tenant: TenantRow) -> None:
    row = moves.open_of(session, tenant.id, lock=True)
    if row is not None:
        raise NotMovableError(f"{tenant.slug!r} is moved already: {_about(row)}")
    _refuse_unless_settled(tenant)
    _refuse_while_let_in(session, tenant)


def _refuse_unless_settled(tenant: TenantRow) -> None:
    if Status(tenant.status) not in MOVABLE:
        raise NotMovableError(f"{tenant.slug!r} is {tenant.status}, and only active or suspended tenants are moved")


def _refuse_while_let_in(session: Session, tenant: TenantRow) -> None:
    """While its fence is about to be set.

    Of one that is active nothing is left to do: what has made it so may be on record as unended for a moment.
    """
    if tenant.workflow_id is None or Status(tenant.status) is not Status.SUSPENDED:
        return
    record = workflow_records.find(session, tenant.workflow_id)
    if record is not None and record.kind in {SUSPEND, RESUME} and record.state in UNENDED:
        raise NotMovableError(f"its {record.kind} has not come to its end: try again in a moment")


def _set_out(tenant: TenantRow) -> None:
    """One that is suspended stays so: the move's row alone says that it is on its way."""
    if Status(tenant.status) is Status.ACTIVE:
        tenants.change_status(tenant, Status.MOVING)


def _lives_in(session: Session, tenant: TenantRow) -> tuple[HomeRow, DatabaseRow]:
    home = tenants.current_home(session, tenant.id)
    if home is None:
        raise NotMovableError(f"{tenant.slug!r} has no home")
    return home, servers.database(session, home.database_id)


def _server_of(session: Session, database: str, model: Model, server: str | None) -> str:
    """The server of that pool or bridge; UnknownDatabaseError when a tenant of that model does not go there."""
    found = servers.shared_named(session, database)
    if found is None:
        raise UnknownDatabaseError(f"there is no pool or bridge {database!r}")
    if found.model != model or server not in (None, found.server):
        raise UnknownDatabaseError(f"{database} is a {found.model} on {found.server}")
    return found.server


def _hindrances(session: Session, tenant: TenantRow, database: DatabaseRow) -> list[str]:
    found = []
    for refuse in (
        partial(_refuse_unless_movable, session, tenant),
        partial(refuse_while_login_changes, session, database),
        partial(fleet.keep_still, session),
    ):
        try:
            refuse()
        except (ConflictError, UnavailableError) as error:
            found.append(error.message)
    return found


def _open(session: Session, tenant: TenantRow) -> MoveRow:
    row = moves.open_of(session, tenant.id, lock=True)
    if row is None:
        raise NotFoundError(f"no move of {tenant.slug!r} is open")
    return row


def _about(row: MoveRow) -> str:
    if Phase(row.phase) is Phase.KEPT:
        until = f"{row.undo_until:%Y-%m-%d %H:%M} UTC" if row.undo_until else "somebody decides"
        return f"the home that it left is kept until {until}; --settle gives it up now"
    return f"that is {_words(row)}, since {row.created_at:%Y-%m-%d %H:%M} UTC"


def _words(row: MoveRow) -> str:
    return row.phase.replace("_", " ")
