"""A suspension ends what is open for the tenant, in every API process: streams, silent ones too, and transactions."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from control_plane.domain.tenant import Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, free_port
from tests.routing.apis import Api
from tests.routing.hands import at_the_control_server
from tests.routing.wire import wire_to
from tests.waiting import until

pytestmark = pytest.mark.slow

MODELS = ("pool", "bridge", "silo")
STREAMS = ("/api/visits", "/api/silence")
APP = {"COPYHOLD_TENANT_APP": "tests.routing.lasting:lasting", "COPYHOLD_LIMITS__TRANSACTION_TIMEOUT_S": "300"}
NEVER = {"COPYHOLD_LIMITS__FEED_POLL_S": "3600"}
OFTEN = {"COPYHOLD_LIMITS__FEED_POLL_S": "0.2"}


class Reader:
    """Reads one answer to its end, in a thread of its own."""

    def __init__(self, api: Api, tenant: TenantUnderTest, path: str) -> None:
        self._api, self._tenant, self._path = api, tenant, path
        self.lines = 0
        self.end = ""
        """How it ended: "whole", or the error of a stream that broke off; a problem's code for a refusal."""
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        headers = {"Host": self._tenant.host, "Authorization": f"Bearer {self._tenant.key}"}
        url = f"http://127.0.0.1:{self._api.port}{self._path}"
        with httpx.Client(timeout=60) as client, client.stream("GET", url, headers=headers) as answer:
            if answer.status_code >= 400:
                self.end = str(httpx.Response(200, content=answer.read()).json()["code"])
                return
            try:
                for _ in answer.iter_lines():
                    self.lines += 1
                self.end = "whole"
            except httpx.RemoteProtocolError as broken:
                self.end = type(broken).__name__


@contextmanager
def processes(platform: PlatformUnderTest, folder: Path, *environments: dict[str, str]) -> Iterator[list[Api]]:
    """API processes with the lasting app, one for each environment."""
    with ExitStack() as stack:
        wire = stack.enter_context(wire_to(platform.settings.control_dsn))
        apis = []
        for number, environment in enumerate(environments):
            place = folder / str(number)
            place.mkdir()
            api = Api(
                platform=platform,
                wire=wire,
                snapshot=place / "roll.json",
                port=free_port(),
                variables=APP | environment,
            )
            stack.enter_context(api.running())
            apis.append(api)
        yield apis


@contextmanager
def suspended(tenant: TenantUnderTest) -> Iterator[None]:
    """Suspended as staff do it; resumed at the end."""
    platform = tenant.platform
    with transaction(platform.engine) as session:
        service.suspend(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
    try:
        yield
    finally:
        with transaction(platform.engine) as session:
            service.resume(session, platform.workflows, tenants.get(session, tenant.id, lock=True), "tests")
        platform.wait_for(tenant.id, Status.ACTIVE)


def ended(readers: list[Reader]) -> list[str]:
    """How each of them ended, once they all have."""
    for reader in readers:
        reader.thread.join(30)
        assert not reader.thread.is_alive(), f"{reader._path} goes on"
    return [reader.end for reader in readers]


@pytest.fixture(scope="module")
def two(platform: PlatformUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Api]]:
    """Processes that hear of changes by being told alone."""
    with processes(platform, tmp_path_factory.mktemp("two"), NEVER, NEVER) as apis:
        yield apis


@pytest.mark.parametrize("model", MODELS)
def test_a_suspension_ends_a_tenants_streams_in_every_process_and_nobody_elses(
    platform: PlatformUnderTest, two: list[Api], model: str
) -> None:
    tenant, neighbour, apis = platform.tenant(model), platform.tenant(model), two
    until(
        lambda: all(api.answer(who) == (200, "") for api in apis for who in (tenant, neighbour)), what="all serve both"
    )
    theirs = [Reader(api, tenant, path) for api in apis for path in STREAMS]
    others = [Reader(api, neighbour, path) for api in apis for path in STREAMS]
    until(lambda: all(reader.lines for reader in (*theirs, *others)), what="all streams flow")
    before = tenant.http.get("/api/conversations").json()
    with suspended(tenant):
        # Broken off, so that nobody takes it for the whole.
        assert set(ended(theirs)) == {"RemoteProtocolError"}
        for api in apis:
            assert [api.answer(tenant, path=path) for path in STREAMS] == [(403, "tenant_suspended")] * 2
        seen = [reader.lines for reader in others]
        until(lambda: others[0].lines > seen[0], what="the neighbour's stream flows on")
        assert [reader.end for reader in others] == [""] * len(others)
    until(lambda: api.answer(tenant) == (200, ""), what="the tenant is served again")
    until(lambda: tenant.http.get("/api/conversations").json() == before, what="all that it had is there")
    with suspended(neighbour):
        assert set(ended(others)) == {"RemoteProtocolError"}


def test_a_transaction_in_flight_is_undone_and_its_caller_is_told(platform: PlatformUnderTest, tmp_path: Path) -> None:
    tenant = platform.tenant("silo")
    with processes(platform, tmp_path, NEVER) as (api,):
        until(lambda: api.answer(tenant) == (200, ""), what="it is served")
        holder = Reader(api, tenant, "/api/held")
        with platform.home_of(tenant) as home:
            holds = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1)%' AND pid <> pg_backend_pid()"
            until(lambda: home.execute(holds).fetchone() == (1,), what="the transaction is held")
            with suspended(tenant):
                assert ended([holder]) == ["tenant_suspended"]
                inside = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state <> 'idle'"
                login = tenant.route.home.login if tenant.route.home else ""
                until(lambda: home.execute(inside, [login]).fetchone() == (0,), what="nobody is inside")
                assert home.execute("SELECT count(*) FROM users WHERE disabled_at IS NOT NULL").fetchone() == (0,)


def test_a_suspension_that_nobody_is_told_of_is_found_by_the_next_poll(
    platform: PlatformUnderTest, tmp_path: Path
) -> None:
    tenant = platform.tenant("pool")
    with processes(platform, tmp_path, OFTEN) as (api,):
        readers = [Reader(api, tenant, path) for path in STREAMS]
        until(lambda: all(reader.lines for reader in readers), what="the streams flow")
        with unheard(tenant):
            assert set(ended(readers)) == {"RemoteProtocolError"}


@contextlib.contextmanager
def unheard(tenant: TenantUnderTest) -> Iterator[None]:
    """Suspended as by the roll's trigger, but for its notification."""
    with at_the_control_server(tenant.platform) as superuser:
        for status in ("suspended", "active"):
            with superuser.transaction():
                superuser.execute("SET LOCAL session_replication_role = replica")
                superuser.execute("UPDATE tenants SET status = %s WHERE id = %s", [status, tenant.id])
                superuser.execute("UPDATE feed SET version = version + 1")
                superuser.execute(
                    "UPDATE changes SET version = (SELECT version FROM feed) WHERE tenant_id = %s", [tenant.id]
                )
            if status == "suspended":
                yield
