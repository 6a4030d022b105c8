"""Servers that join the platform and leave it: what is wished, recorded with the workflow that does it.

Each function works inside the caller's transaction and leaves committing to it.
"""

from __future__ import annotations

import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError
from control_plane.domain.server import Server, ServerStatus
from control_plane.registry import servers, warm, workflow_records
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow, TenantRow
from control_plane.registry.workflows import ADD_SERVER, REMOVE_SERVER, Workflows
from control_plane.tenants.labels import checked_labels

LOCAL = "local"
NAMED_MAX = 10
"""Tenants that are named when there are many."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")


class ServerTakenError(ConflictError):
    """There is another server of that name, or at that address."""

    code = "server_taken"


class ServerInUseError(ConflictError):
    """Tenants live on that server."""

    code = "server_in_use"


class ServerWishError(InvalidError):
    """Such a server cannot be had."""

    code = "server_wish"


def checked(server: Server) -> Server:
    """The same server; ServerWishError says what is wrong with it."""
    if not _NAME.fullmatch(server.name):
        raise ServerWishError(f"{server.name!r} is no name: a small letter, then those, digits, dashes; 40 at most")
    if not server.models:
        raise ServerWishError("say which models it takes")
    if server.capacity < 1 or server.connections < 0:
        raise ServerWishError("a server takes one tenant at least, over one connection at least")
    checked_labels(server.labels)
    return server


def join(session: Session, workflows: Workflows, server: Server, actor: str) -> str | None:
    """Enter a server on the roll and have it made ready; the workflow's id, None when it is ready already.

    One that was begun is gone on with, with what is told now. ServerTakenError when it would be another's.
    """
    servers.all_servers(session, lock=True)
    _refuse_taken(session, checked(server))
    row = session.get(ServerRow, server.name, with_for_update=True)
    if row is not None and row.status != ServerStatus.ADDING:
        return None
    servers.register(session, server)
    session.flush()
    row = servers.server_row(session, server.name)
    session.refresh(row)
    row.labels, row.failure = checked_labels(server.labels), None
    audit.record(
        session,
        actor,
        "server.add",
        server.name,
        provider=server.provider,
        address=f"{server.host}:{server.port}",
        models=[str(model) for model in server.models],
    )
    return workflow_records.start(
        session, workflows, ADD_SERVER, warm.subject_of(server.name), actor, server=server.name
    )


def leave(session: Session, workflows: Workflows, name: str, actor: str) -> str:
    """Have all that the platform has on a server dropped, and the server struck off the roll; the workflow's id.

    ServerInUseError, naming them, while tenants live there. Repeating it goes on with what was begun.
    """
    servers.all_servers(session, lock=True)
    check_may_leave(session, name)
    row = servers.server_row(session, name)
    if row.status != ServerStatus.LOST:
        row.status = str(ServerStatus.REMOVING)
    row.warm, row.failure = 0, None
    audit.record(session, actor, "server.remove", name)
    return workflow_records.start(session, workflows, REMOVE_SERVER, warm.subject_of(name), actor, server=name)


def check_may_leave(session: Session, name: str) -> None:
    """NotFoundError, or ServerInUseError with who lives there and what to do."""
    if servers.server_named(session, name).provider == LOCAL:
        raise ServerInUseError(f"{name} is a part of this platform's own machine, and made again by every start")
    query = (
        select(TenantRow.slug)
        .join(HomeRow, HomeRow.tenant_id == TenantRow.id)
        .join(DatabaseRow, DatabaseRow.id == HomeRow.database_id)
        .where(DatabaseRow.server == name, HomeRow.state != "left")
        .order_by(TenantRow.slug)
    )
    living = session.scalars(query.limit(NAMED_MAX + 1)).all()
    if living:
        more = ", …" if len(living) > NAMED_MAX else ""
        raise ServerInUseError(
            f"{name} holds tenants: {', '.join(living[:NAMED_MAX])}{more}; first `copyhold server drain {name}`, "
            "so that none comes, then move or close those",
            server=name,
        )


def _refuse_taken(session: Session, server: Server) -> None:
    for other in servers.all_servers(session):
        there = (other.host, other.port) == (server.host, server.port)
        if other.name != server.name and there:
            raise ServerTakenError(f"the server at {server.host} port {server.port} is on the roll as {other.name}")
        if other.name == server.name:
            _refuse_another(other, server, there=there)


def _refuse_another(known: Server, server: Server, *, there: bool) -> None:
    if known.status is ServerStatus.REMOVING:
        raise ServerTakenError(f"{known.name} is being removed: `copyhold server remove {known.name}` goes on with it")
    if known.status is not ServerStatus.ADDING and not (there and known.provider == server.provider):
        raise ServerTakenError(f"there is another server {known.name}, at {known.host} port {known.port}")
