"""A freeze ends in time even when a server says nothing, and nobody ends a freeze of somebody else's."""

from __future__ import annotations

import threading
from uuid import UUID

import psycopg
import pytest

from control_plane.domain.tenant import Model
from provisioning.moves import fences
from provisioning.moves.bounds import SilentError, cut_after, freezing, wait_for_thaw
from provisioning.moves.fences import CLOSED, FROZEN, OPEN, READY, SUSPENDED
from provisioning.moves.places import source_of, target_of
from tests.moves.conftest import NewHome
from tests.moves.homes import Home

WITHIN_MS = 200
INSIDE = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
"""What `tenancy.enter` does."""
WHOLE = "SELECT epoch, state FROM tenancy.fences WHERE tenant_id = %(tenant)s"
STATE = "SELECT state FROM tenancy.fences WHERE tenant_id = %(tenant)s"


@pytest.fixture
def there(home: NewHome) -> Home:
    return home(Model.POOL)


def test_whoever_waits_for_a_silent_server_is_cut_off(there: Home) -> None:
    with source_of(there.place) as silent, source_of(there.place) as other:
        with pytest.raises(SilentError), cut_after(0.1, [silent], SilentError):
            silent.execute("SELECT pg_sleep(60)")
        assert other.execute("SELECT 1").fetchone() == (1,)


def test_nothing_is_cut_when_it_ends_in_time(there: Home) -> None:
    with source_of(there.place) as connection:
        with cut_after(60, [connection], SilentError):
            connection.execute("SELECT 1")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_one_that_is_closed_already_is_no_matter(there: Home) -> None:
    with source_of(there.place) as closed, source_of(there.place) as silent:
        closed.close()
        with pytest.raises(SilentError), cut_after(0.1, [closed, silent], SilentError):
            silent.execute("SELECT pg_sleep(60)")


def test_a_freeze_is_ended_by_whoever_made_it_alone(there: Home, tenant: UUID) -> None:
    with source_of(there.place) as connection:
        first = fences.freeze(connection, tenant, 1, WITHIN_MS)
        fences.thaw(connection, tenant, 1)
        second = fences.freeze(connection, tenant, 1, WITHIN_MS)
        assert first is not None
        assert second is not None
        fences.thaw(connection, tenant, 1, first)
        assert there.ask(STATE, tenant=tenant) == [("frozen",)]
        fences.thaw(connection, tenant, 1, second)
        assert there.ask(STATE, tenant=tenant) == [("open",)]


@pytest.mark.parametrize("before", ["open", "suspended"])
def test_who_is_suspended_is_kept_out_for_good_and_thawed_by_nobody(there: Home, tenant: UUID, before: str) -> None:
    there.do("UPDATE tenancy.fences SET state = %(state)s", state=before)
    with source_of(there.place) as connection:
        since = fences.freeze(connection, tenant, 1, WITHIN_MS, fences.SUSPENDED)
        assert since is not None
        fences.thaw(connection, tenant, 1, since)
        fences.thaw(connection, tenant, 1)
    assert there.ask(STATE, tenant=tenant) == [("suspended",)]


def test_who_is_suspended_is_not_frozen_as_one_that_is_served(there: Home, tenant: UUID) -> None:
    there.do("UPDATE tenancy.fences SET state = 'suspended'")
    with source_of(there.place) as connection, pytest.raises(psycopg.errors.NoDataFound):
        fences.freeze(connection, tenant, 1, WITHIN_MS)
    assert there.ask(STATE, tenant=tenant) == [("suspended",)]


def test_nobody_is_frozen_while_a_transaction_is_inside(there: Home, tenant: UUID) -> None:
    """What it writes is committed before the fence is frozen, or comes out of the stream too late."""
    with source_of(there.place) as connection, there.superuser() as inside:
        # So that it is the freeze's own bound which ends the wait, and the session has its own again.
        connection.execute("SET lock_timeout = 0; SET statement_timeout = '20s'")
        with inside.transaction():
            inside.execute(INSIDE, [str(tenant)])
            assert fences.freeze(connection, tenant, 1, WITHIN_MS) is None
            assert there.ask(STATE, tenant=tenant) == [("open",)]
        assert fences.freeze(connection, tenant, 1, WITHIN_MS) is not None
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


@pytest.mark.parametrize(
    ("epoch", "state", "late"),
    [
        (1, OPEN, (1, READY)),
        (1, OPEN, (1, FROZEN)),
        (2, FROZEN, (1, OPEN)),
        (1, CLOSED, (1, OPEN)),
        (1, SUSPENDED, (1, OPEN)),
    ],
)
def test_a_fence_that_is_past_a_state_is_not_put_back_into_it(
    there: Home, tenant: UUID, epoch: int, state: str, late: tuple[int, str]
) -> None:
    there.do("UPDATE tenancy.fences SET epoch = %(epoch)s, state = %(state)s", epoch=epoch, state=state)
    with target_of(there.place) as connection, pytest.raises(psycopg.errors.NoDataFound):
        fences.put(connection, tenant, *late)
    assert there.ask(WHOLE, tenant=tenant) == [(epoch, state)]


def test_whoever_shuts_a_home_that_was_left_shuts_none_to_which_the_tenant_has_come_back(
    there: Home, tenant: UUID
) -> None:
    with target_of(there.place) as connection:
        fences.put(connection, tenant, 3, READY)
        fences.put(connection, tenant, 3, OPEN)
        fences.shut(connection, tenant, 1)
        assert there.ask(WHOLE, tenant=tenant) == [(3, OPEN)]
        fences.shut(connection, tenant, 3)
        assert there.ask(WHOLE, tenant=tenant) == [(3, CLOSED)]


def test_a_worker_that_ends_waits_until_nobody_is_frozen() -> None:
    assert wait_for_thaw(0)
    thawing = threading.Event()

    def freeze() -> None:
        with freezing():
            frozen.set()
            thawing.wait(30)

    frozen = threading.Event()
    thread = threading.Thread(target=freeze)
    thread.start()
    frozen.wait(30)
    assert not wait_for_thaw(0)
    thawing.set()
    assert wait_for_thaw(30)
    thread.join()
