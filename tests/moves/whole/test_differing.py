"""Homes that turn out not to have the same rows: what is seen before the switch keeps it off, what after it is told."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model, Status
from control_plane.registry import moves
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import MOVE, MOVE_BACK, TIDY_MOVE
from control_plane.tenants.moving import NoWayBackError
from tests.doctor.patient import Patient
from tests.moves.whole.journeys import (
    AT_ONCE,
    assert_one_home,
    begin,
    begin_back,
    end_workflow_of,
    epoch_of,
    home_of,
    move_of,
    settle,
    where_it_has_rows,
)
from tests.moves.whole.moments import carry_out_or_fail, carry_out_when_told
from tests.moves.whole.traffic import assert_nothing_lost, traffic_of
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning.workers import workers_alone
from tests.service_user import as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow

NONE = -1
"""So few rows has nobody: all are compared after the switch."""


@pytest.fixture(scope="module")
def resident(town: PlatformUnderTest) -> Iterator[TenantUnderTest]:
    """A tenant that nobody moves but a test's own processes."""
    tenant = town.tenant(Model.POOL, server="alpha")
    with workers_alone(town):
        yield tenant


@pytest.fixture
def tenant(town: PlatformUnderTest, resident: TenantUnderTest) -> TenantUnderTest:
    """The same, in a pool; nothing else is done to it."""
    assert home_of(resident)[0] is Model.POOL
    end_workflow_of(town, resident.id)
    return resident


def _take(town: PlatformUnderTest, move_id: UUID, kind: str, small_rows: int | None = NONE) -> Phase:
    as_service_user(town.data, carry_out_or_fail, town.settings, move_id, kind, small_rows)
    return Phase(move_of(town, move_id).phase)


def _lose_a_row(tenant: TenantUnderTest, move_id: UUID) -> None:
    """In the home to be."""
    town = tenant.platform
    with transaction(town.engine) as session:
        there = moves.end_of(session, moves.get(session, move_id).target_id)
    assert there is not None
    with town.superuser(there.server, there.database) as home:
        home.execute(f"SET search_path = {there.schema}; SET session_replication_role = replica".encode())
        assert home.execute("DELETE FROM users WHERE tenant_id = %s", [tenant.id]).rowcount > 0


def _change_users_in_the_old_home(tenant: TenantUnderTest, move_id: UUID, name: str) -> None:
    town = tenant.platform
    with transaction(town.engine) as session:
        there = moves.end_of(session, moves.get(session, move_id).source_id)
    assert there is not None
    with town.superuser(there.server, there.database) as home:
        home.execute(f"SET search_path = {there.schema}".encode())
        home.execute(f"UPDATE users SET name = {name} WHERE tenant_id = %s".encode(), [tenant.id])


@contextmanager
def _arriving_with_a_row_too_few(tenant: TenantUnderTest, small_rows: int | None) -> Iterator[UUID]:
    town = tenant.platform
    told = town.data / "told"
    told.unlink(missing_ok=True)
    move_id = begin(tenant, Model.BRIDGE, "alpha")
    with ThreadPoolExecutor(1) as others:
        work = others.submit(
            as_service_user,
            town.data,
            carry_out_when_told,
            town.settings,
            move_id,
            MOVE,
            Phase.FREEZING,
            told,
            small_rows,
        )
        until(lambda: work.done() or move_of(town, move_id).phase == Phase.FREEZING, what="it is about to freeze")
        _lose_a_row(tenant, move_id)
        told.touch()
        work.result()
    yield move_id


def test_a_small_tenant_stays_where_it_was(town: PlatformUnderTest, tenant: TenantUnderTest) -> None:
    epoch = epoch_of(tenant)
    with traffic_of(tenant) as traffic, _arriving_with_a_row_too_few(tenant, None) as move_id:
        pass
    move = move_of(town, move_id)
    assert (move.phase, move.switched_at) == (Phase.CALLED_OFF, None)
    assert "do not have the same rows" in str(move.reason)
    assert "users: " in str(move.reason)
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, epoch)


def test_a_large_one_is_served_by_the_new_home_and_the_old_one_kept_until_somebody_decides(
    town: PlatformUnderTest, tenant: TenantUnderTest
) -> None:
    epoch = epoch_of(tenant)
    with _arriving_with_a_row_too_few(tenant, NONE) as move_id:
        move = move_of(town, move_id)
    assert (move.phase, move.verified, move.undo_until) == (Phase.KEPT, False, None)
    assert "did not have the same rows: users: " in str(move.reason)
    (finding,) = (each for each in Patient(platform=town, tenants={}).findings() if each.check == "move_differs")
    assert finding.object == tenant.slug
    assert _take(town, move_id, TIDY_MOVE) is Phase.KEPT
    assert len(where_it_has_rows(tenant)) == 2

    begin_back(tenant)
    assert _take(town, move_id, MOVE_BACK, None) is Phase.KEPT, "the two differ still, and neither goes by itself"
    end_workflow_of(town, tenant.id)
    assert (home_of(tenant)[0], epoch_of(tenant)) == (Model.POOL, epoch + 2)
    assert town.status(tenant.id)[0] is Status.ACTIVE
    assert tenant.http.get("/api/me").status_code == 200
    with pytest.raises(NoWayBackError, match="did not have the same rows"):
        begin_back(tenant)
    with transaction(town.engine) as session:
        assert moves.on_their_way(session) == []
        assert moves.waiting(session, AT_ONCE, 9) == []
    settle(tenant)
    assert _take(town, move_id, TIDY_MOVE) is Phase.DONE
    assert_one_home(tenant, Model.POOL, epoch + 2)


def test_a_small_one_does_not_go_back_into_a_home_that_is_no_copy_any_more(
    town: PlatformUnderTest, tenant: TenantUnderTest
) -> None:
    epoch = epoch_of(tenant)
    with traffic_of(tenant) as traffic:
        move_id = begin(tenant, Model.BRIDGE, "alpha")
        assert _take(town, move_id, MOVE, None) is Phase.KEPT
        _change_users_in_the_old_home(tenant, move_id, "name || '!'")
        begin_back(tenant)
        assert _take(town, move_id, MOVE_BACK, None) is Phase.KEPT
        assert "users: the same number of rows, not the same rows" in str(move_of(town, move_id).reason)
        assert epoch_of(tenant) == epoch + 1, "it was compared before the switch"
        end_workflow_of(town, tenant.id)
        _change_users_in_the_old_home(tenant, move_id, "rtrim(name, '!')")
        begin_back(tenant)
        assert _take(town, move_id, MOVE_BACK, None) is Phase.CLEANING
        assert move_of(town, move_id).verified
        assert _take(town, move_id, TIDY_MOVE) is Phase.DONE
    assert_nothing_lost(tenant, traffic)
    assert_one_home(tenant, Model.POOL, epoch + 2)


def test_whoever_settles_it_keeps_the_new_home(town: PlatformUnderTest, tenant: TenantUnderTest) -> None:
    epoch = epoch_of(tenant)
    with _arriving_with_a_row_too_few(tenant, NONE) as move_id:
        pass
    settle(tenant)
    assert _take(town, move_id, TIDY_MOVE) is Phase.DONE
    assert_one_home(tenant, Model.BRIDGE, epoch + 1, served=False)
