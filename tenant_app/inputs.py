"""What callers send: ids in paths, bodies; and what an answer shows of a row."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from control_plane.domain.ids import parse_id


class Input(BaseModel):
    """A body: what it does not declare is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Output(BaseModel):
    """An answer made from a row: what it does not declare is never shown."""

    model_config = ConfigDict(from_attributes=True)


def _id(written: str) -> UUID:
    row_id = parse_id(written)
    if row_id is None:
        raise ValueError("not an id")
    return row_id


PathId = Annotated[UUID, BeforeValidator(_id)]
"""An id in a path; what cannot be one is answered 404, like one that names nothing (see api/errors.py)."""

AnyPassword = Annotated[str, Field(min_length=1, max_length=200)]
"""What somebody says is their password; only new ones have to be good ones."""
