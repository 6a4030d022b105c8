"""The one family of errors: a kind says what sort of failure it is, the docstring is its default message."""

from __future__ import annotations

import enum
import inspect


class Kind(enum.Enum):
    """What sort of failure an error is; each room's way out (HTTP, CLI) maps kinds, never single errors."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    NOT_ENTITLED = "not_entitled"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    THROTTLED = "throttled"
    REFUSED = "refused"
    """The tenant exists and may not be served: suspended, closed."""
    UNAVAILABLE = "unavailable"
    """It may work when tried again later."""
    FAILED = "failed"


class CopyholdError(Exception):
    """Something went wrong."""

    kind: Kind = Kind.FAILED
    code: str = "failed"
    """Stable name of the error for programs; part of the public surface."""
    retry_after_s: float | None = None

    def __init__(self, message: str | None = None, **facts: object) -> None:
        self.message = message or inspect.cleandoc(self.__doc__ or "").partition("\n\n")[0]
        self.facts = facts
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class InvalidError(CopyholdError):
    """The input is not valid."""

    kind = Kind.INVALID
    code = "invalid"


class NotFoundError(CopyholdError):
    """There is nothing of that name or id here."""

    kind = Kind.NOT_FOUND
    code = "not_found"


class UnknownTenantError(NotFoundError):
    """There is no tenant here."""

    code = "tenant_unknown"


class ConflictError(CopyholdError):
    """This collides with something that exists."""

    kind = Kind.CONFLICT
    code = "conflict"


class UnauthenticatedError(CopyholdError):
    """Sign in, or send a valid key."""

    kind = Kind.UNAUTHENTICATED
    code = "unauthenticated"


class ForbiddenError(CopyholdError):
    """You may not do this."""

    kind = Kind.FORBIDDEN
    code = "forbidden"


class ThrottledError(CopyholdError):
    """Too many tries; wait a little."""

    kind = Kind.THROTTLED
    code = "throttled"
    retry_after_s = 30


class UnavailableError(CopyholdError):
    """This cannot be served right now; try again in a moment."""

    kind = Kind.UNAVAILABLE
    code = "unavailable"
    retry_after_s = 2


class SetupError(CopyholdError):
    """The platform is not set up as it must be."""

    kind = Kind.FAILED
    code = "setup"


class UsageError(CopyholdError):
    """The command was not used as it is meant to be."""

    kind = Kind.INVALID
    code = "usage"
