"""The server that a tenant would move to is looked at as well, before anything is made there."""

from __future__ import annotations

import pytest

from control_plane.domain.moving import Phase
from control_plane.domain.tenant import Model
from provisioning.moves.forecast import foretell
from tests.moves.whole.journeys import assert_one_home, begin, wait_for
from tests.platform_under_test import PlatformUnderTest

pytestmark = pytest.mark.slow


def test_what_is_wrong_with_the_target_is_told_before_and_nothing_is_made_there(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)

    def objections(window_s: int) -> list[str]:
        return foretell(town.estate, tenant.slug, Model.SILO, "beta", allow_freeze=False, window_s=window_s).objections

    assert objections(3600) == []
    with town.superuser("beta", "postgres") as admin:
        admin.execute("ALTER ROLE copyhold_mover NOBYPASSRLS NOREPLICATION")
        try:
            assert [each.partition(":")[0] for each in objections(0)] == [
                "on beta copyhold_mover does not see all rows"
            ]
            assert "nothing could flow back from beta: copyhold_mover may not read streams" in objections(3600)[1]
            row = wait_for(town, begin(tenant, Model.SILO, "beta"), Phase.CALLED_OFF)
        finally:
            admin.execute("ALTER ROLE copyhold_mover BYPASSRLS REPLICATION")
    assert "on beta copyhold_mover does not see all rows" in str(row.reason)
    assert row.target_id is None
    assert_one_home(tenant, Model.POOL, 1)
