"""HTTP for servers that join the platform and leave it. What the worker finds out is told by the workflow."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr
from sqlalchemy.orm import Session

from control_plane.api.admin import workflow_work
from control_plane.api.admin.schemas import Labels, WorkflowOut
from control_plane.api.desk import AsAdmin, Desk
from control_plane.api.errors import problems
from control_plane.api.inputs import Input, Name, ServerName
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.doors import sealed
from control_plane.tenants import joining

router = APIRouter(prefix="/admin/servers", tags=["servers"])

CA_MAX = 100_000


class NewServer(Input):
    """A server that somebody else runs. Its administrator's password is kept sealed, and in no answer."""

    name: Name
    provider: Literal["existing"] = "existing"
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,252}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    admin: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,63}$", description="The login that makes databases there.")
    ]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000, description="The administrator's.")]
    ca: Annotated[
        str, Field(max_length=CA_MAX, description="Who signs its certificate, PEM; else whom we believe.")
    ] = ""
    region: Name = "local"
    models: Annotated[list[Model], Field(min_length=1)]
    capacity: Annotated[int, Field(ge=1, lt=2**31, description="How many tenants it takes.")] = 1000
    connections: Annotated[int | None, Field(ge=1, lt=2**31, description="For the pooler; else all but some.")] = None
    labels: Labels = []


@router.post("", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def add_server(body: NewServer, desk: AsAdmin, response: Response) -> WorkflowOut:
    """Begin to take in a server; the workflow tells how far it is, and what is missing there. Repeating goes on."""
    return _located(await desk.run(_add, body, desk), response)


@router.delete("/{name}", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def remove_server(name: ServerName, desk: AsAdmin, response: Response) -> WorkflowOut:
    """Begin to let go of a server on which no tenant lives: what the platform has there is dropped."""
    return _located(await desk.run(_remove, name, desk), response)


def _add(session: Session, body: NewServer, desk: Desk) -> WorkflowOut:
    server = Server(
        name=body.name,
        provider=body.provider,
        region=body.region,
        host=body.host,
        port=body.port,
        models=tuple(dict.fromkeys(body.models)),
        capacity=body.capacity,
        connections=body.connections or 0,
        status=ServerStatus.ADDING,
        labels=tuple(body.labels),
        admin=body.admin,
        ca=body.ca,
        sealed_passwords=sealed(desk.control.parts.keyring, body.name, {body.admin: body.password.get_secret_value()}),
    )
    workflow_id = joining.join(session, desk.workflows, server, desk.actor)
    if workflow_id is None:
        raise joining.ServerTakenError(f"{body.name} is on the roll already")
    session.flush()
    return workflow_work.details(session, workflow_id)


def _remove(session: Session, name: str, desk: Desk) -> WorkflowOut:
    workflow_id = joining.leave(session, desk.workflows, name, desk.actor)
    session.flush()
    return workflow_work.details(session, workflow_id)


def _located(workflow: WorkflowOut, response: Response) -> WorkflowOut:
    response.headers["Location"] = f"/admin/workflows/{workflow.id}"
    return workflow
