"""A database's login is changed while requests go on: none fails, and the old login is dead afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from uuid import UUID

import httpx
import psycopg
import pytest

from control_plane.doors import SOCKETS
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow
from control_plane.tenants import rotating
from control_plane.tenants.rotating import NotRotatableError, SharedLoginError
from provisioning.doctor.examine import examine
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, copyhold
from tests.provisioning import worker
from tests.provisioning.wishes import NoWorkflows
from tests.service_user import as_service_user
from tests.waiting import until

CLIENTS = 4
PAUSE_S = 0.02
"""Of each between two rounds: a machine that does nothing but answer them has no time for the change."""


def database_of(tenant: TenantUnderTest) -> DatabaseRow:
    home = tenant.route.home
    assert home is not None
    with transaction(tenant.platform.engine) as session:
        return servers.database(session, home.database_id)


def wish(tenant: TenantUnderTest, *, shared: bool = False) -> UUID:
    """The change on the roll, and nobody who carries it out but the test."""
    with transaction(tenant.platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        rotating.rotate(session, NoWorkflows(), row, "tests", shared=shared)
    return database_of(tenant).id


def enter(tenant: TenantUnderTest, login: str, database: str | None = None) -> str:
    """Who one is after logging in past the pooler."""
    row = database_of(tenant)
    dsn = SOCKETS.dsn(tenant.platform.server(row.server), database or row.name, login)
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT session_user::text").fetchone()
    assert found is not None
    return str(found[0])


@contextmanager
def under_load(tenant: TenantUnderTest) -> Iterator[Counter[object]]:
    """Clients write and read through HTTP in the block; what they were answered, counted, is whole after it."""
    answers: Counter[object] = Counter()
    ended = Event()

    async def hammer(client: httpx.AsyncClient) -> None:
        while not ended.is_set():
            try:
                made = await client.post("/api/conversations", json={"subject": "Hello"})
                seen = await client.get(f"/api/conversations/{made.json().get('id')}/messages")
                answers[made.status_code] += 1
                answers[seen.status_code] += 1
            except httpx.HTTPError as error:
                answers[repr(error)] += 1
            await asyncio.sleep(PAUSE_S)

    async def all_of_them() -> None:
        headers = {"Host": tenant.host, "Authorization": f"Bearer {tenant.key}"}
        async with httpx.AsyncClient(base_url=tenant.platform.url, headers=headers, timeout=30) as client:
            await asyncio.gather(*(hammer(client) for _ in range(CLIENTS)))

    thread = Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    try:
        until(lambda: answers.total() > CLIENTS, what="clients are at work")
        yield answers
        before = answers.total()
        until(lambda: answers.total() > before + CLIENTS, what="clients are still answered")
    finally:
        ended.set()
        thread.join()


def rotated_by_command(tenant: TenantUnderTest, *options: str) -> Counter[object]:
    with under_load(tenant) as answers:
        copyhold("tenant", "rotate", tenant.slug, *options, "--data", str(tenant.platform.data))
    return answers


def refused(tenant: TenantUnderTest, login: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=rf'role "{login}" does not exist|no pg_hba\.conf entry'):
        enter(tenant, login)
    database = database_of(tenant)
    with tenant.platform.superuser(database.server, database.name) as admin:
        assert admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None
        assert admin.execute("SELECT name FROM tenancy.logins").fetchall() == [(database.login,)]


def findings_of(tenant: TenantUnderTest) -> list[object]:
    database = database_of(tenant)
    report = examine(tenant.platform.estate)
    return [each for each in report.findings if database.name in (each.database, str(each.object).removesuffix("_b"))]


@pytest.mark.slow
def test_no_request_fails_while_a_silos_login_is_changed_and_changed_back(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("silo")
    first = database_of(tenant).login
    second = f"{first}_b"
    for old, new in ((first, second), (second, first)):
        answers = rotated_by_command(tenant)
        assert set(answers) == {200, 201}, answers
        assert database_of(tenant).login == new
        assert enter(tenant, new) == new
        refused(tenant, old)
        assert findings_of(tenant) == []


@pytest.mark.slow
def test_a_bridge_is_served_by_the_new_login_schemas_made_before_meanwhile_and_after(
    platform: PlatformUnderTest,
) -> None:
    before = platform.tenant("bridge")
    first = database_of(before).login
    for old in (first, f"{first}_b"):
        with under_load(before) as answers:
            wishing = Thread(
                target=copyhold, args=("tenant", "rotate", before.slug, "--yes", "--data", str(platform.data))
            )
            wishing.start()
            meanwhile = platform.tenant("bridge")
            wishing.join()
        assert set(answers) == {200, 201}, answers
        refused(before, old)
        for tenant in (before, meanwhile, platform.tenant("bridge")):
            assert tenant.http.post("/api/conversations", json={"subject": "Hello"}).status_code == 201
    assert database_of(before).login == first


@pytest.mark.slow
def test_a_second_login_reaches_its_own_database_alone(platform: PlatformUnderTest) -> None:
    tenant, neighbour = platform.tenant("silo"), platform.tenant("silo")
    as_service_user(platform.data, worker.rotate, platform.settings, wish(tenant))
    login = database_of(tenant).login
    assert enter(tenant, login) == login
    with platform.superuser("beta", "postgres") as admin:
        admin.execute(f'GRANT CONNECT ON DATABASE "{database_of(neighbour).name}" TO "{login}"')
        try:
            with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
                enter(tenant, login, database_of(neighbour).name)
        finally:
            admin.execute(f'REVOKE CONNECT ON DATABASE "{database_of(neighbour).name}" FROM "{login}"')


@pytest.mark.slow
def test_a_login_goes_while_somebody_works_on_what_all_databases_of_the_server_share(
    platform: PlatformUnderTest,
) -> None:
    """Of two logins that go at once, neither fails for the other's sake."""
    tenant = platform.tenant("silo")
    old = database_of(tenant).login
    with platform.superuser("beta", "postgres") as other, other.transaction(force_rollback=True):
        other.execute("GRANT USAGE ON SCHEMA public TO copyhold_mover")
        as_service_user(platform.data, worker.rotate, platform.settings, wish(tenant))
    refused(tenant, old)


