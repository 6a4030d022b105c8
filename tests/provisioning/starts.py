"""First and later starts of a platform as far as its servers and its bootstrap, done by the platform's own user."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cli.supervisor.tools import find_tools
from control_plane.doors import SOCKETS
from control_plane.registry.engine import control_engine
from migrations.fleet.run import FleetMigration
from provisioning.bootstrap import bootstrap
from provisioning.layout import SERVERS, Layout
from tests.platform_under_test import PlatformUnderTest
from tests.provisioning.killing import kill_after

# What the servers hold, whoever has it and whoever may do what with it; of tenants' rows only how many there are.
OF_A_SERVER = """
SELECT 'role', rolname, to_jsonb(r) - 'oid' FROM pg_roles r WHERE rolname !~ '^pg_'
 UNION ALL SELECT 'member', roleid::regrole::text, to_jsonb(m) - 'oid' FROM pg_auth_members m
 UNION ALL SELECT 'database', datname, jsonb_build_array(datacl::text, datallowconn, datistemplate) FROM pg_database
 UNION ALL SELECT 'parameter', parname, to_jsonb(paracl::text) FROM pg_parameter_acl
"""
OF_A_HOME = """
SELECT 'relation', oid::regclass::text,
       jsonb_build_array(relacl::text, relrowsecurity, relforcerowsecurity, relfilenode)
  FROM pg_class WHERE oid >= 16384 OR relacl IS NOT NULL
 UNION ALL SELECT 'function', oid::regprocedure::text, jsonb_build_array(proacl::text, md5(prosrc)) FROM pg_proc
            WHERE oid >= 16384 OR proacl IS NOT NULL
 UNION ALL SELECT 'schema', nspname, to_jsonb(nspacl::text) FROM pg_namespace
 UNION ALL SELECT 'key', md5(inner_pad), to_jsonb(md5(outer_pad)) FROM tenancy.keys
 UNION ALL SELECT 'login', name, NULL FROM tenancy.logins
"""
# Without what workers measure there again and again.
OF_THE_ROLL = r"""
SELECT tablename, '',
       regexp_replace(query_to_xml(format('SELECT * FROM %I t ORDER BY t::text', tablename), false, false, '')::text,
                      '<(measured_at|used_bytes|per_minute|counted|counted_at|move_slots|move_wal_bytes)>[^<]*</\1>',
                      '', 'g')
  FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'processes'
"""


def bootstrap_again(data: Path, tenant_revision: str = "head") -> None:
    """What `up` does between the servers and the pooler."""
    bootstrap(Layout.open(data), pooler_version=find_tools().pgbouncer.release, tenant_revision=tenant_revision)


def bootstrap_until_statement(data: Path, number: int) -> None:
    """The same; the process is killed when it has sent so many statements to any database."""
    kill_after(number)
    bootstrap_again(data)


def make_servers(data: Path) -> None:
    """The servers of a new platform, made and started."""
    os.umask(0o077)
    provider = Layout.create(data).provider
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        list(pool.map(provider.ensure, SERVERS))
        list(pool.map(provider.start, SERVERS))


def stop_servers(data: Path) -> None:
    """End them."""
    provider = Layout.open(data).provider
    with ThreadPoolExecutor(len(SERVERS)) as pool:
        list(pool.map(provider.stop, SERVERS))


def everything(platform: PlatformUnderTest) -> dict[str, list[tuple[Any, ...]]]:
    """The roll but for who is alive, the roles and access lists of all servers, shared homes, the pooler's files."""
    engine = control_engine(platform.settings.control_dsn, timeout_s=10)
    with engine.connect() as control:
        found = {"roll": sorted(tuple(row) for row in control.exec_driver_sql(OF_THE_ROLL.replace("%I", "%%I")))}
    engine.dispose()
    for server in ("alpha", "beta"):
        with platform.superuser(server, "postgres") as admin:
            found[server] = _sorted(admin.execute(OF_A_SERVER).fetchall())
    for database in ("pool_1", "bridge_1"):
        with platform.superuser("alpha", database) as home:
            found[database] = _sorted(home.execute(OF_A_HOME).fetchall())
    files = (path for path in platform.settings.pooler_dir.iterdir() if path.is_file())
    found["pooler"] = sorted((path.name, path.read_text(), path.stat().st_uid) for path in files)
    return found


def behind(platform: PlatformUnderTest) -> int:
    """How many targets of a platform are not at the newest revisions."""
    return len(FleetMigration(platform.engine, platform.estate.chain, SOCKETS).plan().steps)


def _sorted(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=repr)
