"""Tenants on the roll: wished for once however often, by however many, and changed through one door."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, CopyholdError, InvalidError, NotFoundError
from control_plane.domain.ids import new_id
from control_plane.domain.lifecycle import TRANSITIONS, TransitionError
from control_plane.domain.placement import NoServerError, UnknownServerError
from control_plane.domain.route import Role
from control_plane.domain.server import ServerStatus
from control_plane.domain.tenant import Model, Plan, ReservedSlugError, SlugError, Status
from control_plane.entitlements import change_plan
from control_plane.passwords import hashed
from control_plane.registry import keys, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import ApiKeyRow, HomeRow, PendingOwnerRow, TenantRow
from control_plane.registry.workflows import Workflows
from control_plane.routing.credentials import new_key
from control_plane.settings import Settings
from control_plane.tenants import service
from control_plane.tenants.service import OwnerWish, SlugTakenError
from provisioning import steps
from provisioning.estate import Estate
from tests.registry.roll import ACTOR, Roll, server, wish

AT_ONCE = 8
# Every word of the engine's tables: arguments, results, errors, events, whatever a later version of it adds.
EVERY_TEXT = """
SELECT query_to_xml(format('SELECT * FROM dbos.%I', tablename), true, false, '')::text
  FROM pg_tables WHERE schemaname = 'dbos'
