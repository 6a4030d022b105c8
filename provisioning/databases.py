"""Databases and schemas that hold tenants: built, copied, keyed. Every function may be repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import sql

from control_plane.domain.errors import CopyholdError, UnavailableError
from control_plane.domain.names import SHARED_SCHEMA, first_login, second_login, template_database
from control_plane.domain.server import Server
from control_plane.doors import Doors
from control_plane.registry.fleet import Revisions
from migrations.fleet.chains import HOME, Chain
from migrations.fleet.replay import Database, bring, bring_to
from provisioning.roles import (
    MIGRATOR,
    OWNER,
    Connection,
    connect,
    database_exists,
    ensure_login,
    harden_catalogue,
    restrict_database,
    role_exists,
)
from provisioning.sessions import of_schema

BUILDING = "building_"
TRIAL = BUILDING + "template_trial"
"""Looked into and dropped again; one that is left behind goes as half-made templates do."""
TEMPLATE_LOCK = 0x636F7079
HMAC_BLOCK_BYTES = 64
ADMIT_TIMEOUT_S = 10
KEY_WAIT_MS = 200
"""So long at most do requests wait for those before them, at each try."""
KEY_TRIES = 100
KEY_PAUSE_S = 0.2


class KeyInUseError(UnavailableError):
    """A database's signing key cannot be changed now."""

    code = "key_in_use"


