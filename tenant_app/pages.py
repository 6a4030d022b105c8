"""Pages of lists: how a caller asks for one, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from fastapi import Depends, Query
from pydantic import BaseModel

from control_plane.routing.scope import TenantScoped
from tenant_app import cursor

PAGE_ROWS = 50
PAGE_ROWS_MAX = 100

Row = TypeVar("Row", bound=TenantScoped)
Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """Some items of a list, and the cursor to ask for the ones after them; no cursor at the end."""

    items: list[Item]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which part of a list is wanted."""

    limit: int
    after: str | None = None

    def start(self, of: str) -> UUID | None:
        """The id after which the page starts, or None for the beginning; CursorError for a cursor of another list."""
        return None if self.after is None else cursor.read(self.after, of)

    def page(self, rows: Sequence[Row], of: str, shown: Callable[[Row], Item]) -> Page[Item]:
        """The page made of `rows`, which were read with a limit of one more than a page holds."""
        items = rows[: self.limit]
        more = len(rows) > self.limit
        return Page(items=[shown(row) for row in items], next=cursor.written(items[-1].id, of) if more else None)


async def _paging(
    limit: Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)] = PAGE_ROWS,
    after: Annotated[str | None, Query(description="The `next` of the page before.", max_length=200)] = None,
) -> Paging:
    return Paging(limit=limit, after=after)


ThePaging = Annotated[Paging, Depends(_paging)]
