"""Queries on servers and on the databases that hold tenants."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.conninfo import make_conninfo
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow


def direct_dsn(server: Server, database: str, role: str) -> str:
    """How to reach a database past the pooler, for DDL, locks and copies."""
    return make_conninfo(
        host=server.host,
        port=server.port,
        dbname=database,
        user=role,
        connect_timeout=5,
        application_name="copyhold",
    )


def register(session: Session, server: Server) -> None:
    """Enter a server on the roll, or bring its entry up to date; its status stays what it was."""
    values = {
        "provider": server.provider,
        "region": server.region,
        "host": server.host,
        "port": server.port,
        "models": [str(model) for model in server.models],
        "capacity": server.capacity,
        "connections": server.connections,
    }
    statement = insert(ServerRow).values(name=server.name, status=str(server.status), **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


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
    """Let a server take new tenants, or not. NotFoundError for a name not on the roll."""
    row = session.get(ServerRow, name, with_for_update=True)
    if row is None:
        raise NotFoundError(f"there is no server {name!r}", server=name)
    row.status = str(status)


def delete_server(session: Session, name: str) -> None:
    """Strike a server without databases from the roll."""
    row = session.get(ServerRow, name)
    if row is not None:
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
    """Every database that holds tenants, by server and name."""
    return list(session.scalars(select(DatabaseRow).order_by(DatabaseRow.server, DatabaseRow.name)))


def databases_of(session: Session, server: str, model: Model) -> list[DatabaseRow]:
    """A server's databases of one model, oldest first."""
    query = select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.model == str(model))
    return list(session.scalars(query.order_by(DatabaseRow.created_at)))


def database(session: Session, database_id: UUID) -> DatabaseRow:
    """The database of that id; NotFoundError when it is not on the roll."""
    row = session.get(DatabaseRow, database_id)
    if row is None:
        raise NotFoundError("there is no such database", database_id=str(database_id))
    return row


def ensure_database(session: Session, server: str, name: str, model: Model) -> DatabaseRow:
    """The database of that name on that server, entered on the roll if it was not there. Its alias is its name."""
    query = select(DatabaseRow).where(DatabaseRow.server == server, DatabaseRow.name == name)
    row = session.scalars(query).one_or_none()
    if row is None:
        row = DatabaseRow(id=new_id(), server=server, name=name, model=str(model), alias=name, login=name)
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
    )
