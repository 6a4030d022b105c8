"""Context tokens: what the road shows to `tenancy.enter` to be let into one tenant's rows for one transaction."""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import time
from uuid import UUID

from control_plane.domain.route import Home
from control_plane.keyring import Keyring

TOKEN = re.compile(r"[0-9a-f-]{36}\|[0-9]{1,18}\|[a-z]{5}\|[0-9]{1,12}\|[0-9a-f]{64}")
"""A token holds nothing that could end an SQL literal; `minted` holds itself to that."""


class Mode(enum.StrEnum):
    """What a token is for; the fence of a home that is not open yet lets only SETUP in."""

    SERVE = "serve"
    SETUP = "setup"


def minted(
    keyring: Keyring, home: Home, tenant_id: UUID, epoch: int, mode: Mode, life_s: int, *, master: str | None = None
) -> str:
    """A token for `tenant_id` at `epoch` in that home's database and no other, redeemable for `life_s` seconds.

    Signed by the current master key's, or by that of the one called `master`.
    """
    facts = f"{tenant_id}|{epoch}|{mode}|{int(time.time()) + life_s}"
    key = keyring.context_key(home.database_id, master)
    mac = hmac.digest(key, f"{facts}|{home.database}".encode(), hashlib.sha256).hex()
    token = f"{facts}|{mac}"
    if not TOKEN.fullmatch(token):
        raise ValueError("a context token of an impossible form")
    return token


def begin_message(token: str, schema: str, statement_timeout_s: float) -> str:
    """What opens a visit, as one simple query. Both texts are of forms that cannot end their literals."""
    if not TOKEN.fullmatch(token):
        raise ValueError("a token that cannot be written into a query")
    written = f"'{token}'"
    return f"{bounded_begin(statement_timeout_s)}; {_enter(schema, written)}"


def bound_begin(token: str, schema: str, statement_timeout_s: float) -> list[tuple[str, list[str]]]:
    """The same as statements with their values, for one pipeline. The token is in no text that a server shows.

    Dearer than `begin_message` by 0.1 to 0.4 ms, and so for homes in which others' statements may be seen.
    """
    begin, bounded = bounded_begin(statement_timeout_s).split("; ")
    return [(begin, []), (bounded, []), (_enter(schema, "%s"), [token])]


def _enter(schema: str, token: str) -> str:
    if not schema.replace("_", "").isalnum():
        raise ValueError("a schema that cannot be written into a query")
    return f"SELECT pg_catalog.set_config('search_path', '{schema}, pg_temp', true), tenancy.enter({token})"


def bounded_begin(statement_timeout_s: float) -> str:
    """The beginning of a transaction whose statements end by themselves."""
    # The time-out before all else: whatever the login's own says by now, it cannot keep anybody from entering.
    return f"BEGIN; SET LOCAL statement_timeout = {max(1, round(statement_timeout_s * 1000))}"
