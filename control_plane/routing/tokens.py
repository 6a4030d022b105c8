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


def minted(keyring: Keyring, home: Home, tenant_id: UUID, epoch: int, mode: Mode, life_s: int) -> str:
    """A token for `tenant_id` at `epoch` in that home's database and no other, redeemable for `life_s` seconds."""
    facts = f"{tenant_id}|{epoch}|{mode}|{int(time.time()) + life_s}"
    key = keyring.context_key(home.database_id)
    mac = hmac.digest(key, f"{facts}|{home.database}".encode(), hashlib.sha256).hex()
    token = f"{facts}|{mac}"
    if not TOKEN.fullmatch(token):
        raise ValueError("a context token of an impossible form")
    return token
