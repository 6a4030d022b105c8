"""What is put back rather than dropped: grants, keys, indexes, templates, records, half-done work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import text

from control_plane.domain.ids import new_id
from control_plane.domain.names import silo_database
from control_plane.registry import fleet, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.servers import WARM
from control_plane.registry.tables import DatabaseRow, MigrationRunRow, ServerRow, TargetRow, WorkflowRow
from provisioning.databases import context_pads
from provisioning.repair.dropping import disown
from provisioning.repair.repairs import Kind
from tests.doctor.defects import EVERYBODY, LOGINS
from tests.doctor.patient import CONTROL, Patient
from tests.provisioning import stock
from tests.repair.mending import kinds, mend, mended, repairs, silo_of_nobody, there
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("well_afterwards")
NOBODY = "00000000000000000000000000000000"
OF_ANOTHER_KIND = {
    "a login that owns its database",  # it has another owner first
    "no login",  # somebody may have shut the tenant out by it
    "a leakproof function of a tenant's own",
    "a stranger with a grant",
    "a stranger who may connect",
    "CONNECT on template1 for everybody",
}


def test_homes_are_hardened_anew(patient: Patient) -> None:
    """All of it at once, in each place what was planted there: built by an older version, or granted since."""
    planted = [each for each in (*LOGINS, *EVERYBODY) if each.name not in OF_ANOTHER_KIND]
    for each in planted:
        patient.do(each.place, each.harm)
    with patient.connection("other silo") as home:
        login = patient.words("other silo")["login"]
        disown(home, login)
        home.execute(f"DROP ROLE {login}".encode())
        # The pooler's own go on for a while as a role that is not there any more.
        home.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename IS NULL", [login]
        )
    found = repairs(patient)
    assert {repair.kind for repair in found} <= {Kind.UNHARDENED, Kind.SERVER_ROLES}
    mend(patient, yes=False)


def test_a_login_that_owns_something_is_not_touched(patient: Patient) -> None:
    patient.do("pool", ["ALTER TABLE messages OWNER TO {login}", "GRANT {login} TO {login_bridge}"])
    found = mended(patient, yes=False)
    assert {outcome.repair.kind for outcome in found} == {Kind.UNHARDENED}
    assert any("owns" in str(outcome.left) for outcome in found)
    grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON messages TO {login}"
    patient.do("pool", ["ALTER TABLE messages OWNER TO copyhold_owner", grant, "REVOKE {login} FROM {login_bridge}"])


def test_the_platforms_own_roles_are_put_back(patient: Patient) -> None:
    patient.do("beta", ["REVOKE copyhold_owner FROM copyhold_mover", "GRANT CONNECT ON DATABASE template1 TO PUBLIC"])
    assert kinds(patient) == [Kind.SERVER_ROLES]
    mend(patient, yes=False)


def test_a_missing_and_a_copied_key_are_put_right(patient: Patient) -> None:
    with patient.connection("other silo") as home:
        pads = home.execute("SELECT inner_pad, outer_pad FROM tenancy.keys").fetchone()
        assert pads is not None
        home.execute("DELETE FROM tenancy.keys")
    assert kinds(patient) == [Kind.KEY]
    mend(patient, yes=False)
    with patient.connection("silo") as home:
        home.execute("UPDATE tenancy.keys SET inner_pad = %s, outer_pad = %s", list(pads))
    mend(patient, yes=False)


def test_a_key_of_another_master_key_is_left_to_people(patient: Patient) -> None:
    with patient.connection("silo") as home:
        pads = home.execute("SELECT inner_pad, outer_pad FROM tenancy.keys").fetchone()
        assert pads is not None
        home.execute("UPDATE tenancy.keys SET inner_pad = %s, outer_pad = %s", context_pads(b"x" * 32))
        assert repairs(patient) == ()
        home.execute("UPDATE tenancy.keys SET inner_pad = %s, outer_pad = %s", list(pads))


def test_an_invalid_index_of_its_revision_is_built_again(patient: Patient) -> None:
    name = "conversations_tenant_id_last_message_at_id_idx"
    patient.do("bridge", [f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass"])
    assert kinds(patient) == [Kind.INDEX_INVALID]
    mend(patient, yes=False)


def test_an_invalid_index_that_no_revision_has_is_dropped(patient: Patient) -> None:
    spoilt = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'begun'::regclass"
    patient.do("pool", ["CREATE INDEX begun ON messages (tenant_id, conversation_id, id)", spoilt])
    mend(patient, yes=False)
    with patient.connection("pool") as home:
        assert home.execute("SELECT to_regclass('begun')").fetchone() == (None,)


def test_an_index_is_left_alone_while_the_fleet_is_migrated(patient: Patient) -> None:
    name = "conversations_tenant_id_last_message_at_id_idx"
    patient.do("bridge", [f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{name}'::regclass"])
    with fleet.holding_fleet(patient.platform.engine, new_id()):
        [outcome] = mended(patient)
        assert outcome.left is not None
    mend(patient)


def test_what_builders_left_who_are_gone_goes(patient: Patient) -> None:
    reference, building = "reference_0123456789abcdef", "building_template_h0001_0001"
    patient.do(
        "beta", [f"CREATE DATABASE {reference}", f"CREATE ROLE {reference} LOGIN", f"CREATE DATABASE {building}"]
    )
    revoked = [f"REVOKE ALL ON DATABASE {name} FROM PUBLIC" for name in (reference, building)]
    patient.do("beta", revoked)
    assert set(kinds(patient)) == {Kind.LEFTOVER}
    mend(patient, yes=False)
    assert there(patient, "beta", reference) == there(patient, "beta", building) == set()


def test_what_somebody_is_building_stays(patient: Patient) -> None:
    reference = "reference_0123456789abcdef"
    patient.do("beta", [f"CREATE DATABASE {reference}", f"REVOKE ALL ON DATABASE {reference} FROM PUBLIC"])
    with patient.platform.superuser("beta", "postgres") as builder:
        builder.execute("SELECT pg_advisory_lock(hashtextextended(%s, 44))", [reference])
        assert repairs(patient) == ()
    until(lambda: kinds(patient) == [Kind.LEFTOVER], what="the builder is gone")
    mend(patient, yes=False)


def test_a_template_of_older_revisions_goes(patient: Patient) -> None:
    name = f"template_{patient.words('silo')['home_head']}_{patient.words('silo')['first']}"
    patient.do("beta", [f"CREATE DATABASE {name}", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false IS_TEMPLATE true"])
    assert kinds(patient) == [Kind.TEMPLATE_OLD]
    mend(patient, yes=False)
    assert there(patient, "beta", name) == set()


def test_an_open_template_with_a_key_is_emptied_and_closed(patient: Patient) -> None:
    with patient.platform.superuser("beta", "postgres") as admin:
        query = "SELECT datname FROM pg_database WHERE datname LIKE 'template\\_%'"
        ((template,),) = admin.execute(query).fetchall()
    patient.do("beta", [f"ALTER DATABASE {template} ALLOW_CONNECTIONS true"])
    with patient.platform.superuser("beta", template) as inside:
        inside.execute("INSERT INTO tenancy.keys VALUES (true, %s, %s)", context_pads(b"x" * 32))
    mend(patient, yes=False)


def test_a_run_whose_process_is_gone_is_recorded_so(patient: Patient) -> None:
    run_id = new_id()
    with transaction(patient.platform.engine) as session:
        session.add(MigrationRunRow(id=run_id, to_revision="head", actor="tests", state="running"))
    assert kinds(patient) == [Kind.RUN_DEAD]
    mend(patient, yes=False)
    with transaction(patient.platform.engine) as session:
        assert session.get_one(MigrationRunRow, run_id).state == "interrupted"


def test_a_workflow_that_the_engine_does_not_go_on_with_is_recorded_so(patient: Patient) -> None:
    lost = f"suspend/{uuid4()}/{new_id()}"
    with transaction(patient.platform.engine) as session:
        session.add(WorkflowRow(id=lost, kind="suspend", subject=uuid4(), actor="tests", state="running"))
    assert kinds(patient) == [Kind.WORKFLOW_LOST]
    mend(patient, yes=False)
    with transaction(patient.platform.engine) as session:
        assert workflow_records.get(session, lost).state == workflow_records.FAILED


@contextmanager
def half_made(patient: Patient, status: str) -> Iterator[str]:
    """A tenant on the roll whose home nobody makes any more."""
    identifier, slug = new_id(), f"half-{uuid4().hex[:8]}"
    patient.do(
        CONTROL,
        [
            "INSERT INTO tenants (id, slug, name, plan, model, status, failure, created_at)"
            f" VALUES ('{identifier}', '{slug}', 'Half', 'starter', 'silo', '{status}', 'no room',"
            " now() - interval '1 hour')"
        ],
    )
    yield str(identifier)


@pytest.mark.parametrize("status", ["provisioning", "failed"])
def test_a_half_made_home_is_gone_on_with(patient: Patient, status: str) -> None:
    def state() -> tuple[str, ...]:
        with transaction(patient.platform.engine) as session:
            query = text("SELECT status FROM tenants WHERE id = :id")
            return tuple(session.execute(query, {"id": identifier}).scalars())

    with half_made(patient, status) as identifier:
        assert kinds(patient) == [Kind.TENANT_UNFINISHED]
        mend(patient, yes=False)
        until(lambda: state() == ("active",), what="the home is made")


def test_a_warm_silo_of_other_revisions_is_replaced(patient: Patient) -> None:
    def warm_ones() -> set[str]:
        with transaction(patient.platform.engine) as session:
            query = text("SELECT name FROM databases WHERE state = 'warm'")
            return set(session.execute(query).scalars())

    name = silo_database(identifier := new_id())
    silo_of_nobody(patient, name)
    key = patient.platform.keyring.context_key(identifier)
    patient.estate.builder(patient.platform.server("beta")).install_key(name, key)
    words = patient.words("silo")
    with transaction(patient.platform.engine) as session:
        row = DatabaseRow(
            id=identifier, server="beta", name=name, model="silo", alias=name, login=name, state=WARM,
            home_revision=words["home_head"],
        )  # fmt: skip
        session.add(row)
        session.flush()
        session.add(TargetRow(database_id=identifier, schema="public", revision=words["first"]))
        session.get_one(ServerRow, "beta").warm = 1
    try:
        assert Kind.SILO_OLD in kinds(patient)
        mended(patient, yes=False)
        until(lambda: bool(warm_ones()) and name not in warm_ones(), what="another is made in its place")
        until(lambda: there(patient, "beta", name) == set(), what="the old one is gone")
        stock.settled(patient.platform)
    finally:
        patient.do(CONTROL, ["UPDATE servers SET warm = 0"])
    assert kinds(patient) == [Kind.SILOS_SHORT]
    mend(patient, yes=False)
    until(lambda: warm_ones() == set(), what="none is kept any more")


def test_what_is_missing_is_never_made_empty(patient: Patient) -> None:
    patient.do(
        CONTROL,
        [
            "INSERT INTO databases (id, server, name, login, model, alias, home_revision)"
            f" VALUES ('{NOBODY}', 'beta', 'silo_{NOBODY}', 'silo_{NOBODY}', 'silo', 'silo_{NOBODY}', '{{home_head}}')",
            "INSERT INTO targets (database_id, schema, revision)"
            f" VALUES ('{{database_bridge}}', 't_{NOBODY}', '{{head}}')",
        ],
    )
    try:
        mended(patient)
        assert kinds(patient) == []
        assert there(patient, "beta", f"silo_{NOBODY}") == set()
    finally:
        patient.do(
            CONTROL,
            [f"DELETE FROM targets WHERE schema = 't_{NOBODY}'", f"DELETE FROM databases WHERE id = '{NOBODY}'"],
        )
        mended(patient)
