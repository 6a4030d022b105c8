"""Servers that join the platform and leave it: what is wished, recorded with the workflow that does it.

Each function works inside the caller's transaction and leaves committing to it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError
from control_plane.domain.rds import MASTER, PORT, RdsShape, instance_name
from control_plane.domain.server import Server, ServerStatus
from control_plane.doors import believing
from control_plane.registry import servers, warm, workflow_records
from control_plane.registry.tables import DatabaseRow, HomeRow, ServerRow, TenantRow
from control_plane.registry.workflows import ADD_SERVER, REMOVE_SERVER, Workflows
from control_plane.settings import Rds
from control_plane.tenants.labels import checked_labels

LOCAL = "local"
RDS = "rds"
ENDING = "ending"
"""In a server's settings: how it is to end, where its provider has made it."""
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
    if server.ca:
        _check_certificates(server.ca)
    checked_labels(server.labels)
    return server


def check_free(session: Session, server: Server) -> None:
    """ServerTakenError when there is another server of that name, or at that address; nothing is changed."""
    _refuse_taken(session, server)


def rds_server(settings: Rds, name: str, shape: Mapping[str, Any], ca: str, **wish: Any) -> Server:
    """A server that is to be made as an RDS instance of that shape (JSON); where it is, AWS will tell.

    `wish` is what every server has besides. InvalidError says what is wrong with the shape; ServerWishError what is
    missing in the settings.
    """
    RdsShape.of(shape)
    if not settings.platform:
        raise ServerWishError("give this platform a name of its own in AWS, once for all: COPYHOLD_RDS__PLATFORM")
    if not ca and settings.ca_file is None:
        raise ServerWishError(
            "give the certificates of AWS's authorities for RDS (its global bundle): --ca or COPYHOLD_RDS__CA_FILE"
        )
    return checked(
        Server(
            name=name,
            provider=RDS,
            host=instance_name(settings.platform, name),
            port=PORT,
            status=ServerStatus.ADDING,
            admin=MASTER,
            ca=ca or _text_of(settings.ca_file),
            rds={"platform": settings.platform, "shape": dict(shape)},
            **wish,
        )
    )


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


def leave(
    session: Session, workflows: Workflows, name: str, actor: str, *, confirm: str | None = None, snapshot: bool = True
) -> str:
    """Have all that the platform has on a server dropped, and the server struck off the roll; the workflow's id.

    ServerInUseError, naming them, while tenants live there. Repeating it goes on with what was begun. `confirm` and
    `snapshot` are for an instance that its provider ends: its name where it is protected, and whether a last snapshot
    is left.
    """
    servers.all_servers(session, lock=True)
    check_may_leave(session, name)
    row = servers.server_row(session, name)
    if row.status != ServerStatus.LOST:
        row.status = str(ServerStatus.REMOVING)
    row.warm, row.failure = 0, None
    if row.provider == RDS:
        row.settings = {**row.settings, ENDING: {"confirm": confirm, "final_snapshot": snapshot}}
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
            "which moves them away, or close them",
            server=name,
        )


def _check_certificates(pem: str) -> None:
    try:
        believing(pem)
    except ssl.SSLError as error:
        raise ServerWishError("what was given as certificates (the CA) holds none: give them as PEM") from error


def _text_of(file: Path | None) -> str:
    assert file is not None
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ServerWishError(f"COPYHOLD_RDS__CA_FILE: {file} cannot be read") from error


def _same_place(other: Server, server: Server) -> bool:
    """Of an instance the address is AWS's to tell, and its name ours."""
    if other.provider == server.provider == RDS:
        return other.name == server.name
    return (other.host, other.port) == (server.host, server.port)


def _refuse_taken(session: Session, server: Server) -> None:
    for other in servers.all_servers(session):
        there = _same_place(other, server)
        if other.name != server.name and there:
            raise ServerTakenError(f"the server at {server.host} port {server.port} is on the roll as {other.name}")
        if other.name == server.name:
            _refuse_another(other, server, there=there)


def _refuse_another(known: Server, server: Server, *, there: bool) -> None:
    if known.status is ServerStatus.REMOVING:
        raise ServerTakenError(f"{known.name} is being removed: `copyhold server remove {known.name}` goes on with it")
    if known.status is not ServerStatus.ADDING and not (there and known.provider == server.provider):
        raise ServerTakenError(f"there is another server {known.name}, at {known.host} port {known.port}")
