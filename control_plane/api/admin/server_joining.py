"""HTTP for servers that join the platform and leave it. What the worker finds out is told by the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Discriminator, Field, SecretStr, Tag
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

CA_MAX = 200_000
Confirm = Annotated[
    str | None, Query(max_length=100, description="Of RDS: the instance's name, to end it though it is protected.")
]
Snapshot = Annotated[bool, Query(description="Of RDS: whether a last snapshot of it is left.")]


class NewOne(Input):
    """What is said of any server that is to take tenants."""

    name: Name
    ca: Annotated[str, Field(max_length=CA_MAX, description="Who signs its certificate, PEM; else what is usual.")] = ""
    region: Name = "local"
    models: Annotated[list[Model], Field(min_length=1)]
    capacity: Annotated[int, Field(ge=1, lt=2**31, description="How many tenants it takes.")] = 1000
    connections: Annotated[int | None, Field(ge=1, lt=2**31, description="For the pooler; else all but some.")] = None
    labels: Labels = []
    accept_open_catalogue: Annotated[
        bool, Field(description="Pools and bridges too though nobody has closed PostgreSQL's own catalogue there.")
    ] = False

    @property
    def wish(self) -> dict[str, Any]:
        """The same as a server has it, its name and certificates left out."""
        return {
            "region": self.region,
            "models": tuple(dict.fromkeys(self.models)),
            "capacity": self.capacity,
            "connections": self.connections or 0,
            "labels": tuple(self.labels),
            "accepts_open_catalogue": self.accept_open_catalogue,
        }


class NewInstance(NewOne):
    """A server that is to be made on Amazon RDS. Without a `ca` it is the one of the settings."""

    provider: Literal["rds"]
    shape: Annotated[dict[str, Any], Field(description="The fields of an RDS instance.", max_length=20)]


class NewServer(NewOne):
    """A server that somebody else runs. Its administrator's password is kept sealed, and in no answer."""

    provider: Literal["existing"] = "existing"
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:._-]{0,252}$")]
    port: Annotated[int, Field(ge=1, le=65535)] = 5432
    admin: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,63}$", description="The login that makes databases there.")
    ]
    password: Annotated[SecretStr, Field(min_length=1, max_length=1000, description="The administrator's.")]


def _provider(body: Any) -> str:
    found = body.get("provider") if isinstance(body, Mapping) else getattr(body, "provider", None)
    return "rds" if found == "rds" else "existing"


New = Annotated[Annotated[NewServer, Tag("existing")] | Annotated[NewInstance, Tag("rds")], Discriminator(_provider)]


@router.post("", status_code=202, responses=problems(401, 403, 409, 413, 422, 503))
async def add_server(body: New, desk: AsAdmin, response: Response) -> WorkflowOut:
    """Begin to take in a server; the workflow tells how far it is, and what is missing there. Repeating goes on."""
    return _located(await desk.run(_add, body, desk), response)


@router.delete("/{name}", status_code=202, responses=problems(401, 403, 404, 409, 503))
async def remove_server(
    name: ServerName, desk: AsAdmin, response: Response, confirm: Confirm = None, snapshot: Snapshot = True
) -> WorkflowOut:
    """Begin to let go of a server on which no tenant lives: what the platform has there is dropped."""
    return _located(await desk.run(_remove, name, desk, confirm, snapshot=snapshot), response)


def _add(session: Session, body: NewServer | NewInstance, desk: Desk) -> WorkflowOut:
    server = _of_rds(body, desk) if isinstance(body, NewInstance) else _of_others(body, desk)
    workflow_id = joining.join(session, desk.workflows, server, desk.actor)
    if workflow_id is None:
        raise joining.ServerTakenError(f"{body.name} is on the roll already")
    session.flush()
    return workflow_work.details(session, workflow_id)


def _of_others(body: NewServer, desk: Desk) -> Server:
    return Server(
        name=body.name,
        provider=body.provider,
        host=body.host,
        port=body.port,
        status=ServerStatus.ADDING,
        admin=body.admin,
        ca=body.ca,
        sealed_passwords=sealed(desk.control.parts.keyring, body.name, {body.admin: body.password.get_secret_value()}),
        **body.wish,
    )


def _of_rds(body: NewInstance, desk: Desk) -> Server:
    return joining.rds_server(desk.control.parts.settings.rds, body.name, body.shape, body.ca, **body.wish)


def _remove(session: Session, name: str, desk: Desk, confirm: str | None, *, snapshot: bool) -> WorkflowOut:
    workflow_id = joining.leave(session, desk.workflows, name, desk.actor, confirm=confirm, snapshot=snapshot)
    session.flush()
    return workflow_work.details(session, workflow_id)


def _located(workflow: WorkflowOut, response: Response) -> WorkflowOut:
    response.headers["Location"] = f"/admin/workflows/{workflow.id}"
    return workflow
