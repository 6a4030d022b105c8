"""Positions: the places of a request that say which row is meant, and what stands there for whom.

A position tells its value for the things of any tenant, and of nobody: `nobodys` are ids next to somebody's that no row
has. What is answered for somebody else's thing has to be what is answered for nobody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import UUID

from control_plane.domain.ids import new_id
from control_plane.routing.credentials import SignedClaim, Signer
from tenant_app import cursor

TICKET_LIFE_S = 300


@dataclass(frozen=True, kw_only=True)
class Things:
    """One of each thing that a request can name, all of one tenant and made for one user of it."""

    tenant: UUID
    tickets: Signer
    holder: UUID
    """The user for whom they were made: the author of the message."""
    conversation: UUID
    message: UUID
    user: UUID
    """A person who may be changed and disabled."""
    user_email: str
    session: UUID
    """Of the holder when they are a person, else of `user`."""
    session_of: UUID
    login: str
    """E-mail address of somebody with a password."""
    new_email: str
    """One that nobody in this tenant has."""

    @property
    def ids(self) -> tuple[str, ...]:
        """What must not be seen by others."""
        return tuple(map(str, (self.holder, self.conversation, self.message, self.user, self.session)))

    def nobodys(self) -> Things:
        """The same with names that nothing has: next to the real ones, so that a list starts at the same place."""
        return replace(
            self,
            tenant=_next(self.tenant),
            holder=_next(self.holder),
            conversation=_next(self.conversation),
            message=_next(self.message),
            user=_next(self.user),
            user_email=f"no-{self.user_email}",
            session=_next(self.session),
            session_of=_next(self.session_of),
            login=f"no-{self.login}",
            new_email=f"no-{self.new_email}",
        )


class Position:
    """Somewhere in a request where something is named."""

    refusals: ClassVar[frozenset[int]] = frozenset({404})
    """How a thing of another tenant may be refused here; empty when naming it is no offence."""
    harmless: ClassVar[frozenset[int]] = frozenset()
    """Answers without a refusal that are right because they show nothing of the other tenant."""
    optional: ClassVar[bool] = False
    can_be_dressed: ClassVar[bool] = False

    def of(self, things: Things) -> str:
        """What stands here in a request about those things by one who may make it."""
        raise NotImplementedError

    def foreign(self, theirs: Things) -> str:
        """What stands here when somebody else tries it with their things."""
        return self.of(theirs)

    def dressed(self, theirs: Things, mine: Things) -> str:
        """Their thing made up as mine, as one could make it who knew more than they should."""
        raise NotImplementedError


@dataclass(frozen=True)
class Id(Position):
    """An id of a row."""

    what: str

    def of(self, things: Things) -> str:
        return str(getattr(things, self.what))


@dataclass(frozen=True)
class Cursor(Position):
    """Where a page starts: any row's id will do, and it shows nothing but the caller's own rows."""

    after: str
    listed: Callable[[Things], str]
    refusals: ClassVar[frozenset[int]] = frozenset({422})
    harmless: ClassVar[frozenset[int]] = frozenset({200})
    optional: ClassVar[bool] = True
    can_be_dressed: ClassVar[bool] = True

    def of(self, things: Things) -> str:
        return cursor.written(getattr(things, self.after), self.listed(things))

    def dressed(self, theirs: Things, mine: Things) -> str:
        return cursor.written(getattr(theirs, self.after), self.listed(mine))


@dataclass(frozen=True)
class Ticket(Position):
    """A ticket names a user and a tenant."""

    refusals: ClassVar[frozenset[int]] = frozenset({401})
    can_be_dressed: ClassVar[bool] = True

    def of(self, things: Things) -> str:
        return _ticket(things, things.user)

    def dressed(self, theirs: Things, mine: Things) -> str:
        return _ticket(mine, theirs.user)


@dataclass(frozen=True)
class Login(Position):
    """Whose password is shown."""

    refusals: ClassVar[frozenset[int]] = frozenset({401})

    def of(self, things: Things) -> str:
        return things.login


@dataclass(frozen=True)
class NewAddress(Position):
    """An address for a new user. That another tenant has such a user must not be noticed."""

    refusals: ClassVar[frozenset[int]] = frozenset()
    harmless: ClassVar[frozenset[int]] = frozenset({201})

    def of(self, things: Things) -> str:
        return things.new_email

    def foreign(self, theirs: Things) -> str:
        return theirs.user_email


def _next(known: UUID) -> UUID:
    return UUID(int=known.int + 1)


def _ticket(things: Things, user: UUID) -> str:
    expires = int(time.time()) + TICKET_LIFE_S
    return things.tickets.sign(SignedClaim(tenant_id=things.tenant, subject=user, nonce=new_id(), expires=expires))
