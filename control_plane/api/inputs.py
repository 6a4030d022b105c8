"""What callers of the control plane send: closed bodies, names and ids in paths, pages."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from control_plane.domain.ids import parse_id

PAGE_ROWS = 50
PAGE_ROWS_MAX = 200


class Input(BaseModel):
    """A body: what it does not declare is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """An answer made from a value: what it does not declare is never shown."""

    model_config = ConfigDict(from_attributes=True)


def _id(written: str) -> UUID:
    row_id = parse_id(written)
    if row_id is None:
        raise ValueError("not an id")
    return row_id


# What cannot be a name or id names nothing: it is answered 404 like an unknown one (see errors.py).
TenantRef = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,64}$", description="A tenant's slug or id.")]
ServerName = Annotated[str, Path(pattern=r"^[0-9A-Za-z_.-]{1,63}$", description="A server's name.")]
WorkflowRef = Annotated[str, Path(pattern=r"^[!-~]{1,200}$", description="A workflow's id, slashes included.")]
PathId = Annotated[UUID, BeforeValidator(_id)]

After = Annotated[UUID | None, Query(description="The `next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)]

AnyPassword = Annotated[str, Field(min_length=1, max_length=200)]
"""What somebody says is their password; only new ones have to be good ones."""


def _unescaped(name: str) -> str:
    if not name.isascii() or not name.isprintable():
        raise ValueError("only printable ASCII characters")
    return name


Name = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_unescaped)]
"""The name of a server or region in a body."""
