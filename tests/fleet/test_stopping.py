"""Runs that stop: by their own rules, by somebody, for want of health or of a yes; and how they are gone on with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from migrations.fleet import going
from migrations.fleet.events import STOPPED_BY_SOMEBODY, Began, Event, Hands, WaveBegan, WaveEnded
from migrations.fleet.run import NothingToResumeError
from migrations.fleet.wishes import Chosen, Wishes
from tests.fleet.fleet import BEHIND, NEWEST, FleetUnderTest, place_of
from tests.platform_under_test import TenantUnderTest

pytestmark = pytest.mark.slow


def spoil(tenant: TenantUnderTest) -> None:
    """Put something in the way of the newest revision."""
    with tenant.platform.home_of(tenant) as home:
        home.execute("ALTER TABLE conversations ADD COLUMN last_message_at int")


def mend(tenant: TenantUnderTest) -> None:
    with tenant.platform.home_of(tenant) as home:
        home.execute("ALTER TABLE conversations DROP COLUMN last_message_at")


def test_a_canary_that_fails_stops_the_run_before_anybody_else_is_touched(fleet: FleetUnderTest) -> None:
    canary = fleet.of("bridge")[1]
    spoil(canary)
    report = fleet.run(waves=("1", "100%"), max_failures="10%", canaries=Chosen(names=(canary.slug,)))
    assert (report.state, report.done, len(report.failed)) == ("stopped", 0, 1)
    assert report.not_started == len(fleet.ledger()) - 1
    assert report.reason == "1 of wave 1 failed, 0 may (10%)"
    assert set(fleet.found().values()) == {BEHIND}
    assert fleet.wanted().tenant == BEHIND, "new homes are built at a revision that fails"
    assert report.run_id is not None
    assert fleet.outcomes(report.run_id) == {"failed": 1, "not_started": report.not_started}
    mend(canary)
    again = fleet.resume(report.run_id)
    assert (again.state, again.failed) == ("done", ())
    assert fleet.behind() == set()
    assert fleet.wanted().tenant == NEWEST
    assert fleet.outcomes(report.run_id) == {"done": len(fleet.ledger())}
    with pytest.raises(NothingToResumeError):
        fleet.resume(report.run_id)


def test_no_more_than_may_fail_in_a_wave_do(fleet: FleetUnderTest) -> None:
    spoilt = fleet.of("bridge")[:3]
    for tenant in spoilt:
        spoil(tenant)
    report = fleet.run(max_failures="1", at_once=1, only=Chosen(servers=("alpha",)))
    for tenant in spoilt:
        mend(tenant)
    assert (report.state, len(report.failed)) == ("stopped", 2)
    assert report.not_started > 0


def test_what_failed_is_tried_again_and_nothing_else(fleet: FleetUnderTest) -> None:
    spoilt = fleet.of("silo")[1]
    spoil(spoilt)
    report = fleet.run()
    assert report.run_id is not None
    mend(spoilt)
    again = fleet.resume(report.run_id, failed_only=True)
    assert (again.done, again.failed) == (1, ())
    assert fleet.runs()[0] == ("done", {"done": len(fleet.ledger())})


def test_somebody_who_stops_a_run_has_what_is_in_flight_finished(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor
) -> None:
    held_up, stop = fleet.of("bridge")[0], threading.Event()
    with fleet.held_up(held_up):
        running = elsewhere.submit(fleet.run, at_once=1, stop=stop)
        fleet.wait_until_held_up(held_up)
        stop.set()
    report = running.result()
    assert (report.state, report.reason) == ("stopped", STOPPED_BY_SOMEBODY)
    assert fleet.found()[place_of(held_up)] == NEWEST
    assert report.not_started > 0
    assert len(fleet.behind()) == report.not_started


def test_waves_are_told_in_order_and_each_waits_for_a_yes(fleet: FleetUnderTest) -> None:
    told: list[Event] = []
    asked: list[int] = []

    def approve(wave: int) -> bool:
        asked.append(wave)
        return wave < 3

    hands = Hands(tell=told.append, stop=threading.Event(), approve=approve)
    report = fleet.migration.run(Wishes(waves=("1", "3", "100%")), "tests", hands)
    assert asked == [2, 3]
    assert (report.state, report.done, report.reason) == ("stopped", 3, "wave 3 was not approved")
    began = told[0]
    assert isinstance(began, Began)
    assert [len(wave.steps) for wave in began.plan.waves] == [1, 2, len(fleet.ledger()) - 3]
    assert [event.number for event in told if isinstance(event, WaveBegan)] == [1, 2]
    assert [(event.done, event.failed, event.stopped) for event in told if isinstance(event, WaveEnded)] == [
        (1, 0, None),
        (2, 0, None),
    ]


@pytest.mark.parametrize("probed", [["acme is not served"], []])
def test_a_fleet_that_is_not_well_after_a_wave_is_left_alone(
    fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch, probed: list[str]
) -> None:
    monkeypatch.setattr(going, "HEALTHY_WITHIN_S", 0.0)
    hands = Hands(tell=lambda _: None, stop=threading.Event(), probe=lambda _: probed)
    report = fleet.migration.run(Wishes(), "tests", hands)
    assert report.reason == ("after wave 1: acme is not served" if probed else None)
    assert report.done == (1 if probed else len(fleet.ledger()))


def test_whoever_waits_for_a_lock_is_noticed(fleet: FleetUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(going, "HEALTHY_WITHIN_S", 0.0)
    canary = fleet.of("bridge")[0]
    with fleet.held_up(canary), fleet.somebody_waits_at(canary):
        report = fleet.run(waves=("1", "100%"), canaries=Chosen(names=(fleet.of("bridge")[2].slug,)))
    assert report.reason is not None
    assert "have waited for a lock on alpha" in report.reason


@pytest.mark.parametrize("only", ["names", "servers", "labels"])
def test_those_who_are_chosen_alone_are_migrated(fleet: FleetUnderTest, only: str) -> None:
    chosen = fleet.of("bridge")[3]
    fleet.tell_roll("UPDATE tenants SET labels = '{early}' WHERE id = :id", id=chosen.id)
    value = {"names": chosen.slug, "servers": "beta", "labels": "early"}[only]
    report = fleet.run(only=Chosen(**{only: (value,)}))
    places = {place_of(t) for t in fleet.of("silo")} if only == "servers" else {place_of(chosen)}
    moved = {place for place, revision in fleet.found().items() if revision == NEWEST}
    assert report.done == len(moved)
    assert places <= moved
    assert moved == places or only == "servers"
    assert fleet.wanted().tenant == BEHIND


def test_a_revision_is_taken_back_where_it_can_be(fleet: FleetUnderTest) -> None:
    fleet.run()
    tenant = fleet.of("silo")[0]
    report = fleet.run(to=BEHIND, down=True, only=Chosen(names=(tenant.slug,)))
    assert (report.done, report.failed) == (1, ())
    assert fleet.behind() == {place_of(tenant)}
    assert not fleet.has_new_column(place_of(tenant))
    report = fleet.run(to=BEHIND, down=True)
    assert report.failed == ()
    assert set(fleet.found().values()) == {BEHIND}
    assert fleet.wanted().tenant == BEHIND
