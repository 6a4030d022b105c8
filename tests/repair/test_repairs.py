"""Each kind of damage, planted on a real platform: planned, mended, and nobody else touched."""

from __future__ import annotations

import os
from datetime import timedelta
from uuid import uuid4

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.names import bridge_schema, silo_database
from control_plane.registry.engine import transaction
from control_plane.registry.tables import DatabaseRow
from provisioning.repair.plan import GRACE
from provisioning.repair.repairing import NEEDS_YES
from provisioning.repair.repairs import Kind
from tests.doctor.patient import CONTROL, Patient
from tests.repair.mending import diagnosed, kinds, mend, mended, repairs, silo_of_nobody, there
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("well_afterwards")
LONG_AGO = timedelta(days=2)
NOBODY = "00000000000000000000000000000000"


def fence_of(patient: Patient, place: str) -> str | None:
    """The state of the fence of the tenant who lives there."""
    with patient.connection(place) as home:
        query = "SELECT state FROM tenancy.fences WHERE tenant_id = %s"
        row = home.execute(query, [patient.tenants[place].id]).fetchone()
    return str(row[0]) if row else None


def test_an_orphan_database_goes_with_its_login_and_only_with_a_yes(patient: Patient) -> None:
    name = silo_database(new_id())
    silo_of_nobody(patient, name)
    assert kinds(patient) == [Kind.DATABASE_ORPHAN, Kind.ROLE_ORPHAN]
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES, NEEDS_YES]
    assert there(patient, "beta", name) == {"database", "role"}
    mend(patient)
    assert there(patient, "beta", name) == set()


def test_an_orphan_database_says_whose_rows_go_with_it(patient: Patient) -> None:
    name = silo_database(new_id())
    silo_of_nobody(patient, name)
    with patient.platform.superuser("beta", name) as inside:
        inside.execute("INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES (%s, 1, 'open')", [uuid4()])
    [orphan, _] = repairs(patient)
    assert "fences of 1 tenants and 0 rows" in orphan.what
    mend(patient)


def test_a_young_orphan_is_left_alone(patient: Patient) -> None:
    name = silo_database(new_id())
    silo_of_nobody(patient, name)
    young = repairs(patient, grace=GRACE)
    assert [repair.held for repair in young] == ["it is younger than 10 minutes"] * 2
    assert [outcome.left for outcome in mended(patient, planned=young)] == ["it is younger than 10 minutes"] * 2
    assert there(patient, "beta", name) == {"database", "role"}
    mend(patient)


def test_an_orphan_is_young_by_its_files_where_its_name_is_old(patient: Patient) -> None:
    name = f"silo_{NOBODY}"
    silo_of_nobody(patient, name)
    assert repairs(patient, grace=GRACE)[0].held == "it is younger than 10 minutes"
    with patient.platform.superuser("beta", "postgres") as admin:
        ((oid,),) = admin.execute("SELECT oid FROM pg_database WHERE datname = %s", [name]).fetchall()
    file = patient.platform.layout.servers / "beta" / "base" / str(oid) / "PG_VERSION"
    long_ago = file.stat().st_mtime - LONG_AGO.total_seconds()
    os.utime(file, (long_ago, long_ago))
    assert [repair.held for repair in repairs(patient, grace=GRACE)] == [None, None]
    mend(patient)


def test_a_database_that_somebody_is_connected_to_is_left_alone(patient: Patient) -> None:
    name = silo_database(new_id())
    silo_of_nobody(patient, name)
    planned = repairs(patient)
    with patient.platform.superuser("beta", name):
        assert repairs(patient)[0].held == "1 sessions are connected"
        database, role = mended(patient, planned=planned)
        assert "is being accessed by other users" in str(database.left)
        assert role.left == f"the database {name} goes first"
        assert there(patient, "beta", name) == {"database", "role"}
    until(lambda: repairs(patient)[0].held is None, what="nobody is connected")
    mend(patient)


def test_a_database_that_has_come_onto_the_roll_since_is_left_alone(patient: Patient) -> None:
    identifier = new_id()
    name = silo_database(identifier)
    silo_of_nobody(patient, name)
    planned = repairs(patient)
    row = DatabaseRow(id=identifier, server="beta", name=name, model="silo", alias=name, login=name)
    with transaction(patient.platform.engine) as session:
        session.add(row)
    try:
        assert {outcome.left for outcome in mended(patient, planned=planned)} == {
            "The roll has changed since: this is not called for any more."
        }
        assert there(patient, "beta", name) == {"database", "role"}
    finally:
        with transaction(patient.platform.engine) as session:
            session.delete(session.get_one(DatabaseRow, identifier))
    mend(patient)


