"""What every provider of servers promises, and the address it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from psycopg.conninfo import make_conninfo

from control_plane.domain.errors import SetupError


class ProviderError(SetupError):
    """A server could not be made or run."""

    code = "provider"


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server listens. A host that begins with a slash is the folder of its unix socket."""

    host: str
    port: int

    def dsn(self, *, database: str, user: str) -> str:
        """A libpq connection string without a password, quoted as libpq wants it."""
        return make_conninfo(host=self.host, port=self.port, dbname=database, user=user)


class Provider(Protocol):
    """Brings servers into being. Every method may be repeated: what is done already is left alone.

    Each raises ProviderError with one line that tells a person what to do, for a name that it was not told of as well.
    """

    @property
    def ours(self) -> bool:
        """Whether its servers are this platform's to start, stop and delete. Where not, `stop` and `destroy` leave them
        be, and `start` waits for whoever runs them.
        """

    def ensure(self, name: str) -> ServerAddress:
        """Make the server if it does not exist, bring its configuration up to date, and say where it will listen.

        The server need not run afterwards. A creation that was cut short leaves nothing that a later call trusts.
        """

    def start(self, name: str) -> None:
        """Return once the server accepts connections."""

    def stop(self, name: str) -> None:
        """Return once the server has ended cleanly; open sessions are closed."""

    def destroy(self, name: str) -> None:
        """Stop the server and delete all of its data."""
