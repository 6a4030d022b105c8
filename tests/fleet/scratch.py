"""One database that tests migrate and look into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from migrations.fleet.chains import Chain
from migrations.fleet.replay import bring_to

# Sessions other than the asking one that wait for a lock of a table, a row or an older transaction.
WAITING = """
SELECT pid, query_start FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """Reached as the migrator, who migrates it, and as the superuser, who looks."""

    dsn: str
    superuser_dsn: str

    def bring_to(self, chain: Chain, wanted: str) -> str | None:
        """Bring its public schema there."""
        return bring_to(self.dsn, chain, "public", wanted)

    def superuser(self) -> psycopg.Connection[Any]:
        """A connection in autocommit; use it as a context manager."""
        return psycopg.connect(self.superuser_dsn, autocommit=True, prepare_threshold=None)

    def ask(self, query: str) -> list[Any]:
        """The first column of what comes back."""
        with self.superuser() as connection:
            return [row[0] for row in connection.execute(query.encode())]

    def tell(self, statement: str) -> None:
        """Execute a statement as the superuser."""
        with self.superuser() as connection:
            connection.execute(statement.encode())

    @property
    def revision(self) -> str | None:
        """What its version table says."""
        if self.ask("SELECT to_regclass('alembic_version')") == [None]:
            return None
        return str(self.ask("SELECT version_num FROM alembic_version")[0])

    def tables(self) -> set[str]:
        """Its tables, without the version's."""
        return set(self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")) - {"alembic_version"}

    def waiting(self) -> set[tuple[int, object]]:
        """Who waits for a lock there, with the time at which the waiting statement began."""
        with self.superuser() as connection:
            return {(pid, began) for pid, began in connection.execute(WAITING)}
