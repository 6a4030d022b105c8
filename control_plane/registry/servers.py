"""Queries on servers and on the databases that hold tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Text, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.domain import names
from control_plane.domain.errors import ConflictError, NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.server import Catalogue, Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow

BUILDING, READY, WARM, GOING, GONE = "building", "ready", "warm", "going", "gone"
"""States of databases; see DatabaseRow."""
_COLUMN_ENDS, _LINE_ENDS = "\x1f", "\x1e"
MOST_POOLED = 20_000
"""More databases than that no pooler serves."""
COUNTED_OVER = timedelta(minutes=1)
"""Transactions that are counted over less than that say little."""
CATALOGUE, ACCEPTS = "catalogue", "accepts_open_catalogue"
"""In a server's settings; see Server."""


class ServerUnsettledError(ConflictError):
    """The server is being added or removed."""

    code = "server_unsettled"


class PooledDatabase(NamedTuple):
    """A database as the pooler knows it."""

    alias: str
    server: str
    model: Model
    name: str
    login: str
    other_login: str
    """What the app may log in with as well while its login is being changed; empty at all other times."""
    id: UUID
    sealed_password: str | None
    """Of the login; none where sockets do without."""
    other_sealed_password: str | None


def register(session: Session, server: Server, *, warm: int = 0) -> None:
    """Enter a server on the roll, or bring its entry up to date.

    Its status, its catalogue, its labels, its bytes and its warm silos stay what they were; its passwords unless there
    are new ones.
    """
    settings: dict[str, Any] = {"admin": server.admin, "ca": server.ca, ACCEPTS: server.accepts_open_catalogue}
    settings |= {"rds": dict(server.rds)} if server.rds else {}
    values = {
        "provider": server.provider,
        "region": server.region,
        "host": server.host,
        "port": server.port,
        "models": [str(model) for model in server.models],
        "capacity": server.capacity,
        "connections": server.connections,
        "settings": settings,
        "sealed_passwords": server.sealed_passwords,
    }
    first = {"labels": list(server.labels), "capacity_bytes": server.capacity_bytes, "warm": warm}
    statement = insert(ServerRow).values(name=server.name, status=str(server.status), **first, **values)
    kept = {
        "settings": ServerRow.settings.concat(statement.excluded.settings),
        "sealed_passwords": func.coalesce(statement.excluded.sealed_passwords, ServerRow.sealed_passwords),
    }
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values | kept))


def set_passwords(session: Session, name: str, sealed: str) -> None:
    """Keep other passwords of the platform's roles on that server, as `doors.sealed` makes them of all."""
    row = session.get_one(ServerRow, name, with_for_update=True)
    row.sealed_passwords = sealed


def set_catalogue(session: Session, name: str, found: Catalogue) -> bool:
    """Record what was found when its catalogue was looked at; False when that was known."""
    row = server_row(session, name)
    if row.settings.get(CATALOGUE) == str(found):
        return False
    row.settings = {**row.settings, CATALOGUE: str(found)}
    return True


def all_servers(session: Session, *, lock: bool = False) -> list[Server]:
    """Every server, by name; with `lock`, others that choose among them wait for the caller's transaction to end."""
    query = select(ServerRow).order_by(ServerRow.name)
    return [_server(row) for row in session.scalars(query.with_for_update(key_share=True) if lock else query)]


def server_named(session: Session, name: str) -> Server:
    """The server of that name, or NotFoundError."""
    row = session.get(ServerRow, name)
    if row is None:
        raise NotFoundError(f"there is no server {name!r}", server=name)
    return _server(row)


def set_server_status(session: Session, name: str, status: ServerStatus) -> None:
    """Let a server take new tenants, or not. NotFoundError for a name not on the roll.

    ServerUnsettledError for one that is being added or removed.
    """
    row = server_row(session, name)
    if row.status in (ServerStatus.ADDING, ServerStatus.REMOVING) and status is not ServerStatus.LOST:
        raise ServerUnsettledError(f"{name} is {row.status}: that has to come to its end first", server=name)
    row.status = str(status)


def server_row(session: Session, name: str) -> ServerRow:
    """The server of that name, locked; NotFoundError when there is none."""
    row = session.get(ServerRow, name, with_for_update=True)
    if row is None:
        raise NotFoundError(f"there is no server {name!r}", server=name)
    return row


def delete_server(session: Session, name: str) -> None:
    """Strike a server from the roll; ServerUnsettledError while it has a database. Rows of those that are gone stay."""
    row = session.get(ServerRow, name, with_for_update=True)
    if row is None:
        return
    there = select(func.count()).where(DatabaseRow.server == name, DatabaseRow.state != GONE)
    if session.scalar(there):
        raise ServerUnsettledError(f"{name} still has databases", server=name)
    session.delete(row)


def tenants_on(session: Session) -> dict[str, int]:
    """How many homes each server holds, those being built included."""
    query = (
        select(DatabaseRow.server, func.count())
        .join(HomeRow, HomeRow.database_id == DatabaseRow.id)
        .where(HomeRow.state != "left")
        .group_by(DatabaseRow.server)
    )
    return dict(session.execute(query).all())


