"""A whole fleet under test: tenants in all models on a running platform, put back one revision before each test."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from sqlalchemy import text

from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry import fleet, servers
from control_plane.registry.engine import transaction
from migrations.fleet.crew import Outcome
from migrations.fleet.events import Event, Hands, Report
from migrations.fleet.health import WAITING_S
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Wishes
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

Place = tuple[str, str]
"""A target's database and schema."""
BEHIND, NEWEST = "0001", "0002"
WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = 'copyhold_migrator' AND wait_event_type = 'Lock'
"""


@dataclass(frozen=True, kw_only=True)
class FleetUnderTest:
    """One platform and its tenants; tests may make more of them."""

    platform: PlatformUnderTest
    tenants: tuple[TenantUnderTest, ...]

    @classmethod
    def settle(cls, platform: PlatformUnderTest, **numbers: int) -> FleetUnderTest:
        """So many tenants of each model."""
        models = [Model(name) for name, number in numbers.items() for _ in range(number)]
        return cls(platform=platform, tenants=tuple(platform.tenant(model) for model in models))

    def of(self, model: str) -> list[TenantUnderTest]:
        """Its tenants of that model."""
        return [tenant for tenant in self.tenants if tenant.model == model]

    @property
    def migration(self) -> FleetMigration:
        """What is under test."""
        return FleetMigration(self.platform.engine, self.platform.estate.chain, SOCKETS)

    def run(
        self,
        to: str = "head",
        on_outcome: Callable[[Outcome], None] = lambda _: None,
        stop: threading.Event | None = None,
        **wishes: Any,
    ) -> Report:
        """Migrate it, as the command does; all at once and whatever fails, unless wished otherwise."""
        wished = Wishes(**{"to": to, "waves": ("100%",), "max_failures": "100%", **wishes})
        return self.migration.run(wished, "tests", hands(on_outcome, stop))

    def resume(self, run_id: UUID, **options: Any) -> Report:
        """Go on with a run, as the command does."""
        return self.migration.resume(run_id, "tests", hands(), **options)

    def found(self) -> dict[Place, str]:
        """The revision of every target as its own version table has it."""
        revisions = {}
        for server, database, schema in self._places():
            with self.platform.superuser(server, database) as connection:
                query = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(schema, "alembic_version"))
                revisions[database, schema] = connection.execute(query).fetchone()[0]  # type: ignore[index]
        return revisions

    def ledger(self) -> dict[Place, str | None]:
        """The revision of every target as the roll has it."""
        with transaction(self.platform.engine) as session:
            return {(database.name, row.schema): row.revision for database, row in fleet.targets(session)}

    def homes(self) -> dict[str, str | None]:
        """The revision of every database's tenancy schema as the roll has it."""
        with transaction(self.platform.engine) as session:
            return {row.name: row.home_revision for row in servers.all_databases(session)}

    def wanted(self) -> fleet.Revisions:
        """What new homes are built at."""
        with transaction(self.platform.engine) as session:
            return fleet.wanted(session)

    def outcomes(self, run_id: UUID | None) -> dict[str, int]:
        """A run's targets counted by state, as the ledger has them."""
        query = text("SELECT state, count(*) FROM migration_targets WHERE run_id = :run GROUP BY state")
        with transaction(self.platform.engine) as session:
            return dict(session.execute(query, {"run": run_id}).all())  # type: ignore[arg-type]

    def tell_roll(self, statement: str, **values: object) -> None:
        """Change the control database behind everybody's back."""
        with transaction(self.platform.engine) as session:
            session.execute(text(statement), values)

    def rewind(self) -> None:
        """Take the newest revision away again, wherever it is, and set the ledger to what is there."""
        for server, database, schema in self._places():
            with self.platform.superuser(server, database) as connection:
                connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
                connection.execute("ALTER TABLE conversations DROP COLUMN IF EXISTS last_message_at")
                connection.execute("UPDATE alembic_version SET version_num = '0001' WHERE version_num <> '0001'")
        self.tell_roll("UPDATE fleet SET tenant_revision = '0001'")
        self.tell_roll("UPDATE targets SET revision = '0001' WHERE revision <> '0001'")

    @contextmanager
    def held_up(self, tenant: TenantUnderTest) -> Iterator[None]:
        """Somebody reads the tenant's conversations in a long transaction, so that DDL on them has to wait."""
        with self.platform.home_of(tenant) as home, home.transaction():
            home.execute("LOCK TABLE conversations IN ACCESS SHARE MODE")
            yield

    @contextmanager
    def somebody_waits_at(self, tenant: TenantUnderTest) -> Iterator[None]:
        """Somebody has waited for the tenant's conversations for longer than is well, and still does."""
        with self.platform.home_of(tenant) as home, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(home.execute, "BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE")
            with self.platform.home_of(tenant) as looking:
                long = (
                    f"SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart < now() - '{WAITING_S} s'::interval"
                )
                until(lambda: looking.execute(long.encode()).fetchone() == (1,), what="somebody has waited for long")
                yield
                looking.execute("SELECT pg_cancel_backend(%s)", [home.info.backend_pid])
            with contextlib.suppress(psycopg.errors.QueryCanceled):
                waiting.result()

    def has_new_column(self, place: Place) -> bool:
        """Whether the newest revision's column is there."""
        (server,) = {server for server, *other in self._places() if tuple(other) == place}
        with self.platform.superuser(server, place[0]) as connection:
            query = "SELECT FROM information_schema.columns WHERE table_schema = %s AND column_name = 'last_message_at'"
            return connection.execute(query, [place[1]]).rowcount == 1

    def wait_until_nobody_migrates(self) -> None:
        """Until no server has a session of a migration's: what it was sent is done by then, or never will be."""
        sessions = "SELECT FROM pg_stat_activity WHERE usename = 'copyhold_migrator'"

        def nobody() -> bool:
            for server in {server for server, *_ in self._places()}:
                with self.platform.superuser(server, "postgres") as connection:
                    if connection.execute(sessions).rowcount:
                        return False
            return True

        until(nobody, what="nobody migrates")

    def wait_until_held_up(self, tenant: TenantUnderTest) -> None:
        """Wait until a migration stands before what `held_up` holds."""
        with self.platform.home_of(tenant) as home:
            until(lambda: home.execute(WAITING).fetchone() == (1,), what="a migration waits for the table")

    def behind(self) -> set[Place]:
        """The targets that are not at the newest revision; ledger and databases have to agree on it."""
        found = self.found()
        assert found == self.ledger()
        return {place for place, revision in found.items() if revision != NEWEST}

    def runs(self) -> list[tuple[str, dict[str, int]]]:
        """State and outcomes of every run so far, newest first, as the ledger has them."""
        with transaction(self.platform.engine) as session:
            return [(row.state, states) for row, states in fleet.runs(session, 1000)]

    def _places(self) -> list[tuple[str, str, str]]:
        with transaction(self.platform.engine) as session:
            return [(database.server, database.name, row.schema) for database, row in fleet.targets(session)]


def hands(on_outcome: Callable[[Outcome], None] = lambda _: None, stop: threading.Event | None = None) -> Hands:
    """Those of somebody who watches outcomes."""

    def tell(event: Event) -> None:
        if isinstance(event, Outcome):
            on_outcome(event)

    return Hands(tell=tell, stop=stop or threading.Event())


def place_of(tenant: TenantUnderTest) -> Place:
    """The target that holds a tenant."""
    home = tenant.route.home
    assert home is not None
    return home.database, home.schema