class FenceMissingError(CopyholdError):
    """The home has no fence for this tenant."""

    code = "fence_missing"


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds on one server with one tenant chain."""

    server: Server
    tenant_chain: Chain
    doors: Doors

    def admin(self, database: str = "postgres") -> Connection:
        """Its administrator's connection; use it as a context manager."""
        return connect(self._dsn(database, self.server.admin))

    def build_shared(self, name: str, revisions: Revisions, *, with_tables: bool) -> None:
        """A pool database (with tenant tables) or a bridge database (without; its schemas get them)."""
        with self.admin() as admin:
            if not database_exists(admin, name):
                admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._furnish(name, revisions, with_tables=with_tables)
        self.admit(name, first_login(name))

    @contextmanager
    def trial(self) -> Iterator[Connection]:
        """A database as each new one there begins, for as long as the block lasts."""
        name = sql.Identifier(TRIAL)
        with self.admin() as admin, _one_at_a_time(admin):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
            try:
                with self.admin(TRIAL) as inside:
                    yield inside
            finally:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def copy_silo(self, name: str, revisions: Revisions, key: bytes | None = None) -> None:
        """A silo database, copied from the server's template of those revisions (made first if there is none).

        One that was copied before, when others were wanted, is brought to them. With a key, that is its signing key.
        """
        with self.admin() as admin:
            there = database_exists(admin, name)
            if not there:
                self._copy_template(admin, name, revisions)
        self.admit(name, first_login(name), None if there else key)
        if there:
            self._bring_to(name, revisions, with_tables=True)
            if key is not None:
                self.install_key(name, key)

    def drop_silo(self, name: str) -> None:
        """A silo database and its logins, whoever is connected; any of them may be gone already.

        Whoever copies one is waited for: the worker that sent that may be dead, and it would be there afterwards.
        """
        with self.admin() as admin:
            with _one_at_a_time(admin):
                pass
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            for login in (first_login(name), second_login(name)):
                admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))

    def build_schema(self, database: str, schema: str, revision: str) -> None:
        """A bridge tenant's schema with the tenant tables at `revision`."""
        dsn = of_schema(self._dsn(database, MIGRATOR), schema)
        with closing(Database.open(dsn)) as opened:
            migrator = opened.connection
            made = sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}")
            migrator.execute(made.format(sql.Identifier(schema), sql.Identifier(OWNER)))
            bring(opened, dsn, self.tenant_chain, schema, revision)
            # After the tables: a login that is admitted in between finds them, and is let at the schema with them.
            with migrator.transaction():
                migrator.execute("SET LOCAL lock_timeout = 0")  # Whoever is admitted is waited for.
                usage = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
                for (login,) in migrator.execute("SELECT name FROM tenancy.logins").fetchall():
                    migrator.execute(usage.format(sql.Identifier(schema), sql.Identifier(login)))

    def admit(self, database: str, login: str, key: bytes | None = None) -> None:
        """Make a login of the database and let it at the protected tables.

        Whoever is making tables there is waited for: what is made after that is granted to all who are admitted. A key
        is for a database in which nobody has been yet.
        """
        with self.admin(database) as admin, admin.transaction():
            restrict_database(admin, database)
            ensure_login(admin, login, database=database)
            admin.execute(
                sql.SQL("SET LOCAL ROLE {}; SET LOCAL lock_timeout = {}; LOCK TABLE tenancy.logins").format(
                    sql.Identifier(OWNER), sql.Literal(f"{ADMIT_TIMEOUT_S}s")
                )
            )
            admin.execute("SELECT tenancy.admit(%s::name)", [login])
            if key is not None:
                _put_key(admin, key)

    def retire(self, database: str, login: str) -> None:
        """Have nobody log in with it any more, end the sessions of those who have, and let it at nothing made later."""
        with self.admin(database) as admin:
            if not role_exists(admin, login):
                return
            admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(login)))
            admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [login])
            with admin.transaction():
                admin.execute(f"SET LOCAL lock_timeout = '{ADMIT_TIMEOUT_S}s'; LOCK TABLE tenancy.logins")
                admin.execute("DELETE FROM tenancy.logins WHERE name = %s", [login])

    def install_key(self, database: str, key: bytes) -> None:
        """Give the database the key under which context tokens are signed for it; an older key is replaced.

        Whoever is inside has been sealed in under the older one: they are let out first, and nobody is let in for that
        long. KeyInUseError when they do not leave soon enough, a few times over.
        """
        for _ in range(KEY_TRIES):
            with suppress(psycopg.errors.LockNotAvailable):
                self._install_key(database, key)
                return
            time.sleep(KEY_PAUSE_S)
        raise KeyInUseError(f"the signing key of {database} cannot be changed: transactions there take too long")

    def _install_key(self, database: str, key: bytes) -> None:
        with connect(self._dsn(database, MIGRATOR)) as migrator, migrator.transaction():
            migrator.execute(
                f"SET LOCAL lock_timeout = {KEY_WAIT_MS}; SET LOCAL ROLE {OWNER}; LOCK TABLE tenancy.keys; RESET ROLE"
            )
            _put_key(migrator, key)

    def ensure_fence(self, database: str, tenant_id: UUID, epoch: int) -> None:
        """A fence in state `ready`, unless the tenant has one there."""
        with connect(self._dsn(database, MIGRATOR)) as migrator:
            migrator.execute(
                "INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%s, %s, 'ready') ON CONFLICT DO NOTHING",
                [tenant_id, epoch],
            )

    def set_fence(self, database: str, tenant_id: UUID, state: str) -> None:
        """Set the fence's state, after every transaction that is inside has ended. FenceMissingError without one."""
        with connect(self._dsn(database, MIGRATOR)) as migrator, migrator.transaction():
            migrator.execute("SET LOCAL lock_timeout = '10s'")
            migrator.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(tenant_id)])
            changed = migrator.execute(
                "UPDATE tenancy.fences SET state = %s, changed_at = now() WHERE tenant_id = %s", [state, tenant_id]
            )
            if changed.rowcount != 1:
                raise FenceMissingError

    def ensure_template(self, revisions: Revisions) -> None:
        """Build the database that silos of those revisions are copied from, if there is none; drop those of older ones.

        Templates of revisions that this version does not know are another's, and stay.
        """
        with self.admin() as admin, _one_at_a_time(admin):
            self._template(admin, revisions)

    def drop_unfinished(self, template: str) -> None:
        """Drop a template whose builder is gone, by the name under which it was built; whoever builds is waited for."""
        with self.admin() as admin, _one_at_a_time(admin):
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(template)))

    def _copy_template(self, admin: Connection, name: str, revisions: Revisions) -> None:
        # Under the lock, so that nobody drops the template before it is copied.
        with _one_at_a_time(admin):
            template = self._template(admin, revisions)
            # wal_log: 21 ms against 46-99 for file_copy at the size of a fresh home.
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log")
            admin.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))

    def _template(self, admin: Connection, revisions: Revisions) -> str:
        name = _template_name(revisions)
        if not database_exists(admin, name):
            self._build_template(admin, name, revisions)
        worthless = self.older_templates(revisions)
        older = admin.execute("SELECT datname FROM pg_database WHERE datname = ANY (%s)", [worthless])
        for (template,) in older.fetchall():
            admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(template)))
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(template)))
        return name

    def older_templates(self, revisions: Revisions) -> list[str]:
        """The names of all templates that those revisions make worthless."""
        return [
            _template_name(Revisions(home=home, tenant=tenant))
            for home in HOME.up_to(revisions.home)
            for tenant in self.tenant_chain.up_to(revisions.tenant)
            if (home, tenant) != (revisions.home, revisions.tenant)
        ]

    def _build_template(self, admin: Connection, name: str, revisions: Revisions) -> None:
        """Built under another name and renamed when complete; closed to connections, which would make copies wait."""
        building = BUILDING + name
        made, final = sql.Identifier(building), sql.Identifier(name)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(made))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(made))
        self._furnish(building, revisions, with_tables=True)
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false IS_TEMPLATE true").format(made))
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(made, final))

    def _furnish(self, name: str, revisions: Revisions, *, with_tables: bool) -> None:
        with self.admin(name) as admin:
            harden_catalogue(admin)
            restrict_database(admin, name)
            admin.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS tenancy AUTHORIZATION {}").format(sql.Identifier(OWNER)))
        self._bring_to(name, revisions, with_tables=with_tables)

    def _bring_to(self, name: str, revisions: Revisions, *, with_tables: bool) -> None:
        bring_to(self._dsn(name, MIGRATOR), HOME, "tenancy", revisions.home)
        if with_tables:
            bring_to(self._dsn(name, MIGRATOR), self.tenant_chain, SHARED_SCHEMA, revisions.tenant)

    def _dsn(self, database: str, role: str) -> str:
        return self.doors.dsn(self.server, database, role)


def context_pads(key: bytes) -> tuple[bytes, bytes]:
    """A signing key as tenancy.keys holds it: the inner and outer pad of HMAC."""
    block = key.ljust(HMAC_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


def _put_key(connection: Connection, key: bytes) -> None:
    connection.execute(
        'INSERT INTO tenancy.keys (inner_pad, outer_pad) VALUES (%s, %s) ON CONFLICT ("only")'
        " DO UPDATE SET inner_pad = excluded.inner_pad, outer_pad = excluded.outer_pad",
        context_pads(key),
    )


def _template_name(revisions: Revisions) -> str:
    return template_database(f"{revisions.home}_{revisions.tenant}")


@contextmanager
def _one_at_a_time(admin: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    admin.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
    try:
        yield
    finally:
        admin.execute("SELECT pg_advisory_unlock(%s)", [TEMPLATE_LOCK])
