"""A fleet with nothing around it: silos of a chain that a test wrote, and a control database that knows them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from psycopg import sql
from sqlalchemy import Engine, text

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS, Doors, sealed
from control_plane.keyring import Keyring
from control_plane.registry import fleet, servers, tenants
from control_plane.registry.engine import control_engine, transaction
from migrations.fleet.chains import CONTROL, HOME, Chain
from migrations.fleet.events import Hands, Report
from migrations.fleet.replay import bring_to
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Wishes
from provisioning.roles import MIGRATOR, OWNER, SUPERUSER, connect
from tests.fleet.scratch import Scratch

FIRST = "0001"
_numbers = itertools.count(1)
_KEYRING = Keyring(bytes(range(32)))


@dataclass(frozen=True, kw_only=True)
class BareFleet:
    """One control database and its silos, all on one server; the roll may say that some are elsewhere."""

    engine: Engine
    chain: Chain
    server: Server

    def add_silos(self, number: int, *, on: str = "tests", **elsewhere: Any) -> list[str]:
        """So many at the first revision, by name. The roll has them on the server `on`, its place as told."""
        names = [f"silo_{next(_numbers):05}" for _ in range(number)]
        for name in names:
            self._create(name)
            bring_to(SOCKETS.dsn(self.server, name, MIGRATOR), self.chain, SHARED_SCHEMA, FIRST)
        self.place(on, **elsewhere)
        with transaction(self.engine) as session:
            for name in names:
                row = servers.ensure_database(session, on, name, Model.SILO)
                tenants.ensure_target(session, row.id, SHARED_SCHEMA, FIRST)
        return names

    def place(self, name: str, **elsewhere: Any) -> None:
        """Enter a server on the roll, or move it: it is where all of it is, but for what is told."""
        with transaction(self.engine) as session:
            passwords = sealed(_KEYRING, name, {MIGRATOR: "asked for by TCP alone"})
            servers.register(session, replace(self.server, name=name, sealed_passwords=passwords, **elsewhere))

    def run(self, to: str = "head", stop: threading.Event | None = None, **wishes: Any) -> Report:
        """Migrate it; all at once and whatever fails, unless wished otherwise."""
        wished = Wishes(**{"to": to, "waves": ("100%",), "max_failures": "100%", **wishes})
        return self._migration.run(wished, "tests", _hands(stop))

    def resume(self, report: Report, **options: Any) -> Report:
        """Go on with a run."""
        assert report.run_id is not None
        return self._migration.resume(report.run_id, "tests", _hands(), **options)

    def inside(self, silo: str) -> Scratch:
        """That database, to look into and to spoil."""
        return Scratch(
            dsn=SOCKETS.dsn(self.server, silo, MIGRATOR), superuser_dsn=SOCKETS.dsn(self.server, silo, SUPERUSER)
        )

    def ledger(self) -> dict[str, str | None]:
        """The revision of every silo as the roll has it; the databases have to agree."""
        with transaction(self.engine) as session:
            known = {database.name: row.revision for database, row in fleet.targets(session)}
        assert known == {name: self.inside(name).revision for name in known}
        return known

    def states(self, run_id: UUID | None) -> dict[str, str]:
        """By silo, what that run's ledger says of it."""
        query = (
            "SELECT name, t.state FROM migration_targets t JOIN databases d ON d.id = database_id WHERE run_id = :run"
        )
        with transaction(self.engine) as session:
            return dict(session.execute(text(query), {"run": run_id}).all())

    def newest_run(self) -> tuple[UUID, str, str | None]:
        """Id, state and reason of the newest run, as the ledger has them."""
        with transaction(self.engine) as session:
            ((row, _),) = fleet.runs(session, 1)
            return row.id, row.state, row.reason

    @property
    def _migration(self) -> FleetMigration:
        return FleetMigration(self.engine, self.chain, Doors(keyring=_KEYRING, certificates=None))

    def _create(self, name: str) -> None:
        with connect(SOCKETS.dsn(self.server, "postgres", SUPERUSER)) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with connect(SOCKETS.dsn(self.server, name, SUPERUSER)) as admin:
            admin.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {}").format(sql.Identifier(OWNER)))


@contextmanager
def bare_fleet(server: Server, chain: Chain) -> Iterator[BareFleet]:
    """One without silos. Its databases go with their server."""
    name = f"control_{next(_numbers)}"
    with connect(SOCKETS.dsn(server, "postgres", SUPERUSER)) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    dsn = SOCKETS.dsn(server, name, SUPERUSER)
    bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=SUPERUSER)
    engine = control_engine(dsn, timeout_s=10)
    with transaction(engine) as session:
        fleet.set_wanted(session, fleet.Revisions(home=HOME.head, tenant=FIRST), replace=True)
    yield BareFleet(engine=engine, chain=chain, server=server)
    engine.dispose()


def _hands(stop: threading.Event | None = None) -> Hands:
    return Hands(tell=lambda _: None, stop=stop or threading.Event())
