"""What callers show: API keys, session cookies, tickets. All are checked before a home is touched."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from uuid import UUID

from control_plane.domain.errors import UnauthenticatedError
from control_plane.keyring import Keyring

COOKIE = "copyhold_session"
_KEY = re.compile(r"ch_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class KeyRefusedError(UnauthenticatedError):
    """That API key is not valid here."""

    code = "key_refused"


class SessionRefusedError(UnauthenticatedError):
    """That session is not valid; sign in again."""

    code = "session_refused"


class TicketRefusedError(UnauthenticatedError):
    """That ticket is not valid any more; sign in instead."""

    code = "ticket_refused"


def new_key(tenant_id: UUID) -> tuple[str, str]:
    """A new API key of a tenant and the SHA-256 (hex) of its secret, the only part that is kept."""
    secret = secrets.token_urlsafe(32)
    return f"ch_{tenant_id.hex}_{secret}", secret_hash(secret)


def secret_hash(secret: str) -> str:
    """SHA-256, hex: enough for a secret of 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse_key(text: str) -> tuple[UUID, str]:
    """The tenant that an API key names and the hash of its secret; KeyRefusedError when it is no key at all."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise KeyRefusedError
    return UUID(match[1]), secret_hash(match[2])


@dataclass(frozen=True, kw_only=True)
class SignedClaim:
    """What a cookie or ticket says: which tenant, which row (session or user), until when (Unix seconds)."""

    tenant_id: UUID
    subject: UUID
    nonce: UUID
    expires: int


class Signer:
    """Signs and reads the claims of one purpose; a claim of another purpose does not pass."""

    def __init__(self, keyring: Keyring, purpose: str, refused: type[UnauthenticatedError]) -> None:
        self._keyring, self._purpose, self._refused = keyring, purpose, refused

    def sign(self, claim: SignedClaim) -> str:
        """The claim as URL-safe text."""
        body = claim.tenant_id.bytes + claim.subject.bytes + claim.nonce.bytes + claim.expires.to_bytes(8)
        return base64.urlsafe_b64encode(body + self._keyring.mac(self._purpose, body)).decode().rstrip("=")

    def read(self, text: str) -> SignedClaim:
        """The claim inside `text`; the purpose's error when it is forged, truncated or past its time."""
        try:
            raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        except (ValueError, binascii.Error) as error:
            raise self._refused from error
        body, mac = raw[:-32], raw[-32:]
        if len(body) != 56 or not self._keyring.vouches(self._purpose, body, mac):
            raise self._refused
        claim = SignedClaim(
            tenant_id=UUID(bytes=body[:16]),
            subject=UUID(bytes=body[16:32]),
            nonce=UUID(bytes=body[32:48]),
            expires=int.from_bytes(body[48:56]),
        )
        if claim.expires <= time.time():
            raise self._refused
        return claim


def session_signer(keyring: Keyring) -> Signer:
    """Signs session cookies: subject is the session row, nonce is free."""
    return Signer(keyring, "cookie/session", SessionRefusedError)


def ticket_signer(keyring: Keyring) -> Signer:
    """Signs tickets: subject is the user, nonce makes the ticket good for one use (the app remembers it)."""
    return Signer(keyring, "ticket", TicketRefusedError)