def test_a_database_whose_dropping_was_cut_short_goes(patient: Patient) -> None:
    name = silo_database(new_id())
    silo_of_nobody(patient, name)
    with patient.platform.superuser("beta", "postgres") as admin:
        # What PostgreSQL marks a database with before it begins to delete its files.
        admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [name])
    mend(patient)
    assert there(patient, "beta", name) == set()


def test_an_orphan_schema_goes_only_with_a_yes(patient: Patient) -> None:
    schema = bridge_schema(new_id())
    home = patient.tenants["bridge"].route.home
    assert home is not None
    builder = patient.estate.builder(patient.platform.server("alpha"))
    builder.build_schema(home.database, schema, patient.estate.chain.head)
    [repair] = repairs(patient)
    assert (repair.kind, repair.object, repair.dangerous, repair.held) == (Kind.SCHEMA_ORPHAN, schema, True, None)
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES]
    assert repairs(patient, grace=GRACE)[0].held == "it is younger than 10 minutes"
    mend(patient)


def test_an_orphan_schema_of_somebody_elses_is_left_to_people(patient: Patient) -> None:
    schema = bridge_schema(new_id())
    patient.do("bridge", ["CREATE ROLE analyst", f"CREATE SCHEMA {schema} AUTHORIZATION analyst"])
    try:
        diagnosis = diagnosed(patient)
    finally:
        patient.do("bridge", ["DROP OWNED BY analyst", "DROP ROLE analyst"])
    [finding] = (each for each in diagnosis.report.findings if each.check == "schema_foreign")
    assert (finding.object, diagnosis.repairs) == (schema, ())
    assert finding.what.endswith("it belongs to analyst")
    assert finding.remedy.endswith(f"as a superuser: DROP SCHEMA {schema} CASCADE")


def test_orphan_logins_go(patient: Patient) -> None:
    alone, turn = silo_database(new_id()), patient.words("silo")["login"] + "_b"
    patient.do("beta", [f"CREATE ROLE {alone} LOGIN", f"CREATE ROLE {turn} LOGIN"])
    patient.do("silo", [f"GRANT USAGE ON SCHEMA tenancy TO {turn}", f"GRANT SELECT ON users TO {turn}"])
    assert kinds(patient) == [Kind.ROLE_ORPHAN, Kind.ROLE_ORPHAN]
    mend(patient, yes=False)
    assert there(patient, "beta", alone) == there(patient, "beta", turn) == set()


def test_an_orphan_login_that_owns_something_goes_only_with_a_yes(patient: Patient) -> None:
    alone = silo_database(new_id())
    patient.do("beta", [f"CREATE ROLE {alone} LOGIN"])
    patient.do("silo", [f"CREATE TABLE tenancy.things (id int); ALTER TABLE tenancy.things OWNER TO {alone}"])
    [repair] = repairs(patient)
    assert (repair.object, repair.dangerous) == (alone, True)
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES]
    mend(patient)


