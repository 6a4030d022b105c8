"""A copy under freeze, for tenants of servers that can send no stream: nobody writes until the switch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

import psycopg

from control_plane.domain.errors import ConflictError, UnavailableError
from control_plane.registry import moves
from control_plane.registry.moves import Held
from provisioning.moves.copying import Tell, copy_rows
from provisioning.moves.errors import at_source
from provisioning.moves.listening import Listening
from provisioning.moves.places import freeze_view
from provisioning.moves.switching import Bringing
from provisioning.moves.tables import Table


class BrokenOffError(ConflictError):
    """The copy under freeze was broken off, and is not begun again unasked: the tenant has waited once."""

    code = "move_broken_off"


def under_freeze(
    schemas: tuple[str, str], tables: Sequence[Table], tenant_id: UUID, *, tell: Tell, check: Callable[[], None]
) -> Bringing:
    """All of the tenant's rows, from the first of the schemas into the second; `tell` and `check` may raise."""

    def copy(old: Listening, new: Listening) -> None:
        with at_source(old):
            freeze_view(old)
        try:
            copy_rows(old, new, schemas, tables, tenant_id, tell=tell)
        finally:
            with suppress(psycopg.Error):
                old.rollback()

    return Bringing(get_close=lambda _: check(), meanwhile=time.sleep, bring_rest=copy)


@contextmanager
def tried_once(held: Held, move_id: UUID) -> Iterator[None]:
    """Have an error after which the step would be done again be BrokenOffError, unless the tenant has been switched."""
    try:
        yield
    except UnavailableError as error:
        with held.transaction() as session:
            if moves.has_passed(moves.get(session, move_id)):
                raise
        raise BrokenOffError(f"{BrokenOffError().message[:-1]} ({error.message})") from error
