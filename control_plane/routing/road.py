"""The road: from a tenant's id to a session inside that tenant's home, and back.

A visit is one transaction. It begins with one message (BEGIN, search_path, tenancy.enter) before any handler runs, so
that a refusal can be tried again: after a move with the new route, during one by waiting without a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import NamedTuple
from uuid import UUID

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from sqlalchemy import NullPool, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from control_plane.domain.compatibility import AppRange
from control_plane.domain.errors import CopyholdError, UnknownTenantError
from control_plane.domain.route import Home, Route
from control_plane.domain.tenant import Model, Status
from control_plane.keyring import Keyring
from control_plane.registry.engine import ControlDatabaseError
from control_plane.routing import tokens
from control_plane.routing.connections import ConnectionSource, Key, LentConnection
from control_plane.routing.credentials import session_signer, ticket_signer
from control_plane.routing.endings import close, commit, leave, refuse_unless_whole
from control_plane.routing.feed import Roll
from control_plane.routing.gates import Gates
from control_plane.routing.guard import check_home
from control_plane.routing.looks import Looks
from control_plane.routing.opening import BEGIN, Opening, send_opening
from control_plane.routing.refusals import (
    BusyError,
    ClosedError,
    ContextError,
    ContextExpiredError,
    FrozenError,
    HomeDownError,
    IncompatibleError,
    MovedError,
    NotReadyError,
    SuspendedError,
    TooSlowError,
    UnsafeHomeError,
    translated,
)
from control_plane.routing.scope import TenantSession
from control_plane.routing.throttle import Throttle
from control_plane.routing.tokens import Mode, begin_message, bound_begin, bounded_begin
from control_plane.settings import Settings
from control_plane.stores.secrets import Secrets

TRIES = 3
THAW_POLL_S = 0.1
OPENING_POLL_S = 0.005
"""At first, and then doubled, where no switch is ahead: the route leads there already, and it is about to be opened."""
POOLER_FULL = "max_client_conn"
"""Part of what the pooler says when all API processes together have as many connections as it takes."""
_bound_for: ContextVar[Home] = ContextVar("bound_for")
log = structlog.get_logger()


class _Inside(NamedTuple):
    """A session in a home, and the connection that its transaction is on."""

    session: AsyncSession
    connection: AsyncConnection


class Road:
    """Leads requests of one process to tenants' homes. Belongs to one event loop; `close` it at the end.

    `revisions` are those that the app works with, `older` the chain's before them: what AppRange asks for.
    """

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        roll: Roll,
        *,
        revisions: Iterable[str] | None = None,
        older: Iterable[str] = (),
    ) -> None:
        self.settings, self.keyring, self.roll = settings, keyring, roll
        self.sessions, self.tickets = session_signer(keyring), ticket_signer(keyring)
        self.throttle = Throttle.at(settings.redis_url)
        self.secrets = Secrets(settings, keyring)
        self._masters: dict[UUID, str] = {}
        self._range: AppRange | None = None
        if revisions is not None:
            self._range = AppRange(revisions=frozenset(revisions), older=frozenset(older))
        limits = settings.limits
        self.source = ConnectionSource(
            self._open,
            limit=limits.client_connections,
            waiters=limits.connection_waiters,
            wait_s=limits.connection_wait_s,
            age_s=limits.connection_age_s,
        )
        self._engine = create_async_engine(
            "postgresql+psycopg://",
            poolclass=NullPool,
            async_creator=self._lend,
            use_native_hstore=False,
            hide_parameters=True,  # An error's text ends in logs, and parameters are tenants' values.
        )
        event.listen(self._engine.sync_engine, "begin", send_opening)
        self._gates = Gates(
            places=limits.client_connections,
            waiters=limits.connection_waiters,
            wait_s=limits.connection_wait_s,
            look_s=limits.connect_timeout_s + 1,
        )
        self._looks = Looks(self._look, lambda home: self.source.idle_of(_key_of(home)))
        self._changed = asyncio.Event()
        self._reload_lock, self._reload_began = asyncio.Lock(), 0.0
        # A thread of its own: one that hangs on a silent control database must not be one that others need.
        self._reader = ThreadPoolExecutor(1, "roll-reader")
        self._waiting_for_thaw = 0
        loop = asyncio.get_running_loop()
        roll.subscribe(partial(_call_on, loop, self._announce_change))

    def enter(self, tenant_id: UUID) -> AbstractAsyncContextManager[AsyncSession]:
        """A session in the tenant's home, one transaction: committed at the end of the block, rolled back by an error.

        Raises the refusals of routing.refusals; a driver's errors inside the block leave it as ours. A block that takes
        longer than `transaction_timeout_s` is cancelled, and so is the statement that it is in; its commit, once begun,
        is not.
        """
        return self._visit(lambda: self._admitted(tenant_id))

    def enter_unopened(self, route: Route) -> AbstractAsyncContextManager[AsyncSession]:
        """As `enter`, for a home that is not open yet: provisioning seeds and tries it through the same road."""
        return self._visit(lambda: self._begin(route, Mode.SETUP))

    @contextlib.asynccontextmanager
    async def _visit(self, admitted: Callable[[], Awaitable[_Inside]]) -> AsyncIterator[AsyncSession]:
        session, connection = await admitted()
        limit = asyncio.timeout(self.settings.limits.transaction_timeout_s)
        try:
            async with limit:
                yield session
                refuse_unless_whole(session, connection)
                await commit(session)
        except BaseException as error:
            # Shielded: a request that was cancelled still has to roll back and give its connection back.
            await asyncio.shield(leave(session, connection))
            if isinstance(error, TimeoutError) and limit.expired():
                raise TooSlowError from error
            ours = translated(error) if isinstance(error, DBAPIError) else None
            if ours is None:
                raise
            raise ours from error
        # After its commit a session holds no connection, so that closing it waits for nothing.
        session.sync_session.close()

    def route_of(self, tenant_id: UUID) -> Route:
        """The tenant's route as last seen, whatever its state; UnknownTenantError when there is none."""
        route = self.roll.snapshot.by_id.get(tenant_id)
        if route is None:
            raise UnknownTenantError
        return route

    async def check_shared_homes(self) -> None:
        """UnsafeHomeError for a pool or bridge that does not keep tenants apart; a silent one is checked later."""
        shared = {
            route.home.database_id: (route.home, route)
            for route in self.roll.snapshot.by_id.values()
            if route.home is not None and route.model is not Model.SILO
        }
        for home, route in shared.values():
            with contextlib.suppress(HomeDownError, TooSlowError, BusyError):
                await self._looks.once(home, route)

    async def close(self) -> None:
        """Close idle connections and the rest as they come back."""
        self._looks.close()
        await self.source.close()
        await self._engine.dispose()
        await self.throttle.close()
        self._reader.shutdown(wait=False, cancel_futures=True)

    async def _admitted(self, tenant_id: UUID) -> _Inside:
        thaw_by = time.monotonic() + self.settings.limits.freeze_wait_s
        tries = 0
        pauses = (min(OPENING_POLL_S * 2**number, THAW_POLL_S) for number in count())
        while True:
            route = self._servable(tenant_id)
            home = _home_of(route)
            try:
                async with self._gates.passage(_key_of(home), home.server):
                    return await self._begin(route)
            except FrozenError:
                if time.monotonic() > thaw_by:
                    raise
                # What is waited for may have come while the home was asked: nobody tells of it twice.
                if self.route_of(tenant_id).epoch == route.epoch:
                    await self._wait_for_change(next(pauses) if route.next_home is None else THAW_POLL_S)
            except (MovedError, ClosedError, ContextExpiredError, HomeDownError) as refusal:
                tries += 1
                if tries == TRIES or not await self._worth_another_try(refusal, route):
                    raise

    def _servable(self, tenant_id: UUID) -> Route:
        route = self.route_of(tenant_id)
        refuse_unless_served(route)
        if self._range is not None and not self._range.serves(route.revision, route.needs):
            raise IncompatibleError(revision=route.revision)
        return route

    async def _worth_another_try(self, refusal: CopyholdError, route: Route) -> bool:
        if isinstance(refusal, MovedError | ClosedError):
            # The fence of a home that was left is closed: only a fresh route tells whether the tenant is.
            if self.route_of(route.tenant_id).epoch == route.epoch:
                await self._reload(self.settings.limits.control_timeout_s)
            return self.route_of(route.tenant_id).epoch != route.epoch
        if isinstance(refusal, ContextExpiredError):
            return True
        # A kept connection may have died with the pooler; a fresh one tells whether the home is down. And a login that
        # was taken away while the request waited has another in its place.
        key, now = _key_of(_home_of(route)), self.route_of(route.tenant_id).home
        return self.source.close_idle(key) > 0 or (now is not None and _key_of(now) != key)

    async def _begin(self, route: Route, mode: Mode = Mode.SERVE) -> _Inside:
        """Inside, with a token by that master key by which the home's is: while it is being changed, one of two."""
        database_id, tried = _home_of(route).database_id, set[str]()
        while True:
            master = self._master_for(database_id, tried)
            try:
                inside = await self._begin_once(route, mode, master)
            except ContextError:
                tried.add(master)
                self.keyring.refresh()
                if tried.issuperset(self.keyring.ids):
                    raise
            else:
                self._masters[database_id] = master
                return inside

    def _master_for(self, database_id: UUID, tried: set[str]) -> str:
        known, last = self.keyring.ids, self._masters.get(database_id)
        return next(each for each in ((last, *known) if last in known else known) if each not in tried)

    async def _begin_once(self, route: Route, mode: Mode, master: str) -> _Inside:
        home = _home_of(route)
        await self._looks.once(home, route)
        session = AsyncSession(
            self._engine, sync_session_class=TenantSession, tenant_id=route.tenant_id, expire_on_commit=False
        )
        mark = _bound_for.set(home)
        try:
            begin = partial(self._opening, home, route, mode, master)
            return _Inside(session, await session.connection(execution_options={BEGIN: begin}))
        except BaseException as error:
            await asyncio.shield(session.close())
            ours = translated(error)
            if ours is None:
                raise
            raise ours from error
        finally:
            _bound_for.reset(mark)

    def _opening(self, home: Home, route: Route, mode: Mode, master: str) -> Opening:
        """Made when a connection is there: the wait for one does not use up the token's life."""
        limits = self.settings.limits
        life_s = limits.token_life_s
        token = tokens.minted(self.keyring, home, route.tenant_id, route.epoch, mode, life_s, master=master)
        # A login with a password is on a server of others, whose catalogue may show everybody's statements.
        write = begin_message if home.sealed_password is None else bound_begin
        return write(token, home.schema, limits.statement_timeout_s)

    async def _look(self, home: Home, route: Route) -> None:
        connection = await self._connect(home)
        try:
            begin = partial(bounded_begin, self.settings.limits.statement_timeout_s)
            await connection.execution_options(**{BEGIN: begin})
            await check_home(connection, home.schema)
        except UnsafeHomeError as error:
            log.error("home_unsafe", tenant_id=str(route.tenant_id), findings=error.facts["findings"])
            raise
        except (DBAPIError, psycopg.Error) as error:
            raise (translated(error) or HomeDownError()) from error
        finally:
            await asyncio.shield(close(connection))

    async def _connect(self, home: Home) -> AsyncConnection:
        mark = _bound_for.set(home)
        try:
            return await self._engine.connect()
        except (DBAPIError, psycopg.Error) as error:
            raise (translated(error) or HomeDownError()) from error
        finally:
            _bound_for.reset(mark)

    async def _lend(self) -> LentConnection:
        home = _bound_for.get()
        return await self.source.borrow(_key_of(home))

    async def _open(self, key: Key) -> LentConnection:
        home = _bound_for.get()
        kept = home.sealed_password
        # In a thread: a store elsewhere is asked over a network.
        password = await asyncio.to_thread(self.secrets.open, kept, home.database_id) if kept else None
        conninfo = make_conninfo(
            host=self.settings.pooler_host,
            port=self.settings.pooler_port,
            dbname=key.alias,
            user=key.login,
            password=password,
            application_name="copyhold",
            connect_timeout=max(2, int(self.settings.limits.connect_timeout_s)),
        )
        try:
            return await LentConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
        except psycopg.OperationalError as error:
            if POOLER_FULL not in str(error):
                raise
            raise BusyError from error  # of the home it tells nothing

    async def _reload(self, within_s: float) -> None:
        """Read the roll anew; those who ask together share one reading, begun after the last of them asked."""
        asked = time.monotonic()
        # The control database may be away, or hang: then the route on hand is all there is.
        with contextlib.suppress(ControlDatabaseError, TimeoutError):
            async with asyncio.timeout(within_s), self._reload_lock:
                if self._reload_began < asked:
                    self._reload_began = time.monotonic()
                    await asyncio.get_running_loop().run_in_executor(self._reader, self.roll.refresh)

    async def _wait_for_change(self, within_s: float) -> None:
        if self._waiting_for_thaw >= self.settings.limits.freeze_waiters:
            raise FrozenError
        self._waiting_for_thaw += 1
        try:
            # A move that is called off changes no route, so the wait is short and the fence is asked again.
            await asyncio.wait_for(self._changed.wait(), within_s)
        except TimeoutError:
            if within_s >= THAW_POLL_S:
                await self._reload(THAW_POLL_S)
        finally:
            self._waiting_for_thaw -= 1

    def _announce_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._looks.ahead(self.roll.snapshot.awaited)


def refuse_unless_served(route: Route) -> None:
    """The refusal that a tenant's status asks for, if any."""
    match route.status:
        case Status.ACTIVE | Status.MOVING:
            return
        case Status.SUSPENDED:
            raise SuspendedError
        case Status.CLOSING | Status.CLOSED:
            raise ClosedError
        case Status.PROVISIONING | Status.FAILED:
            raise NotReadyError


def _home_of(route: Route) -> Home:
    if route.home is None:
        raise NotReadyError
    return route.home


def _key_of(home: Home) -> Key:
    return Key(home.alias, home.login)


def _call_on(loop: asyncio.AbstractEventLoop, announce: Callable[[], None]) -> None:
    # The feed's thread may outlive the loop by a moment at the end of the process.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(announce)