"""


def test_a_wish_is_entered_with_its_workflow_its_plan_and_who_wished_it(roll: Roll) -> None:
    tenant_id = roll.create(wish("acme", model=Model.SILO, plan=Plan.ENTERPRISE, server="beta", region="here"))
    row = roll.get(tenant_id)
    assert (row.slug, row.model, row.plan, row.status) == ("acme", "silo", "enterprise", "provisioning")
    assert (row.wanted_server, row.wanted_region) == ("beta", "here")
    assert row.workflow_id is not None
    assert row.workflow_id.startswith(f"provision/{tenant_id}/")
    assert roll.started() == ["provision"]
    assert [entry.action for entry in entries(roll)] == ["tenant.create"]
    with transaction(roll.engine) as session:
        assert [change.plan for change in tenants.plan_history(session, tenant_id)] == ["enterprise"]


def test_a_wish_that_is_not_committed_leaves_nothing_and_starts_nothing(roll: Roll) -> None:
    with transaction(roll.engine) as session:
        service.create(session, roll.workflows, wish(), ACTOR)
        session.rollback()
    assert (roll.started(), roll.ask("SELECT count(*) FROM tenants"), entries(roll)) == ([], [0], [])


def test_a_malformed_slug_is_refused(roll: Roll) -> None:
    for slug in ("", "ab", "Acme", "a--b", "a b", "-ab", "ab-", "1ab", "xn-ab", "a" * 41, "ä-b", "abc\n"):
        with pytest.raises(SlugError):
            roll.create(wish(slug, name="A"))
    assert roll.started() == []


def test_a_reserved_slug_is_refused(roll: Roll) -> None:
    with pytest.raises(ReservedSlugError):
        roll.create(wish("admin"))


def test_a_name_that_is_none_is_refused(roll: Roll) -> None:
    for name in ("", " ", "a\0b", "\x1b[31m", "a" * 201):
        with pytest.raises(InvalidError):
            roll.create(wish(name=name))


def test_a_slug_is_taken_whatever_became_of_its_tenant(roll: Roll) -> None:
    for status in set(Status) - {Status.FAILED, Status.PROVISIONING}:
        roll.be(roll.create(wish(status)), status)
        with pytest.raises(SlugTakenError):
            roll.create(wish(status))


@pytest.mark.parametrize("other", [{"name": "B"}, {"plan": Plan.ENTERPRISE}, {"model": Model.BRIDGE}], ids=str)
@pytest.mark.parametrize("status", [Status.PROVISIONING, Status.FAILED])
def test_a_different_wish_for_the_same_slug_is_refused(roll: Roll, status: Status, other: dict[str, object]) -> None:
    roll.be(roll.create(), status)
    with pytest.raises(SlugTakenError):
        roll.create(wish(**other))


def test_the_same_wish_again_goes_on_with_the_one_being_made(roll: Roll) -> None:
    assert roll.create() == roll.create(wish(name="  acme   Inc "))
    assert roll.started() == ["provision"]


def test_the_same_wish_again_takes_up_the_one_that_failed(roll: Roll) -> None:
    tenant_id = roll.create()
    with transaction(roll.engine) as session:
        tenants.change_status(tenants.get(session, tenant_id), Status.FAILED, failure="the disk is full")
    assert roll.create(wish(server="alpha")) == tenant_id
    row = roll.get(tenant_id)
    assert (row.status, row.failure, row.wanted_server) == ("provisioning", None, "alpha")
    assert roll.started() == ["provision", "provision"]
    assert [entry.action for entry in entries(roll)] == ["tenant.create_again", "tenant.create"]


def test_without_a_server_there_is_no_tenant(roll: Roll) -> None:
    with transaction(roll.engine) as session:
        servers.set_server_status(session, "beta", ServerStatus.DRAINING)
    with pytest.raises(NoServerError, match="beta: is draining"):
        roll.create(wish(model=Model.SILO))
    with pytest.raises(NoServerError, match="alpha: takes no silo tenants"):
        roll.create(wish(model=Model.SILO, server="alpha"))
    with pytest.raises(NoServerError, match="alpha: is in here"):
        roll.create(wish(region="elsewhere"))
    with pytest.raises(UnknownServerError):
        roll.create(wish(server="gamma"))
    assert roll.ask("SELECT count(*) FROM tenants") == [0]


def test_a_full_server_takes_nobody_more(roll: Roll) -> None:
    roll.settled("first")
    with transaction(roll.engine) as session:
        servers.register(session, server("alpha", Model.POOL, Model.BRIDGE, capacity=1))
    with pytest.raises(NoServerError, match=r"alpha: is full \(1 tenants\)"):
        roll.create(wish("second"))


def test_a_failed_tenant_for_which_there_is_no_room_stays_failed(roll: Roll) -> None:
    tenant_id = roll.create()
    roll.be(tenant_id, Status.FAILED)
    with transaction(roll.engine) as session:
        servers.set_server_status(session, "alpha", ServerStatus.DRAINING)
    with pytest.raises(NoServerError):
        roll.create()
    assert roll.get(tenant_id).status == "failed"


def test_many_wishes_for_one_slug_make_one_tenant_and_one_workflow(roll: Roll) -> None:
    assert len(set(at_once(lambda _: roll.create()))) == 1
    assert roll.started() == ["provision"]
    assert [entry.action for entry in entries(roll)] == ["tenant.create"]


def test_many_who_take_up_a_failed_tenant_start_one_workflow(roll: Roll) -> None:
    roll.be(roll.create(), Status.FAILED)
    assert len(set(at_once(lambda _: roll.create()))) == 1
    assert roll.started() == ["provision", "provision"]


def test_of_many_different_wishes_for_one_slug_one_is_granted(roll: Roll) -> None:
    outcomes = at_once(lambda number: roll.create(wish(name=f"Company {number}")))
    assert len([outcome for outcome in outcomes if isinstance(outcome, UUID)]) == 1
    assert {type(outcome) for outcome in outcomes} == {UUID, SlugTakenError}


def test_the_last_place_of_a_server_is_given_once(roll: Roll) -> None:
    wished = [roll.create(wish(f"tenant-{number}")) for number in range(AT_ONCE)]
    with transaction(roll.engine) as session:
        servers.register(session, server("alpha", Model.POOL, Model.BRIDGE, capacity=1))
    tools = _tools(roll)
    outcomes = at_once(lambda number: steps.choose_home(tools, wished[number]))
    assert sorted(map(repr, map(type, outcomes))) == sorted([repr(type(None))] + [repr(NoServerError)] * (AT_ONCE - 1))
    with transaction(roll.engine) as session:
        assert servers.tenants_on(session) == {"alpha": 1}


def test_a_home_is_chosen_once(roll: Roll) -> None:
    tenant_id = roll.create()
    tools = _tools(roll)
    assert at_once(lambda _: steps.choose_home(tools, tenant_id)) == [None] * AT_ONCE
    with transaction(roll.engine) as session:
        assert len(session.scalars(select(HomeRow)).all()) == 1


def _tools(roll: Roll) -> steps.Tools:
    """What choosing a home works with."""
    nowhere = Path("/nonexistent")
    settings = Settings(
        control_dsn="", pooler_host="", pooler_dir=nowhere, master_key_file=nowhere, snapshot_file=nowhere
    )
    estate = Estate(settings=settings, engine=roll.engine, keyring=None, app=None)  # type: ignore[arg-type]
    return steps.Tools(estate=estate, inside=None, workflows=roll.workflows)  # type: ignore[arg-type]


def at_once(do: Callable[[int], object]) -> list[object]:
    """What each of AT_ONCE threads gets, or how it was refused, when all begin together."""
    barrier = Barrier(AT_ONCE)

    def begin(number: int) -> object:
        barrier.wait()
        try:
            return do(number)
        except CopyholdError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(begin, range(AT_ONCE)))


def entries(roll: Roll) -> list[object]:
    """The audit log, newest first."""
    with transaction(roll.engine) as session:
        return list(audit.newest(session, limit=100))


Doing = Callable[[Session, Workflows, TenantRow, str], None]


@pytest.mark.parametrize(
    ("do", "allowed"),
    [
        # Back to suspended is the way of a tenant that is had back; whoever is closing is refused already.
        (
            service.suspend,
            {status for status in Status if Status.SUSPENDED in {status, *TRANSITIONS[status]}} - {Status.CLOSING},
        ),
        (service.resume, {Status.SUSPENDED}),
    ],
    ids=["suspend", "resume"],
)
def test_nobody_is_suspended_or_let_in_past_the_table_of_transitions(
    roll: Roll, do: Doing, allowed: set[Status]
) -> None:
    done = set()
    for status in Status:
        tenant_id = roll.create(wish(status))
        roll.be(tenant_id, status)
        with contextlib.suppress(TransitionError), transaction(roll.engine) as session:
            do(session, roll.workflows, tenants.get(session, tenant_id, lock=True), ACTOR)
            done.add(status)
        assert roll.get(tenant_id).status == (Status.SUSPENDED if status in allowed else status)
    assert done == allowed
    assert len(roll.started()) == len(Status) + len(allowed)


@pytest.mark.parametrize("current", Status)
@pytest.mark.parametrize("wanted", Status)
def test_the_door_between_states_follows_the_table(current: Status, wanted: Status) -> None:
    row = TenantRow(status=str(current), failure="before")
    if wanted is current or wanted in TRANSITIONS[current]:
        tenants.change_status(row, wanted, failure="why")
        assert (row.status, row.failure) == (wanted, "why")
    else:
        with pytest.raises(TransitionError, match=f"{current} cannot become {wanted}"):
            tenants.change_status(row, wanted)
        assert (row.status, row.failure) == (current, "before")


def test_a_change_of_plan_is_kept_in_the_history(roll: Roll) -> None:
    tenant_id = roll.settled()
    changed = []
    for plan in (Plan.PROFESSIONAL, Plan.PROFESSIONAL, Plan.STARTER):
        with transaction(roll.engine) as session:
            changed.append(change_plan(session, tenants.get(session, tenant_id, lock=True), plan, "somebody"))
    assert changed == [True, False, True]
    with transaction(roll.engine) as session:
        history = tenants.plan_history(session, tenant_id)
    assert [(row.plan, row.actor) for row in history] == [
        ("starter", ACTOR),
        ("professional", "somebody"),
        ("starter", "somebody"),
    ]
    newest = entries(roll)[0]
    assert (newest.action, newest.facts) == ("tenant.plan", {"was": "professional", "now": "starter"})  # type: ignore[attr-defined]
    assert roll.get(tenant_id).plan == "starter"


@pytest.mark.parametrize("status", [Status.CLOSING, Status.CLOSED])
def test_a_closed_tenant_gets_no_plan_and_no_key(roll: Roll, status: Status) -> None:
    tenant_id = roll.settled()
    roll.be(tenant_id, status)
    with transaction(roll.engine) as session:
        tenant = tenants.get(session, tenant_id)
        with pytest.raises(ConflictError):
            change_plan(session, tenant, Plan.ENTERPRISE, ACTOR)
        with pytest.raises(ConflictError):
            service.create_key(session, tenant, name="k", role=Role.OWNER, scopes=(), actor=ACTOR)


def test_a_key_is_told_once_and_only_its_hash_is_kept(roll: Roll) -> None:
    tenant_id = roll.settled()
    with transaction(roll.engine) as session:
        tenant = tenants.get(session, tenant_id)
        row, key = service.create_key(session, tenant, name=" my  key ", role=Role.ADMIN, scopes=("read",), actor=ACTOR)
    secret = key.rpartition("_")[2]
    assert (row.name, row.role, row.scopes) == ("my key", "admin", ["read"])
    for table in ("api_keys", "audit_log", "tenants"):
        assert all(secret not in found for found in roll.ask(f"SELECT {table}::text FROM {table}"))
    with transaction(roll.engine) as session:
        assert [each.id for each in keys.of_tenant(session, tenant_id)] == [row.id]
        assert keys.of_tenant(session, new_id()) == []


def test_a_key_with_an_unknown_scope_is_refused(roll: Roll) -> None:
    tenant_id = roll.settled()
    with transaction(roll.engine) as session:
        tenant = tenants.get(session, tenant_id)
        with pytest.raises(InvalidError, match=r"no scope 'everything'; choose from read, write"):
            service.create_key(session, tenant, name="k", role=Role.OWNER, scopes=("read", "everything"), actor=ACTOR)
    assert roll.ask("SELECT count(*) FROM api_keys") == [0]


def test_revoking_a_key_again_changes_nothing(roll: Roll) -> None:
    tenant_id = roll.settled()
    with transaction(roll.engine) as session:
        tenant = tenants.get(session, tenant_id)
        row, _ = service.create_key(session, tenant, name="k", role=Role.OWNER, scopes=(), actor=ACTOR)
    times = []
    for _ in range(2):
        with transaction(roll.engine) as session:
            service.revoke_key(session, row.id, ACTOR)
        times += roll.ask("SELECT revoked_at FROM api_keys")
    assert times[0] == times[1] is not None
    with pytest.raises(NotFoundError), transaction(roll.engine) as session:
        service.revoke_key(session, new_id(), ACTOR)


def test_two_keys_are_never_the_same(roll: Roll) -> None:
    tenant_id = roll.settled()
    made = {new_key(tenant_id)[0] for _ in range(100)}
    assert len(made) == 100


def test_the_engine_is_told_ids_and_nothing_else(roll: Roll) -> None:
    owner = OwnerWish(email="olive@example.com", name="Olive Owner", password_hash=hashed("correct horse battery"))
    tenant_id = roll.create(wish(owner=owner))
    with transaction(roll.engine) as session:
        tenant = tenants.get(session, tenant_id, lock=True)
        _, key = service.create_key(session, tenant, name="secretive", role=Role.OWNER, scopes=(), actor=ACTOR)
        tenants.change_status(tenant, Status.ACTIVE)
        service.suspend(session, roll.workflows, tenant, ACTOR)
        service.resume(session, roll.workflows, tenant, ACTOR)
        kept = session.get_one(PendingOwnerRow, tenant_id)
        assert kept.password_hash == owner.password_hash
        digest = session.scalars(select(ApiKeyRow.secret_sha256)).one()
    told = "\n".join(roll.ask(EVERY_TEXT))
    assert told.count(str(tenant_id)) >= 3
    for secret in (owner.email, owner.name, owner.password_hash, key, digest, "secretive", "acme"):
        assert secret is not None
        assert secret not in told


def test_what_was_kept_of_an_owner_belongs_to_no_id_of_the_engine(roll: Roll) -> None:
    tenant_id = roll.create(wish(owner=OwnerWish(email="a@example.com", name="A", password_hash=os.urandom(8).hex())))
    with transaction(roll.engine) as session:
        owner = tenants.pending_owner(session, tenant_id)
        assert owner is not None
        assert str(owner.user_id) not in "\n".join(session.execute(text(EVERY_TEXT)).scalars())
