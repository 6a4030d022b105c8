"""Putting one master key in another's place: every home's signing key and every sealed secret, while requests go on.

It may be repeated, and killed anywhere: what is under the current key already is left alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, UnavailableError
from control_plane.keyring import Keyring
from control_plane.registry import processes, servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GOING
from control_plane.registry.tables import DatabaseRow, ProcessRow, ServerRow
from control_plane.stores.secrets import PREFIX
from provisioning.databases import Builder, context_pads
from provisioning.estate import Estate

FOLLOW_S = 30.0
"""Processes look every few seconds."""
POLL_S = 0.2

Tell = Callable[[str], None]


class KeyNotFollowedError(UnavailableError):
    """A process does not have the master key that it should."""

    code = "master_key_not_followed"


class KeyStillUsedError(ConflictError):
    """Something is still under a master key that is to be forgotten."""

    code = "master_key_in_use"


@dataclass(frozen=True, kw_only=True)
class Rekeyed:
    """What was done: how many homes were given another signing key, and how many secrets sealed anew."""

    homes: int
    secrets: int


def rekey(estate: Estate, actor: str, tell: Tell = lambda _: None) -> Rekeyed:
    """Have everything under the current master key. Nobody notices, and whatever the one before signed is still good.

    KeyNotFollowedError, before anything is changed, when a living process does not have the current key.
    """
    current = estate.keyring.ids[0]
    _await(estate, lambda session: processes.without_key(session, current), "does not have the new master key")
    homes = 0
    for row in _homes(estate):
        if _digest_there(estate, row) != digest(estate.keyring, row):
            _builder(estate, row).install_key(row.name, estate.keyring.context_key(row.id))
            homes += 1
            tell(row.name)
    with transaction(estate.engine) as session:
        sealed = sum(_seal_anew(estate.keyring, row) for row in _holders(session))
        audit.record(session, actor, "master_key.rotate", current, homes=homes, secrets=sealed)
    return Rekeyed(homes=homes, secrets=sealed)


def refuse_to_forget(estate: Estate) -> None:
    """KeyStillUsedError, naming it, while a home or a secret is not under the current master key."""
    for row in _homes(estate):
        if _digest_there(estate, row) != digest(estate.keyring, row):
            raise KeyStillUsedError(f"{row.name} has a signing key of another master key: rotate first")
    with transaction(estate.engine) as session:
        if any(_old_ones(estate.keyring, row) for row in _holders(session)):
            raise KeyStillUsedError("a password is still sealed under another master key: rotate first")


def await_forgotten(estate: Estate) -> None:
    """Return once no living process has another master key than the current one; KeyNotFollowedError naming who has."""
    current = estate.keyring.ids[0]
    _await(estate, lambda session: processes.with_other_keys(session, current), "still has another master key")


def digest(keyring: Keyring, row: DatabaseRow, master: str | None = None) -> str:
    """Of the signing key that a database is to have; it tells nothing of the key."""
    return hashlib.sha256(b"".join(context_pads(keyring.context_key(row.id, master)))).hexdigest()


def _homes(estate: Estate) -> list[DatabaseRow]:
    with transaction(estate.engine) as session:
        found = servers.all_databases(session)
    return [row for row in found if row.home_revision is not None and row.state != GOING]


def _digest_there(estate: Estate, row: DatabaseRow) -> str | None:
    with _builder(estate, row).admin(row.name) as admin:
        found = admin.execute("SELECT encode(sha256(inner_pad || outer_pad), 'hex') FROM tenancy.keys").fetchone()
    return str(found[0]) if found else None


def _await(estate: Estate, laggards: Callable[[Session], Sequence[ProcessRow]], what: str) -> None:
    deadline = time.monotonic() + FOLLOW_S
    while True:
        with transaction(estate.engine) as session:
            found = [f"{row.kind} {row.place}" for row in laggards(session)]
        if not found:
            return
        if time.monotonic() > deadline:
            raise KeyNotFollowedError(f"{', '.join(found)} {what}: start it anew with it")
        time.sleep(POLL_S)


def _holders(session: Session) -> list[DatabaseRow | ServerRow]:
    return [
        *session.scalars(select(DatabaseRow).with_for_update()),
        *session.scalars(select(ServerRow).with_for_update()),
    ]


def _columns(row: DatabaseRow | ServerRow) -> tuple[str, ...]:
    return ("sealed_passwords",) if isinstance(row, ServerRow) else ("sealed_password", "next_sealed_password")


def _old_ones(keyring: Keyring, row: DatabaseRow | ServerRow) -> dict[str, str]:
    """By column, what is sealed under another master key than the current one."""
    texts = {column: getattr(row, column) for column in _columns(row)}
    return {
        column: text
        for column, text in texts.items()
        if text is not None and not text.startswith(PREFIX) and not keyring.is_current(text)
    }


def _seal_anew(keyring: Keyring, row: DatabaseRow | ServerRow) -> int:
    owner = row.name if isinstance(row, ServerRow) else str(row.id)
    old = _old_ones(keyring, row)
    for column, text in old.items():
        setattr(row, column, keyring.seal(keyring.unseal(text, belongs_to=owner), belongs_to=owner))
    return len(old)


def _builder(estate: Estate, row: DatabaseRow) -> Builder:
    with transaction(estate.engine) as session:
        return estate.builder(servers.server_named(session, row.server))
