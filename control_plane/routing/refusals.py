"""Why the road may refuse: typed errors, and the one seam where a database's error becomes one of ours."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError

from control_plane.domain.errors import ConflictError, CopyholdError, InvalidError, Kind, UnavailableError


class SuspendedError(CopyholdError):
    """This tenant is suspended."""

    kind = Kind.REFUSED
    code = "tenant_suspended"


class ClosedError(CopyholdError):
    """This tenant has been closed."""

    kind = Kind.REFUSED
    code = "tenant_closed"


class NotReadyError(UnavailableError):
    """This tenant is still being set up."""

    code = "tenant_not_ready"


class MovedError(UnavailableError):
    """This tenant has just moved; try again."""

    code = "tenant_moved"
    retry_after_s = 1


class FrozenError(UnavailableError):
    """This tenant is being moved; try again in a moment."""

    code = "tenant_frozen"


class IncompatibleError(UnavailableError):
    """This tenant's home is at a revision that this version of the app does not work with."""

    code = "home_incompatible"
    retry_after_s = 30


class UnsafeHomeError(UnavailableError):
    """This tenant's home does not keep tenants apart as it must; it is not served."""

    code = "home_unsafe"
    retry_after_s = 60


class HomeDownError(UnavailableError):
    """This tenant's home does not answer."""

    code = "home_down"


class BusyError(UnavailableError):
    """Too many requests are waiting for a connection."""

    code = "busy"


class TooSlowError(UnavailableError):
    """The database took too long over this request and it was stopped; nothing was changed."""

    code = "too_slow"


class BrokenTransactionError(CopyholdError):
    """This request's transaction had failed or ended before it was to be committed; nothing may have been kept."""

    code = "transaction_broken"


class ContextError(CopyholdError):
    """The database did not accept this request's context."""

    code = "context_refused"


class ContextExpiredError(UnavailableError):
    """The request waited too long before it reached the database."""

    code = "context_expired"


_BY_SQLSTATE: dict[str, type[CopyholdError]] = {
    # Raised by tenancy.enter and tenancy.current_tenant; migrations/home defines them.
    "CH001": ContextError,
    "CH002": ContextExpiredError,
    "CH003": MovedError,
    "CH004": FrozenError,
    "CH005": SuspendedError,
    "CH006": ClosedError,
    "CH007": MovedError,
    "CH008": ContextError,
    "CH009": NotReadyError,
    "23505": ConflictError,
    "23503": InvalidError,
    "23514": InvalidError,
    "23502": InvalidError,
    "22P05": InvalidError,
    "22021": InvalidError,
    "57014": TooSlowError,
    "25P03": TooSlowError,
    "55P03": TooSlowError,
    "40001": BusyError,
    "40P01": BusyError,
    "53300": BusyError,
    "57P01": HomeDownError,
    "57P02": HomeDownError,
    "57P03": HomeDownError,
    "3D000": HomeDownError,
    "28000": HomeDownError,
    "28P01": HomeDownError,
    "53100": HomeDownError,
    "25006": HomeDownError,
}


def translated(error: BaseException) -> CopyholdError | None:
    """Our error for a driver's error, or None when it is a defect of ours that nobody can act on.

    Never carries the database's text: DETAIL holds values of rows.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(original, psycopg.Error):
        return None
    known = _BY_SQLSTATE.get(original.sqlstate or "")
    if known is not None:
        return known(sqlstate=original.sqlstate)
    if original.sqlstate is None and isinstance(original, psycopg.OperationalError | psycopg.InterfaceError):
        # The connection is gone, or PgBouncer refused it: its own errors carry SQLSTATE 08P01 or none.
        return HomeDownError()
    if (original.sqlstate or "").startswith("08"):
        return HomeDownError(sqlstate=original.sqlstate)
    return None