def test_slots_and_publications_of_moves_that_are_over_go(patient: Patient) -> None:
    name = f"un_{new_id().hex}"
    patient.do("silo", [f"CREATE PUBLICATION {name}"])
    patient.do("silo", [f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"])
    assert [(repair.kind, repair.dangerous) for repair in repairs(patient)] == [
        (Kind.SLOT_ORPHAN, True),
        (Kind.PUBLICATION_ORPHAN, False),
    ]
    mend(patient)


def test_slots_and_publications_of_others_stay(patient: Patient) -> None:
    patient.do("silo", ["CREATE PUBLICATION somebodys"])
    patient.do("silo", ["SELECT pg_create_logical_replication_slot('somebodys', 'pgoutput')"])
    try:
        assert repairs(patient) == ()
    finally:
        patient.do("silo", ["SELECT pg_drop_replication_slot('somebodys')", "DROP PUBLICATION somebodys"])


# Nobody works on one like that until its time has come.
A_MOVE_THAT_CAN_BE_TAKEN_BACK = """
INSERT INTO moves (id, tenant_id, actor, source_id, target_id, model, phase, epoch, undo_window_s, undo_until)
SELECT gen_random_uuid(), tenant_id, 'tests', home_id, home_id, 'silo', 'kept', epoch, 3600, now() + interval '1 hour'
  FROM routes WHERE tenant_id = '{tenant_silo}'
"""


def test_the_slot_of_a_tenant_that_is_being_moved_stays(patient: Patient) -> None:
    name = f"mv_{patient.tenants['silo'].id.hex}"
    patient.do("silo", [f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"])
    patient.do(CONTROL, [A_MOVE_THAT_CAN_BE_TAKEN_BACK])
    assert repairs(patient) == ()
    patient.do(CONTROL, ["DELETE FROM moves WHERE tenant_id = '{tenant_silo}'"])
    mend(patient)


def test_the_poolers_files_are_written_anew(patient: Patient) -> None:
    file = patient.platform.layout.pooler / "databases.ini"
    written = file.read_text()
    file.write_text(written.replace("pool_size=", "pool_size=1"))
    assert kinds(patient) == [Kind.POOLER_DRIFT]
    mend(patient, yes=False)
    assert file.read_text() == written


def test_the_open_fence_of_a_suspended_tenant_is_shut(patient: Patient) -> None:
    patient.do(CONTROL, ["UPDATE tenants SET status = 'suspended' WHERE id = '{tenant_pool}'"])
    assert kinds(patient) == [Kind.FENCE_STATE]
    mend(patient, yes=False)
    assert (fence_of(patient, "pool"), fence_of(patient, "other pool")) == ("suspended", "open")
    patient.do(CONTROL, ["UPDATE tenants SET status = 'active' WHERE id = '{tenant_pool}'"])
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES]
    mend(patient)
    assert fence_of(patient, "pool") == "open"


def test_a_fence_whose_tenant_was_let_in_meanwhile_is_left_alone(patient: Patient) -> None:
    patient.do(CONTROL, ["UPDATE tenants SET status = 'suspended' WHERE id = '{tenant_pool}'"])
    planned = repairs(patient)
    patient.do(CONTROL, ["UPDATE tenants SET status = 'active' WHERE id = '{tenant_pool}'"])
    [outcome] = mended(patient, planned=planned)
    assert outcome.left is not None
    assert fence_of(patient, "pool") == "open"


def test_a_missing_fence_is_put_up_where_the_tenant_has_rows(patient: Patient) -> None:
    patient.do("pool", ["DELETE FROM tenancy.fences WHERE tenant_id = '{tenant}'"])
    assert kinds(patient) == [Kind.FENCE_MISSING]
    mend(patient, yes=False)
    assert fence_of(patient, "pool") == "open"


def test_an_empty_home_gets_no_fence(patient: Patient) -> None:
    with patient.connection("silo") as home:
        ((tables,),) = home.execute(
            "SELECT string_agg(tablename, ', ') FROM pg_tables"
            " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        ).fetchall()
        home.execute("CREATE SCHEMA kept")
        for table in tables.split(", "):
            home.execute(f"CREATE TABLE kept.{table} AS SELECT * FROM public.{table}".encode())
        home.execute(f"TRUNCATE {tables}".encode())
        home.execute("DELETE FROM tenancy.fences")
        try:
            [outcome] = mended(patient)
            assert outcome.left == "nothing of this tenant is there: restore the home from a backup"
        finally:
            home.execute("SET session_replication_role = replica")
            for table in tables.split(", "):
                home.execute(f"INSERT INTO public.{table} SELECT * FROM kept.{table}".encode())
            home.execute("DROP SCHEMA kept CASCADE")
    mend(patient)


def test_a_strangers_fence_goes_and_rows_with_it_only_with_a_yes(patient: Patient) -> None:
    stranger = new_id()
    fence = f"INSERT INTO tenancy.fences (tenant_id, epoch, state) VALUES ('{stranger}', 1, 'closed')"
    patient.do("pool", [fence])
    assert [(repair.kind, repair.dangerous) for repair in repairs(patient)] == [(Kind.FENCE_ORPHAN, False)]
    mend(patient, yes=False)
    patient.do("pool", [fence, "CREATE TABLE kept AS SELECT * FROM users WHERE tenant_id = '{tenant}'"])
    patient.do("pool", [f"UPDATE kept SET tenant_id = '{stranger}'", "INSERT INTO users SELECT * FROM kept"])
    patient.do("pool", ["DROP TABLE kept"])
    [repair] = repairs(patient)
    assert (repair.dangerous, repair.what) == (True, "a fence of a tenant with 1 rows who has no home here by the roll")
    assert [outcome.left for outcome in mended(patient, yes=False)] == [NEEDS_YES]
    mend(patient)
