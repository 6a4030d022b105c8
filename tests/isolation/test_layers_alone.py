"""Each layer with the others taken off: the database alone holds, so does the ORM, and so does a place of one's own."""

from __future__ import annotations

from collections import defaultdict

import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DBAPIError

from control_plane.domain.ids import new_id
from tenant_app.tables import Base, Message
from tests.isolation import layers, probes
from tests.isolation.cases import Case
from tests.isolation.conftest import Proof
from tests.isolation.doors import Ask, Inside, Sent
from tests.isolation.matrix import fingerprint
from tests.isolation.operations import OPERATIONS, Credential
from tests.isolation.positions import Things
from tests.isolation.statements import faults
from tests.isolation.world import World

OTHER_PAIRS = [("pool", "bridge"), ("bridge", "bridge"), ("pool", "silo"), ("silo", "silo")]
PAIRS = [("pool", "pool"), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHER_PAIRS)]
ASK_NO_HOME = {"get_front"}
"""Operations that send no statement."""


@pytest.mark.slow
@pytest.mark.parametrize(("mine", "theirs"), PAIRS)
def test_the_database_alone_holds(proof: Proof, mine: str, theirs: str) -> None:
    matrix = proof.matrix(mine, theirs)
    with layers.orm(criteria=False, default=True), Inside(proof.platform, recording=True) as door:
        outcome = matrix.run(door)
    assert outcome.wrong == []
    silent = [sent for sent in door.sent if any("does not say whose" in fault for fault in faults(sent))]
    assert len(silent) > len(outcome.done) / 2, "the ORM was not off"


@pytest.mark.slow
def test_every_statement_of_every_operation_says_whose_rows_it_means(proof: Proof) -> None:
    sent: dict[str, list[Sent]] = defaultdict(list)
    matrix = proof.matrix("pool", "pool")
    with Inside(proof.platform, recording=True) as door:

        def collect(case: Case) -> None:
            sent[case.operation] += door.sent
            door.sent.clear()

        outcome = matrix.run(door, collect)
    assert outcome.wrong == []
    assert {name for name in OPERATIONS if not sent[name]} == ASK_NO_HOME
    assert {fault for statements in sent.values() for one in statements for fault in faults(one)} == set()


@pytest.mark.slow
def test_the_orm_alone_holds(breakable: Proof) -> None:
    me, them = breakable.pair("pool", "pool")
    matrix = breakable.matrix("pool", "pool")
    with layers.no_guard(), layers.no_row_security(them.home), Inside(breakable.platform) as door:
        outcome = matrix.run(door)
        with door.session(me.id) as session:
            found = door.run(session, select(Message.__table__.c.tenant_id).distinct())
    assert outcome.wrong == []
    assert {me.id, them.id} <= {row[0] for row in found}, "row-level security was not off"


@pytest.mark.slow
@pytest.mark.parametrize(("mine", "theirs"), [("bridge", "bridge"), ("silo", "silo"), ("pool", "bridge")])
def test_a_place_of_its_own_alone_holds(breakable: Proof, mine: str, theirs: str) -> None:
    me, them = breakable.pair(mine, theirs)
    matrix = breakable.matrix(mine, theirs)
    with (
        layers.no_guard(),
        layers.orm(criteria=False, default=True),
        layers.no_row_security(me.home),
        layers.no_row_security(them.home),
        Inside(breakable.platform) as door,
    ):
        outcome = matrix.run(door)
    assert outcome.wrong == []


def test_the_database_alone_lets_nobody_write_for_another_tenant(proof: Proof) -> None:
    me, them = proof.pair("pool", "pool")
    theirs = things_of(them)
    before = fingerprint(them)
    with Inside(proof.platform) as door:
        assert probes.written_for(door, me, theirs) == []
        assert fingerprint(them) == before
        assert set(probes.written_for(door, them, theirs)) == set(Base.metadata.tables), "the owner may"


def test_the_database_alone_lets_nobody_change_move_or_delete_rows_of_another_tenant(proof: Proof) -> None:
    me, them = proof.pair("pool", "pool")
    mine, theirs = things_of(me), things_of(them)
    messages = Message.__table__
    before = fingerprint(them)
    with Inside(proof.platform) as door:
        for statement in (
            update(messages).where(messages.c.id == theirs.message).values(body="changed"),
            delete(messages).where(messages.c.id == theirs.message),
            delete(messages).where(messages.c.tenant_id == them.id),
            select(messages).where(messages.c.tenant_id == them.id),
        ):
            with door.session(me.id) as session:
                assert door.run(session, statement.returning(messages.c.id) if statement.is_dml else statement) == []
        moved = update(messages).where(messages.c.id == mine.message).values(tenant_id=them.id)
        with pytest.raises(DBAPIError, match="row-level security"), door.session(me.id) as session:
            door.run(session, moved)
    assert fingerprint(them) == before


@pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key")
@pytest.mark.parametrize("default", ["missing", "another tenant's"])
def test_a_row_that_the_orm_gives_to_nobody_or_to_another_tenant_is_refused(proof: Proof, default: str) -> None:
    me, them = proof.pair("pool", "pool")
    before = fingerprint(me), fingerprint(them)
    given = layers.orm(criteria=True, default=False) if default == "missing" else layers.orm_giving_rows_to(them.id)
    with Inside(proof.platform) as door, given:
        assert door.send(new_user(me)).status >= 400
    assert (fingerprint(me), fingerprint(them)) == before
    with Inside(proof.platform) as door:
        assert door.send(new_user(me)).status == 201


@pytest.mark.parametrize("model", ["pool", "bridge", pytest.param("silo", marks=pytest.mark.slow)])
def test_without_a_context_every_table_refuses_and_its_owner_sees_nothing(proof: Proof, model: str) -> None:
    world = proof.world(model)
    things_of(world)
    assert probes.seen_without_context(world) == []
    assert probes.seen_by_owner(world) == []


def things_of(world: World) -> Things:
    """New things of an owner."""
    return world.things(world.caller("owner", Credential.KEY))


def new_user(world: World) -> Ask:
    """A request that makes a row and reads none."""
    return Ask(
        method="POST",
        path="/api/users",
        host=world.host,
        headers=world.caller("owner", Credential.KEY).headers,
        body={"email": f"{new_id()}@example.com", "name": "New"},
    )
