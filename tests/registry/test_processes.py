"""Who is alive, and what the roll says that homes ask of an app."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.registry import processes, revisions, routes
from control_plane.registry.engine import transaction
from control_plane.registry.processes import ALIVE_S, FORGOTTEN_S, Process
from migrations.fleet import gate
from tests.fleet.declared import declared_chain
from tests.registry.roll import Roll

A_BIT = timedelta(seconds=0.5)


def process(*known: str, kind: str = "api", place: str = "here/1", code: str = "1.0") -> Process:
    return Process(
        id=new_id(), kind=kind, place=place, code_version=code, revisions=known, started_at=datetime.now(UTC)
    )


def announce(engine: Engine, told: Process) -> datetime:
    """Announce it; when the control database says that was."""
    with transaction(engine) as session:
        processes.announce(session, told)
    with transaction(engine) as session:
        return next(row.seen_at for row in processes.living(session) if row.id == told.id)


def living(engine: Engine, now: datetime | None = None) -> list[str]:
    """The places of who is alive."""
    with transaction(engine) as session:
        return [row.place for row in processes.living(session, now)]


def test_a_process_is_alive_from_its_announcement_on(engine: Engine) -> None:
    told = process("0001", "0002")
    announce(engine, told)
    with transaction(engine) as session:
        (row,) = processes.living(session)
    assert (row.id, row.kind, row.place, row.code_version) == (told.id, "api", "here/1", "1.0")
    assert (row.revisions, row.started_at) == (["0001", "0002"], told.started_at)


def test_it_is_dead_once_it_has_not_been_seen_for_long_enough(engine: Engine) -> None:
    seen = announce(engine, process())
    assert living(engine, seen + timedelta(seconds=ALIVE_S) - A_BIT) == ["here/1"]
    assert living(engine, seen + timedelta(seconds=ALIVE_S) + A_BIT) == []


def test_announcing_again_keeps_it_alive_and_changes_nothing_else(engine: Engine) -> None:
    told = process()
    first = announce(engine, told)
    again = announce(engine, told)
    assert again > first
    with transaction(engine) as session:
        (row,) = processes.living(session)
    assert row.started_at == told.started_at


def test_one_that_leaves_is_gone_at_once_and_nobody_else_is(engine: Engine) -> None:
    told = process()
    announce(engine, told)
    announce(engine, process(place="here/2"))
    with transaction(engine) as session:
        processes.leave(session, told.id)
        processes.leave(session, told.id)
    assert living(engine) == ["here/2"]


def test_rows_of_the_long_dead_are_deleted_and_one_that_lives_after_all_comes_back(engine: Engine) -> None:
    told = process()
    seen = announce(engine, told)
    for age, left in ((FORGOTTEN_S - 1, 1), (FORGOTTEN_S + 1, 0)):
        with transaction(engine) as session:
            processes.forget_dead(session, seen + timedelta(seconds=age))
        assert len(living(engine)) == left
    announce(engine, told)
    assert living(engine) == ["here/1"]


def test_the_gate_asks_those_alone_who_are_alive(engine: Engine, tmp_path: Path) -> None:
    chain = declared_chain(tmp_path / "chain", expands=(True, True, False))
    seen = announce(engine, process("0001", "0002", kind="worker", place="there/7", code="0.9"))
    announce(engine, process("0002", "0003"))
    with transaction(engine) as session:
        assert [blocker.place for blocker in gate.blocking(session, chain, "0003")] == ["there/7"]
        assert gate.blocking(session, chain, "0002") == []
        assert gate.blocking(session, chain, "0003", now=seen + timedelta(seconds=ALIVE_S + 60)) == []


def test_a_refusal_names_each_process_and_says_what_to_do(engine: Engine, tmp_path: Path) -> None:
    chain = declared_chain(tmp_path / "chain", expands=(True, True, False))
    announce(engine, process("0001", "0002", kind="worker", place="there/7", code="0.9"))
    announce(engine, process("0002", place="here/8", code="0.8"))
    with transaction(engine) as session:
        gate.refuse_contract(gate.blocking(session, chain, "0002"), "0002")
        found = gate.blocking(session, chain, "0003")
    with pytest.raises(gate.OldProcessesError) as refused:
        gate.refuse_contract(found, "0003")
    assert refused.value.message == (
        "homes at 0003 are not served by 2 running processes: api here/8 (0.8), which knows 0002; worker there/7"
        " (0.9), which knows 0001 to 0002. Put a version that works with 0003 in their place or stop them, then repeat"
        " (one that was killed counts for 15 s more)"
    )
    assert refused.value.facts["blockers"] == tuple(found)
    assert [blocker.newest for blocker in found] == ["0002", "0002"]


def test_what_a_chain_says_of_its_revisions_is_published_and_routes_carry_it(roll: Roll, tmp_path: Path) -> None:
    tenant_id = roll.settled("acme", Model.BRIDGE)
    other = roll.settled("other", Model.POOL)
    roll.ask("UPDATE targets SET revision = '0003' WHERE schema <> 'public' RETURNING 1")
    before = roll.version
    with transaction(roll.engine) as session:
        gate.publish(session, declared_chain(tmp_path / "chain", expands=(True, False, True, True)))
    assert roll.changed(before) == {tenant_id, other}
    with transaction(roll.engine) as session:
        needs = {route.slug: (route.revision, route.needs) for route in routes.all_routes(session)}
    assert needs == {"acme": ("0003", "0002"), "other": ("0001", "0001")}


def test_publishing_the_same_again_is_no_news(roll: Roll, tmp_path: Path) -> None:
    roll.settled()
    chain = declared_chain(tmp_path / "chain", expands=(True, True))
    for _ in range(2):
        with transaction(roll.engine) as session:
            gate.publish(session, chain)
            versions = list(session.execute(text("SELECT xmin::text FROM revisions")).scalars())
        before = roll.version
    with transaction(roll.engine) as session:
        gate.publish(session, chain)
        assert list(session.execute(text("SELECT xmin::text FROM revisions")).scalars()) == versions
    assert roll.version == before


def test_a_revision_that_nobody_published_asks_for_itself(roll: Roll) -> None:
    tenant_id = roll.settled()
    with transaction(roll.engine) as session:
        route = routes.route_of(session, tenant_id)
    assert route is not None
    assert (route.revision, route.needs) == ("0001", None)


def test_a_chain_without_revisions_has_nothing_to_publish(roll: Roll) -> None:
    with transaction(roll.engine) as session:
        revisions.publish(session, {})
    assert roll.ask("SELECT name FROM revisions") == []
