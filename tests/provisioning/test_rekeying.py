"""The master key is changed while requests go on: none fails, and the old key is worth nothing once it is forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterator

import psycopg
import pytest

from control_plane import doors
from control_plane.doors import SOCKETS, Doors
from control_plane.keyring import Keyring, SealError
from control_plane.registry import processes, servers
from control_plane.registry.engine import transaction
from control_plane.routing import tokens
from control_plane.routing.tokens import Mode, begin_message
from control_plane.stores.master_keys import KeyFile
from provisioning.doctor.examine import examine
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, copyhold, running_platform
from tests.provisioning.test_rotating import database_of, under_load
from tests.waiting import until

ANSWERS = {200, 201}


@pytest.fixture(scope="module")
def own_platform() -> Iterator[PlatformUnderTest]:
    """A platform whose master key may be changed."""
    with running_platform() as started:
        yield started


def keys_of(platform: PlatformUnderTest) -> Keyring:
    """Those that the platform has now, kept as they are."""
    path = platform.settings.master_key_file
    assert path is not None
    return Keyring.load(path)


def master_key(platform: PlatformUnderTest, *arguments: str) -> dict[str, object]:
    done = copyhold("master-key", *arguments, "--json", "--data", str(platform.data))
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def enters(tenant: TenantUnderTest, keyring: Keyring) -> bool:
    """Whether the tenant's home lets in whoever signs with those keys."""
    route = tenant.route
    home = route.home
    assert home is not None
    token = tokens.minted(keyring, home, route.tenant_id, route.epoch, Mode.SERVE, 20)
    with tenant.platform.home_of(tenant) as connection:
        try:
            connection.execute(begin_message(token, home.schema, 5).encode())
        except psycopg.Error as error:
            return error.sqlstate != "CH001"
    return True


def test_no_request_fails_while_the_master_key_is_changed_and_the_old_one_forgotten(
    own_platform: PlatformUnderTest,
) -> None:
    platform, tenants = own_platform, [own_platform.tenant(model) for model in ("pool", "bridge", "silo")]
    old = keys_of(platform)
    kept = old.seal("correct horse", belongs_to=str(database_of(tenants[2]).id))
    with transaction(platform.engine) as session:
        servers.database(session, database_of(tenants[2]).id).sealed_password = kept
        servers.set_passwords(session, "beta", doors.sealed(old, "beta", {"somebody": "battery staple"}))
    with under_load(tenants[0]) as pool, under_load(tenants[2]) as silo:
        rotated = master_key(platform, "rotate")
        assert rotated["before"] == list(old.ids)
        assert rotated["secrets"] == 2
        both = keys_of(platform)
        assert all(enters(tenant, Keyring.of(KeyFile(path=platform.layout.master_key))) for tenant in tenants)
        assert not any(enters(tenant, old) for tenant in tenants)
        assert not {"key_wrong", "key_older", "key_missing"} & {f.check for f in examine(platform.estate).findings}
        assert master_key(platform, "rotate")["homes"] == 0
        assert master_key(platform, "forget", "--yes")["current"] == both.ids[0]
    assert set(pool) == set(silo) == ANSWERS, (pool, silo)
    new = keys_of(platform)
    assert new.ids == both.ids[:1]
    sealed = database_of(tenants[2]).sealed_password
    assert sealed is not None
    assert new.unseal(sealed, belongs_to=str(database_of(tenants[2]).id)) == "correct horse"
    assert Doors(keyring=new, certificates=None).password(platform.server("beta"), "somebody") == "battery staple"
    with pytest.raises(SealError):
        new.unseal(kept, belongs_to=str(database_of(tenants[2]).id))
    with transaction(platform.engine) as session:
        assert {tuple(row.master_keys) for row in processes.living(session)} == {new.ids}
    later = platform.tenant("silo")
    assert enters(later, new)


def test_a_change_that_was_cut_short_is_told_and_gone_on_with(own_platform: PlatformUnderTest) -> None:
    platform, tenant = own_platform, own_platform.tenant("silo")
    KeyFile(path=platform.layout.master_key).add()
    ids = keys_of(platform).ids
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="the tenant is served")
    found = {f.check for f in examine(platform.estate).findings}
    assert "key_older" in found
    assert "key_wrong" not in found
    refused = copyhold("master-key", "forget", "--yes", "--data", str(platform.data), check=False)
    assert refused.returncode == 1
    assert "rotate first" in refused.stderr
    assert master_key(platform, "rotate")["current"] == ids[0]
    assert tenant.http.get("/api/me").status_code == 200
    assert master_key(platform, "forget", "--yes")["current"] == ids[0]
    assert tenant.http.get("/api/me").status_code == 200


def test_forgetting_has_to_be_meant(own_platform: PlatformUnderTest) -> None:
    said = copyhold("master-key", "forget", "--data", str(own_platform.data), check=False)
    assert said.returncode == 2
    assert "--yes" in said.stderr


def test_a_transaction_that_is_inside_is_not_put_out(own_platform: PlatformUnderTest) -> None:
    """Its seal is by the old key: the new one waits for it to end."""
    platform, tenant = own_platform, own_platform.tenant("silo")
    database, home, route = database_of(tenant), tenant.route.home, tenant.route
    assert home is not None
    builder = platform.estate.builder(platform.server(database.server))
    keyring = keys_of(platform)
    token = tokens.minted(keyring, home, route.tenant_id, route.epoch, Mode.SERVE, 20)
    dsn = SOCKETS.dsn(platform.server(database.server), home.database, home.login)
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as inside:
        inside.execute(begin_message(token, home.schema, 5).encode())
        with pytest.raises(psycopg.errors.LockNotAvailable):
            builder._install_key(database.name, keyring.context_key(database.id))
        assert inside.execute("SELECT tenancy.current_tenant()").fetchone() == (tenant.id,)
        inside.execute("COMMIT")
    builder._install_key(database.name, keyring.context_key(database.id))
