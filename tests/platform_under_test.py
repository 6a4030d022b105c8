"""A running platform for tests: the real parts, started once a session, and a short way to tenants on it."""

from __future__ import annotations

import random
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from sqlalchemy import Engine

from control_plane.domain.route import Role, Route
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model, Plan, Status, parse_model
from control_plane.doors import SOCKETS
from control_plane.keyring import Keyring
from control_plane.registry import routes, servers, tenants
from control_plane.registry.engine import control_engine, transaction
from control_plane.registry.workflows import DurableWorkflows
from control_plane.routing.seam import load_tenant_app
from control_plane.settings import Settings
from control_plane.stores.master_keys import open_keyring
from control_plane.tenants import service
from provisioning.estate import Estate
from provisioning.layout import Layout
from tests.folders import new_folder
from tests.forking import start_command
from tests.waiting import until

PASSWORD = "correct horse battery"
COPYHOLD = (sys.executable, "-m", "cli.main")
COMMAND_ENDS_IN_S = 120.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients: it trusts nobody, and is there at once. One that knows the world's authorities is 24 ms of processor."""
STAYING = {"up", "demo"}
"""They leave processes behind, which are known by how they were started."""


def free_port() -> int:
    """A TCP port below the ephemeral range that nothing listens on right now."""
    # From anywhere in it: two sessions at once would otherwise be given the same one.
    for port in random.sample(range(10_000, 32_768), 200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


def copyhold(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the `copyhold` command and return what it printed."""
    if arguments[0] in STAYING:
        return copyhold_anew(*arguments, check=check)
    said = start_command(*arguments).ended(COMMAND_ENDS_IN_S)
    done = subprocess.CompletedProcess(arguments, said.code, said.out, said.err)
    if check:
        done.check_returncode()
    return done


def copyhold_anew(*arguments: str, check: bool = True, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """The same as a program of its own, which takes a second to start."""
    return subprocess.run(
        [*COPYHOLD, *arguments],
        check=check,
        timeout=timeout_s,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )


@dataclass(kw_only=True)
class TenantUnderTest:
    """One tenant with an owner's key."""

    platform: PlatformUnderTest
    id: UUID
    slug: str
    model: Model
    key: str

    @property
    def host(self) -> str:
        """The tenant's host, as it goes into Host."""
        return f"{self.slug}.localhost:{self.platform.port}"

    @cached_property
    def http(self) -> httpx.Client:
        """A client of this tenant's host with the owner's key."""
        return self.platform.client(self.host, self.key)

    def key_with(self, role: Role, *scopes: str) -> str:
        """A new key of that role."""
        return self.platform.new_key(self.id, role, *scopes)

    @property
    def route(self) -> Route:
        """The route as the control database has it now."""
        with transaction(self.platform.engine) as session:
            route = routes.route_of(session, self.id)
        assert route is not None
        return route


@dataclass(kw_only=True)
class PlatformUnderTest:
    """A platform that runs, and everything a test needs to look inside it."""

    data: Path
    port: int
    others: dict[str, Callable[[str], psycopg.Connection[Any]]] = field(default_factory=dict)
    """Servers that are not its own, by name: how a test gets into a database there, as the superuser."""
    _clients: list[httpx.Client] = field(default_factory=list)

    @cached_property
    def layout(self) -> Layout:
        """Where its parts lie."""
        return Layout.open(self.data)

    @cached_property
    def settings(self) -> Settings:
        """What its processes were told."""
        return self.layout.settings()

    @cached_property
    def engine(self) -> Engine:
        """The control database."""
        return control_engine(self.settings.control_dsn, timeout_s=10)

    @cached_property
    def keyring(self) -> Keyring:
        """Its keys."""
        return open_keyring(self.settings)

    @cached_property
    def workflows(self) -> DurableWorkflows:
        """The door to its workflows."""
        return DurableWorkflows(self.engine)

    @cached_property
    def estate(self) -> Estate:
        """What its worker works with."""
        app = load_tenant_app(self.settings.tenant_app)
        return Estate(settings=self.settings, engine=self.engine, keyring=self.keyring, app=app)

    @property
    def url(self) -> str:
        """Its one port."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, host: str, key: str | None = None, **headers: str) -> httpx.Client:
        """A client that speaks to `host`; closed with the platform."""
        headers = {"Host": host, **headers}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=NO_TLS)
        self._clients.append(client)
        return client

    @cached_property
    def control(self) -> httpx.Client:
        """A client of the control plane's host, nobody signed in."""
        return self.client(f"localhost:{self.port}")

    def tenant(
        self, model: str | Model, slug: str | None = None, *, plan: Plan = Plan.STARTER, server: str | None = None
    ) -> TenantUnderTest:
        """A new active tenant of that model, with an owner's key."""
        slug = slug or f"t{uuid4().hex[:10]}"
        wish = service.TenantWish(
            slug=slug,
            name=f"Company {slug}",
            plan=plan,
            model=parse_model(str(model)),
            server=server,
            owner=service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner"),
        )
        with transaction(self.engine) as session:
            tenant_id = service.create(session, self.workflows, wish, "tests").id
        self.wait_for(tenant_id, Status.ACTIVE)
        key = self.new_key(tenant_id, Role.OWNER)
        tenant = TenantUnderTest(platform=self, id=tenant_id, slug=slug, model=parse_model(str(model)), key=key)
        until(lambda: tenant.http.get("/api/me").status_code == 200, what=f"{slug} answers")
        return tenant

    def new_key(self, tenant_id: UUID, role: Role, *scopes: str) -> str:
        """A new key of that tenant; the API may need a moment to hear of it."""
        with transaction(self.engine) as session:
            tenant = tenants.get(session, tenant_id)
            _, key = service.create_key(session, tenant, name=f"{role} key", role=role, scopes=scopes, actor="tests")
        return key

    def status(self, tenant_id: UUID) -> tuple[Status, str | None]:
        """The tenant's status and why it failed."""
        with transaction(self.engine) as session:
            row = tenants.get(session, tenant_id)
            return Status(row.status), row.failure

    def wait_for(self, tenant_id: UUID, status: Status) -> None:
        """Wait until the tenant has that status; fails at once when it has failed instead."""

        def there() -> bool:
            found, failure = self.status(tenant_id)
            assert found is status or found is not Status.FAILED, failure
            return found is status

        until(there, what=f"status {status}")

    def server(self, name: str) -> Server:
        """A server on the roll."""
        with transaction(self.engine) as session:
            return servers.server_named(session, name)

    def superuser(self, server: str, database: str) -> psycopg.Connection[Any]:
        """A direct superuser's connection in autocommit; use it as a context manager."""
        if server in self.others:
            return self.others[server](database)
        dsn = SOCKETS.dsn(self.server(server), database, "postgres")
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)

    def home_of(self, tenant: TenantUnderTest) -> psycopg.Connection[Any]:
        """A direct superuser's connection to the tenant's database, its schema on the search path."""
        home = tenant.route.home
        assert home is not None
        with transaction(self.engine) as session:
            server = servers.database(session, home.database_id).server
        connection = self.superuser(server, home.database)
        connection.execute(psycopg.sql.SQL("SET search_path = {}").format(psycopg.sql.Identifier(home.schema)))
        return connection

    def close(self) -> None:
        """Close what this object opened; the platform goes on running."""
        for client in self._clients:
            client.close()
        self.engine.dispose()


@contextmanager
def running_platform(*options: str, folder: Path | None = None, warm: int = 0) -> Iterator[PlatformUnderTest]:
    """A new platform of its own, in `folder` or in memory, stopped and deleted at the end of the block.

    Without `warm` silos, so that what is on its roll is what the tests have put there.
    """
    data = folder or new_folder("ch-test-")
    port = free_port()
    try:
        folder_and_port = ("--data", str(data), "--port", str(port), "--warm", str(warm))
        started = copyhold("up", *folder_and_port, "--detach", *options, check=False)
        assert started.returncode == 0, started.stdout + started.stderr
        platform = PlatformUnderTest(data=data, port=port)
        try:
            yield platform
        finally:
            platform.close()
            copyhold("down", "--data", str(data))
    finally:
        shutil.rmtree(data, ignore_errors=True)
