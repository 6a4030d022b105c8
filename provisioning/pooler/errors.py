"""What can be wrong with the pooler."""

from __future__ import annotations

from control_plane.domain.errors import CopyholdError, UnavailableError


class PoolerDownError(UnavailableError):
    """The pooler does not answer."""

    code = "pooler_down"


class PoolerRefusedError(CopyholdError):
    """The pooler did not take its new configuration."""

    code = "pooler_refused"