def homes_in(session: Session, database_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many homes each of these databases holds."""
    query = (
        select(HomeRow.database_id, func.count())
        .where(HomeRow.database_id.in_(database_ids), HomeRow.state != "left")
        .group_by(HomeRow.database_id)
    )
    return dict(session.execute(query).all())


def all_databases(session: Session) -> list[DatabaseRow]:
    """Every database that holds tenants, by server and name; those that are gone are not among them."""
    query = select(DatabaseRow).where(DatabaseRow.state != GONE)
    return list(session.scalars(query.order_by(DatabaseRow.server, DatabaseRow.name)))


def for_pooler(session: Session) -> list[PooledDatabase]:
    """What the pooler is to serve, in no order.

    Read often, and of thousands of which few have changed: all come as one text, and a line of it is taken apart once.
    """
    row = DatabaseRow
    columns = (row.alias, row.server, row.model, row.name, row.login, row.next_login, cast(row.id, Text))
    passwords = (row.sealed_password, row.next_sealed_password)
    line = func.concat_ws(_COLUMN_ENDS, *(func.coalesce(column, "") for column in (*columns, *passwords)))
    text = session.scalar(select(func.string_agg(line, _LINE_ENDS)).where(row.state.not_in((GOING, GONE))))
    return [_pooled(each) for each in text.split(_LINE_ENDS)] if text else []


@lru_cache(maxsize=MOST_POOLED)
def _pooled(line: str) -> PooledDatabase:
    alias, server, model, name, login, following, key, *passwords = line.split(_COLUMN_ENDS)
    sealed, other_sealed = (password or None for password in passwords)
    other = names.other_login(name, login) if following else ""
    return PooledDatabase(alias, server, Model(model), name, login, other, UUID(key), sealed, other_sealed)


def databases_of(session: Session, server: str, model: Model) -> list[DatabaseRow]:
    """A server's databases of one model, oldest first."""
    query = select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.model == str(model))
    return list(session.scalars(query.order_by(DatabaseRow.created_at)))


def shared_named(session: Session, name: str) -> DatabaseRow | None:
    """The pool or bridge of that name, on whichever server."""
    query = select(DatabaseRow).where(DatabaseRow.name == name, DatabaseRow.model != str(Model.SILO))
    return session.scalars(query.where(DatabaseRow.state.in_((BUILDING, READY)))).one_or_none()


def database(session: Session, database_id: UUID, *, lock: bool = False) -> DatabaseRow:
    """The database of that id; NotFoundError when it is not on the roll."""
    row = session.get(DatabaseRow, database_id, with_for_update=lock or None)
    if row is None:
        raise NotFoundError("there is no such database", database_id=str(database_id))
    return row


def logins(row: DatabaseRow) -> tuple[str, ...]:
    """What the app may log in with there: the login that is used and, while it is being changed, the other one."""
    return (row.login,) if row.next_login is None else (row.login, names.other_login(row.name, row.login))


def ensure_database(session: Session, server: str, name: str, model: Model) -> DatabaseRow:
    """The database of that name on that server, entered on the roll if it was not there. Its alias is its name."""
    query = select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.name == name)
    row = session.scalars(query).one_or_none()
    if row is None:
        row = DatabaseRow(id=new_id(), server=server, name=name, model=str(model), alias=name, login=name)
        session.add(row)
        session.flush()
    return row


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found in one database."""

    bytes: int
    transactions: int
    """Since its server counts them."""


def record_measured(session: Session, server: str, found: Mapping[str, Measured]) -> None:
    """Keep what each of a server's databases holds and has to do, by name; those that nobody measured are left alone.

    Transactions a minute are those since they were counted before, if that is COUNTED_OVER ago; else what was known.
    """
    now = session.scalars(select(func.clock_timestamp())).one()
    there = select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.state != GONE)
    known = []
    for row in session.scalars(there.execution_options(populate_existing=True)):
        if (measured := found.get(row.name)) is not None:
            row.used_bytes = measured.bytes
            _count(row, measured.transactions, now)
            known.append(row.per_minute)
    values = {
        "used_bytes": sum(measured.bytes for measured in found.values()),
        "per_minute": sum(each or 0 for each in known) if any(each is not None for each in known) else None,
        "measured_at": func.now(),
    }
    session.execute(update(ServerRow).where(ServerRow.name == server).values(values))


def _count(row: DatabaseRow, transactions: int, now: datetime) -> None:
    # A server that was reset counts from the beginning.
    if row.counted is None or row.counted_at is None or transactions < row.counted:
        row.counted, row.counted_at = transactions, now
    elif (passed := now - row.counted_at) >= COUNTED_OVER:
        row.per_minute = round((transactions - row.counted) / (passed / timedelta(minutes=1)))
        row.counted, row.counted_at = transactions, now


def add_silo(session: Session, server: str) -> DatabaseRow:
    """A silo that is to be made on that server."""
    database_id = new_id()
    name = names.silo_database(database_id)
    row = DatabaseRow(
        id=database_id, server=server, name=name, model=str(Model.SILO), alias=name, login=name, state=BUILDING
    )
    session.add(row)
    session.flush()
    return row


def _server(row: ServerRow) -> Server:
    return Server(
        name=row.name,
        provider=row.provider,
        region=row.region,
        host=row.host,
        port=row.port,
        models=tuple(Model(model) for model in row.models),
        capacity=row.capacity,
        connections=row.connections,
        status=ServerStatus(row.status),
        labels=tuple(row.labels),
        capacity_bytes=row.capacity_bytes,
        used_bytes=row.used_bytes,
        capacity_per_minute=row.capacity_per_minute,
        per_minute=row.per_minute,
        admin=row.settings.get("admin", Server.admin),
        ca=row.settings.get("ca", ""),
        catalogue=Catalogue(row.settings.get(CATALOGUE, Catalogue.UNKNOWN)),
        accepts_open_catalogue=row.settings.get(ACCEPTS, False),
        rds=row.settings.get("rds", {}),
        sealed_passwords=row.sealed_passwords,
    )
