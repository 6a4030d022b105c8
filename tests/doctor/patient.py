"""A platform to be made ill: tenants in all three models, and short ways to do harm in each place."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from control_plane.domain.names import SHARED_SCHEMA
from control_plane.registry.engine import control_engine, transaction
from migrations.fleet.chains import CONTROL as CONTROL_CHAIN
from migrations.fleet.chains import HOME
from provisioning.doctor.examine import examine
from provisioning.doctor.findings import Finding
from provisioning.estate import Estate
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest

CONTROL = "control"
"""A place for statements: the control database."""
OF_THE_MACHINE = {"postgres_security", "pooler_old", "redis_old"}
"""Warnings that a machine may deserve whatever the platform does."""


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Root acts as the folder's owner, whom alone the pooler knows; commands do so for good."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(folder.stat().st_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@dataclass(kw_only=True)
class Patient:
    """The platform, and its tenants by place: `pool`, `bridge`, `other bridge`, `silo`, `other silo`."""

    platform: PlatformUnderTest
    tenants: dict[str, TenantUnderTest]

    @property
    def estate(self) -> Estate:
        """What is examined."""
        return self.platform.estate

    def findings(
        self, estate: Estate | None = None, *, meanwhile: Callable[[], None] = lambda: None
    ) -> tuple[Finding, ...]:
        """What the doctor finds now; `meanwhile` happens between its two looks."""
        with as_owner(self.platform.data):
            found = examine(estate or self.estate, settle=meanwhile).findings
        return tuple(finding for finding in found if finding.check not in OF_THE_MACHINE)

    def checks(self, estate: Estate | None = None) -> set[str]:
        """The names of what the doctor finds now."""
        return {finding.check for finding in self.findings(estate)}

    def do(self, place: str, statements: Sequence[str]) -> None:
        """Run statements at a place (a tenant's home, `control`, a server) as a superuser, with `words` filled in."""
        words = self.words(place)
        if place == CONTROL:
            with transaction(self.platform.engine) as session:
                for statement in statements:
                    session.execute(text(statement.format(**words)))
            return
        with self.connection(place) as connection:
            for statement in statements:
                connection.execute(statement.format(**words).encode())

    def words(self, place: str) -> dict[str, str]:
        """What statements may name: the place's own login, schema and tenant, and the others' by their place."""
        words = {
            f"{kind}_{name.replace(' ', '_')}": value
            for name, tenant in self.tenants.items()
            for kind, value in self._words_of(tenant).items()
        }
        chain = self.estate.chain
        words |= {
            "head": chain.head,
            "first": chain.revisions[0],
            "home_head": HOME.head,
            "control_head": CONTROL_CHAIN.head,
        }
        return words | (self._words_of(self.tenants[place]) if place in self.tenants else {})

    @contextmanager
    def connection(self, place: str) -> Iterator[psycopg.Connection[Any]]:
        """A superuser's connection to a place, search_path at its tenant."""
        if place in self.tenants:
            opened = self.platform.home_of(self.tenants[place])
        else:
            opened = self.platform.superuser(place, "postgres")
        with opened as connection:
            yield connection

    def with_settings(self, **changed: object) -> Estate:
        """The platform as somebody would see it who was told something else."""
        return replace(self.estate, settings=self.platform.settings.model_copy(update=changed))

    @contextmanager
    def without_control(self) -> Iterator[Estate]:
        """The platform as it is with the control database down."""
        engine = control_engine(make_conninfo(self.platform.settings.control_dsn, port=6999), timeout_s=2)
        try:
            yield replace(self.estate, engine=engine)
        finally:
            engine.dispose()

    @staticmethod
    def _words_of(tenant: TenantUnderTest) -> dict[str, str]:
        home = tenant.route.home
        assert home is not None
        return {
            "login": home.login,
            "schema": home.schema or SHARED_SCHEMA,
            "tenant": str(tenant.id),
            "database": str(home.database_id),
        }
