"""Ways to the tenant app: over the platform's port, and in this process, where its layers can be taken off."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol
from uuid import UUID

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp

from control_plane.domain.errors import CopyholdError
from control_plane.routing.feed import Roll
from control_plane.routing.road import Road
from control_plane.routing.seam import load_tenant_app
from tests.platform_under_test import PlatformUnderTest

TIMEOUT_S = 30
CONTEXT = "SELECT left(current_setting('tenancy.context', true), 36)"
"""The tenant whose context this transaction has, as the database sees it; empty without one."""
PLENTY = {"logins_per_minute": 100_000}
"""The proof signs in far more often than a person may."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    raw: bytes | None = None
    """A body as it is, instead of `body`."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """All of an answer that a caller can tell from another one, apart from when it was given."""

    status: int
    headers: tuple[tuple[str, str], ...]
    text: str

    @classmethod
    def of(cls, response: httpx.Response) -> Answer:
        """The answer in `response`."""
        headers = sorted((name, value) for name, value in response.headers.multi_items() if name != "date")
        return cls(status=response.status_code, headers=tuple(headers), text=response.text)

    @property
    def whole(self) -> str:
        """Everything in it, to search."""
        return "\n".join([*(f"{name}: {value}" for name, value in self.headers), self.text])


class Door(Protocol):
    """Takes a request to the app."""

    def send(self, ask: Ask) -> Answer:
        """The app's answer."""


class Port:
    """The platform's port: the whole stack, as the world meets it."""

    def __init__(self, platform: PlatformUnderTest) -> None:
        self._client = httpx.Client(base_url=platform.url, timeout=TIMEOUT_S)

    def send(self, ask: Ask) -> Answer:
        """See Door."""
        answer = Answer.of(self._client.request(**_as_httpx(ask)))
        self._client.cookies.clear()
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A statement that was sent to a home."""

    text: str
    parameters: Mapping[str, object]
    compiled: Any
    """What SQLAlchemy made it from; None when it was handed in as text."""
    tenant: UUID | None
    """Whose context the transaction had; None when nobody's."""


class Inside:
    """The app in this process, over the platform's own PgBouncer and databases. A context manager.

    It has a thread and event loop of its own, and sees the roll as it was at `refresh`.
    """

    def __init__(self, platform: PlatformUnderTest, *, recording: bool = False) -> None:
        self._platform = platform
        self.recording = recording
        self.sent: list[Sent] = []
        """What was sent to homes while `recording`."""
        self.app: ASGIApp
        self._road: Road

    def __enter__(self) -> Inside:
        self._portal_manager = start_blocking_portal()
        self._portal: BlockingPortal = self._portal_manager.__enter__()
        self._portal.call(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._close)
        self._portal_manager.__exit__(kind, error, trace)

    def send(self, ask: Ask) -> Answer:
        """See Door."""
        return self._portal.call(self._send, ask)

    def refresh(self) -> None:
        """Learn of keys and tenants made since."""
        self._road.roll.refresh()

    def check_shared_homes(self) -> CopyholdError | None:
        """What the app would refuse to start with, if anything."""
        try:
            self._portal.call(self._road.check_shared_homes)
        except CopyholdError as error:
            return error
        return None

    @contextmanager
    def session(self, tenant: UUID) -> Iterator[AsyncSession]:
        """A visit to that tenant's home; its statements are run by `run`."""
        visit: AbstractAsyncContextManager[AsyncSession] = self._road.enter(tenant)
        with self._portal.wrap_async_context_manager(visit) as session:
            yield session

    def run(self, session: AsyncSession, statement: Any, parameters: Mapping[str, object] | None = None) -> list[Any]:
        """The rows of a statement."""
        result = self._portal.call(session.execute, statement, parameters)
        return list(result.all()) if result.returns_rows else []

    def flush(self, session: AsyncSession) -> None:
        """Send what is pending."""
        self._portal.call(session.flush)

    async def _open(self) -> None:
        platform = self._platform
        limits = platform.settings.limits.model_copy(update=PLENTY)
        settings = platform.settings.model_copy(update={"limits": limits})
        tenant_app = load_tenant_app(settings.tenant_app)
        roll = Roll(platform.engine, settings.control_dsn, platform.keyring, None, poll_s=settings.limits.feed_poll_s)
        roll.refresh()
        self._road = Road(settings, platform.keyring, roll, revisions=tenant_app.revisions)
        # The road's engine is nobody's business but a proof that looks at what is sent through it.
        event.listen(self._road._engine.sync_engine, "before_cursor_execute", self._record)
        self.app = tenant_app.create_asgi(self._road)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=platform.url, timeout=TIMEOUT_S)

    async def _close(self) -> None:
        await self._client.aclose()
        await self._road.close()

    async def _send(self, ask: Ask) -> Answer:
        response = await self._client.request(**_as_httpx(ask))
        self._client.cookies.clear()
        return Answer.of(response)

    def _record(
        self, connection: Connection, _cursor: object, text: str, parameters: Any, context: Any, _many: bool
    ) -> None:
        if not self.recording:
            return
        tenant = _entered(connection)
        for each in parameters if isinstance(parameters, list) else [parameters]:
            self.sent.append(
                Sent(
                    text=text,
                    parameters=dict(each),
                    compiled=getattr(context, "compiled", None),
                    tenant=tenant,
                )
            )


def _entered(connection: Connection) -> UUID | None:
    cursor = connection.connection.cursor()
    try:
        cursor.execute(CONTEXT)
        row = cursor.fetchone()
    finally:
        cursor.close()
    return UUID(row[0]) if row and row[0] else None


def _as_httpx(ask: Ask) -> dict[str, Any]:
    body = None if ask.body is None else json.dumps(ask.body).encode()
    content = body if ask.raw is None else ask.raw
    described = {} if content is None else {"Content-Type": "application/json"}
    return {
        "method": ask.method,
        "url": ask.path,
        "params": dict(ask.query) or None,
        "content": content,
        "headers": {"Host": ask.host, **described, **ask.headers},
    }