@pytest.mark.slow
def test_whose_login_changes_too_is_said_and_has_to_be_meant(platform: PlatformUnderTest) -> None:
    tenant, _ = platform.tenant("pool"), platform.tenant("pool")
    with transaction(platform.engine) as session:
        others = servers.homes_in(session, [database_of(tenant).id])[database_of(tenant).id] - 1
    with pytest.raises(SharedLoginError, match=rf"shares the login of pool_1 with {others} other tenants?, "):
        wish(tenant)
    said = copyhold("tenant", "rotate", tenant.slug, "--data", str(platform.data), check=False)
    assert said.returncode == 1
    assert f"with {others} other tenant" in said.stderr
    assert "--yes" in said.stderr
    assert database_of(tenant).next_login is None


def test_one_change_at_a_time(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("silo")
    database_id = wish(tenant)
    with pytest.raises(NotRotatableError, match=f"being changed: rotate/{database_id}/"):
        wish(tenant)
    as_service_user(platform.data, worker.rotate, platform.settings, database_id)


@pytest.mark.slow
def test_where_there_is_a_password_the_other_login_has_another(platform: PlatformUnderTest) -> None:
    tenant = platform.tenant("silo")
    database_id = database_of(tenant).id
    sealed = platform.keyring.seal("the first one", belongs_to=str(database_id))
    with transaction(platform.engine) as session:
        servers.database(session, database_id).sealed_password = sealed
    with under_load(tenant) as answers:
        as_service_user(platform.data, worker.rotate, platform.settings, wish(tenant))
    assert set(answers) == {200, 201}, answers
    row = database_of(tenant)
    assert row.sealed_password is not None
    assert row.next_sealed_password is None
    password = platform.keyring.unseal(row.sealed_password, belongs_to=str(database_id))
    assert password != "the first one"
    with platform.superuser("beta", "postgres") as admin:
        found = admin.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [row.login]).fetchone()
    assert found is not None
    assert str(found[0]).startswith("SCRAM-SHA-256$")


@pytest.mark.slow
def test_a_login_that_somebody_is_in_by_is_not_taken_away(platform: PlatformUnderTest) -> None:
    """Whoever has not followed is named, once there is no more waiting for them."""
    tenant = platform.tenant("silo")
    old = database_of(tenant).login
    home = tenant.route.home
    assert home is not None
    settings = platform.settings
    dsn = psycopg.conninfo.make_conninfo(
        host=settings.pooler_host, port=settings.pooler_port, dbname=home.alias, user=old
    )
    database_id = wish(tenant)
    finished = Event()

    def rotate() -> None:
        as_service_user(platform.data, worker.rotate, platform.settings, database_id)
        finished.set()

    with psycopg.connect(dsn, prepare_threshold=None) as laggard:
        laggard.execute("SELECT 1")
        thread = Thread(target=rotate)
        thread.start()
        until(lambda: database_of(tenant).login != old, what="the login is switched")
        until(lambda: tenant.http.get("/api/me").status_code == 200, what="the tenant is served")
        assert laggard.execute("SELECT session_user::text").fetchone() == (old,)
        assert not finished.is_set()
        laggard.rollback()
    thread.join()
    assert finished.is_set()
    refused(tenant, old)
