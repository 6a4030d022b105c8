"""A server throws away what slots of moves still need: the way there is begun anew, the way back is told to be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from control_plane.tenants.moving import NoWayBackError
from tests.moves.whole.held import Case, held_moves
from tests.moves.whole.journeys import begin, begin_back, move_of, settle, wait_for
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

SEGMENTS = 4
"""So many more than are kept."""
A_SEGMENT = "SELECT pg_logical_emit_message(false, 'tests', 'x'), pg_switch_wal()"
UNUSABLE = "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = %s"


@contextmanager
def keeping_little(town: PlatformUnderTest, server: str) -> Iterator[None]:
    """For the length of the block the server keeps next to nothing for slots."""
    with town.superuser(server, "postgres") as admin:
        admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            until(lambda: _keeps(town, server) == "1MB", what="it keeps little")
            for _ in range(SEGMENTS):
                admin.execute(A_SEGMENT)
            admin.execute("CHECKPOINT")
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            admin.execute("SELECT pg_reload_conf()")


def _keeps(town: PlatformUnderTest, server: str) -> str:
    with town.superuser(server, "postgres") as admin:
        ((size,),) = admin.execute("SHOW max_slot_wal_keep_size").fetchall()
    return str(size)


def slots(town: PlatformUnderTest, server: str, name: str) -> list[bool]:
    """Whether the slot of that name is of no use any more; nothing when there is none."""
    with town.superuser(server, "postgres") as admin:
        return [lost for (lost,) in admin.execute(UNUSABLE, [name]).fetchall()]


def _there(tenant: TenantUnderTest) -> UUID:
    return begin(tenant, Model.BRIDGE, "beta")


def _there_and_back(tenant: TenantUnderTest) -> UUID:
    wait_for(tenant.platform, _there(tenant), Phase.KEPT)
    return begin_back(tenant)


def test_what_is_thrown_away_is_noticed_and_told(town: PlatformUnderTest) -> None:
    def lost(tenant: TenantUnderTest) -> None:
        move_id = held.moves[Phase.KEPT]
        until(lambda: move_of(town, move_id).revision is None, what="the way back is told to be lost", deadline_s=60)
        assert "there is no way back any more" in str(move_of(town, move_id).reason)
        with pytest.raises(NoWayBackError, match="no way back"):
            begin_back(tenant)
        settle(tenant)

    there = frozenset({2})
    into = {Phase.FOLLOWING: (_there, settle), Phase.KEPT: (_there, lost), Phase.RETURNING: (_there_and_back, settle)}
    cases = {
        str(phase): Case(tenant=town.tenant(Model.POOL), phase=phase, begin=start, epochs=there, kept=kept)
        for phase, (start, kept) in into.items()
    }
    with held_moves(town, cases, list(cases)) as held:
        forth = f"mv_{cases[Phase.FOLLOWING].tenant.id.hex}"
        backs = [f"un_{cases[phase].tenant.id.hex}" for phase in (Phase.KEPT, Phase.RETURNING)]
        with keeping_little(town, "alpha"):
            until(lambda: slots(town, "alpha", forth) != [False], what="the way there is lost")
        with keeping_little(town, "beta"):
            until(lambda: [slots(town, "beta", back) for back in backs] == [[True], [True]], what="the ways back are")
        held.go_on()
