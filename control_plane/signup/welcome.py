"""What a newcomer is handed: a ticket into the new tenant's app, and a link that tells how far the making is.

The link yields tickets for as long as it lives, so whoever holds it is let in as the owner: it is signed, and lives
no longer than a newcomer can be expected to wait.
"""

from __future__ import annotations

import time
from uuid import UUID

from control_plane.domain.errors import Kind, UnauthenticatedError
from control_plane.domain.ids import new_id
from control_plane.keyring import Keyring
from control_plane.routing.credentials import SignedClaim, Signer, ticket_signer
from control_plane.settings import Limits

STATUS_LIFE_S = 3600


class StatusLinkError(UnauthenticatedError):
    """That link is not valid (any more); sign in at your tenant's own address."""

    kind = Kind.NOT_FOUND
    code = "signup_unknown"


class Welcome:
    """Makes and reads what newcomers are handed."""

    def __init__(self, keyring: Keyring, limits: Limits) -> None:
        self._tickets = ticket_signer(keyring)
        self._links = Signer(keyring, "signup/status", StatusLinkError)
        self._ticket_life_s = limits.ticket_life_s

    def ticket(self, tenant_id: UUID, owner_id: UUID) -> str:
        """Lets the owner in once, within seconds."""
        return self._tickets.sign(_claim(tenant_id, owner_id, self._ticket_life_s))

    def status_token(self, tenant_id: UUID, owner_id: UUID) -> str:
        """The part of the status link that nobody can guess."""
        return self._links.sign(_claim(tenant_id, owner_id, STATUS_LIFE_S))

    def read_status(self, token: str) -> SignedClaim:
        """Whose status link that is; StatusLinkError when it is forged or past its time."""
        return self._links.read(token)


def _claim(tenant_id: UUID, owner_id: UUID, life_s: int) -> SignedClaim:
    return SignedClaim(tenant_id=tenant_id, subject=owner_id, nonce=new_id(), expires=int(time.time()) + life_s)
