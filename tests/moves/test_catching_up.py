"""Catching up before the freeze: until little is under way, however long a commit takes."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from migrations.fleet.chains import Chain
from provisioning.duty import at_once
from provisioning.moves import switching
from provisioning.moves.following import Follower
from provisioning.moves.switching import CAUGHT_UP_S, CAUGHT_UP_TRIES, IN_VAIN, catch_up
from provisioning.roles import Connection
from tests.moves.conftest import NewHome
from tests.moves.homes import new_home
from tests.moves.moving import fill, moving, same
from tests.tenant_app.cluster import running_cluster

COMMIT_US = 50_000
assert COMMIT_US > CAUGHT_UP_S * 1_000_000


def marks_of(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> Sequence[bytes]:
    """Those that are written from now on: one a try."""
    mark, marks = follower.mark, list[bytes]()

    def marked(connection: Connection) -> bytes:
        marks.append(mark(connection))
        return marks[-1]

    monkeypatch.setattr(follower, "mark", marked)
    return marks


@pytest.mark.slow
def test_a_source_whose_disk_is_slow_is_caught_up_with_all_the_same(
    home: NewHome, other: Server, things: Chain, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_cluster(wal_level="logical", fsync="on") as server:
        here, there = new_home(server, Model.POOL, tenant, things), home(Model.BRIDGE, other)
        fill(here, tenant, "copied")
        with moving(here, there, tenant) as follower, here.superuser() as source:
            # Waited for at each commit, before the log is written to the disk.
            source.execute(f"SET commit_delay = {COMMIT_US}; SET commit_siblings = 0")
            marks = marks_of(follower, monkeypatch)
            fill(here, tenant, "and more")
            catch_up(follower, source, lambda: None, at_once())
            assert len(marks) < CAUGHT_UP_TRIES
            assert same(here, there, tenant)


def test_what_more_tries_do_not_bring_nearer_is_left_at_that(
    home: NewHome, other: Server, tenant: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = home(Model.POOL), home(Model.BRIDGE, other)
    fill(here, tenant, "copied")
    monkeypatch.setattr(switching, "CAUGHT_UP_S", 0.0)
    with moving(here, there, tenant) as follower, here.superuser() as source:
        marks = marks_of(follower, monkeypatch)
        fill(here, tenant, "and more")
        catch_up(follower, source, lambda: None, at_once())
        assert IN_VAIN < len(marks) < CAUGHT_UP_TRIES
        assert same(here, there, tenant)
