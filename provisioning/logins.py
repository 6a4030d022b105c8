"""Passwords of the apps' logins, where servers ask for them. Every function may be repeated."""

from __future__ import annotations

import secrets
from uuid import UUID

from control_plane.domain import names
from control_plane.domain.server import Server
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GONE
from control_plane.registry.tables import DatabaseRow
from provisioning.estate import Estate
from provisioning.roles import ensure_login, set_password

PASSWORD_BYTES = 32


def new_password() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def give_password(estate: Estate, server: Server, database_id: UUID) -> None:
    """Have the app's login of a database on a server reached by TCP log in by the password that the roll has of it.

    On the roll first: what the server has is then never what nobody knows. By a socket nobody needs one.
    """
    if not server.by_tcp:
        return
    store = estate.secrets
    with transaction(estate.engine) as session:
        row = servers.database(session, database_id, lock=True)
        if row.sealed_password is None:
            row.sealed_password = store.keep(new_password(), database_id)
        password = store.open(row.sealed_password, database_id)
    _set(estate, server, row.name, row.login, password)


def give_passwords(estate: Estate, server: Server, database_id: UUID) -> None:
    """Give every login of the database its own anew: one that was made again has none."""
    give_password(estate, server, database_id)
    with transaction(estate.engine) as session:
        row = servers.database(session, database_id)
    if row.next_sealed_password is not None:
        give_next_password(estate, server, database_id, names.other_login(row.name, row.login))


def give_next_password(estate: Estate, server: Server, database_id: UUID, login: str) -> None:
    """The same for the login that is to take the place of the one that is used; it is made, if it is not there."""
    store = estate.secrets
    with transaction(estate.engine) as session:
        row = servers.database(session, database_id, lock=True)
        if row.next_sealed_password is None:
            row.next_sealed_password = store.keep(new_password(), database_id)
        password = store.open(row.next_sealed_password, database_id)
    _set(estate, server, row.name, login, password)


def bury(estate: Estate, row: DatabaseRow) -> None:
    """Put on the roll that a database is gone, its logins with it: their passwords go from where they are kept.

    Works inside the caller's transaction and leaves committing to it. AwsStoreError when the store does not answer.
    """
    for kept in (row.sealed_password, row.next_sealed_password):
        if kept is not None:
            estate.secrets.forget(kept)
    row.state, row.next_login = GONE, None  # runs over the fleet name it
    row.sealed_password = row.next_sealed_password = None


def _set(estate: Estate, server: Server, database: str, login: str, password: str) -> None:
    with estate.builder(server).admin() as admin:
        ensure_login(admin, login, database=database)
        set_password(admin, login, password)
