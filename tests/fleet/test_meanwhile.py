"""A run is not alone: tenants come while it goes on, others migrate at the same time, and other versions were there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry import fleet as registry
from control_plane.registry import servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import FleetBusyError, Revisions
from migrations.fleet import going, plan, run
from migrations.fleet.chains import HOME, BrokenChainError, Chain
from migrations.fleet.crew import Outcome
from migrations.fleet.run import FleetMigration
from migrations.fleet.wishes import Wishes
from provisioning import steps
from provisioning.inside import Inside
from tests.fleet.fleet import BEHIND, NEWEST, FleetUnderTest, hands, place_of
from tests.fleet.writing import chain, execute, write_revision
from tests.provisioning import worker
from tests.provisioning.wishes import wished
from tests.service_user import as_service_user
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def tools(fleet: FleetUnderTest) -> Iterator[steps.Tools]:
    """What steps are run with."""
    inside = Inside(fleet.platform.estate)
    yield steps.Tools(estate=fleet.platform.estate, inside=inside, workflows=fleet.platform.workflows)
    inside.close()


@contextmanager
def targets_lock(fleet: FleetUnderTest, schema: str) -> Iterator[None]:
    """Another migration holds that bridge schema."""
    with fleet.platform.superuser("alpha", "bridge_1") as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 42))", [f"tenant/{schema}"])
        yield


@pytest.mark.parametrize("model", list(Model), ids=str)
def test_a_tenant_that_comes_during_a_run_ends_up_at_the_new_revision(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor, model: Model
) -> None:
    held_up = fleet.of("bridge")[0]
    with fleet.held_up(held_up):
        running = elsewhere.submit(fleet.run)
        fleet.wait_until_held_up(held_up)
        newcomer = fleet.platform.tenant(model)
    assert running.result().failed == ()
    assert newcomer.route.revision == NEWEST
    assert fleet.behind() == set()


def test_a_tenant_that_comes_while_a_revision_is_taken_back_has_it_taken_back_too(
    fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor
) -> None:
    assert fleet.run().failed == ()
    held_up = fleet.of("silo")[0]
    with fleet.held_up(held_up):
        running = elsewhere.submit(fleet.run, to=BEHIND, down=True, waves=("100%",), enterprise="first")
        fleet.wait_until_held_up(held_up)
        newcomer = fleet.platform.tenant("bridge")
        assert newcomer.route.revision == NEWEST
    assert running.result().failed == ()
    assert newcomer.route.revision == BEHIND
    assert set(fleet.found().values()) == {BEHIND}


def test_a_tenant_that_was_being_built_when_a_run_began_is_not_forgotten(
    fleet: FleetUnderTest, tools: steps.Tools, elsewhere: ThreadPoolExecutor
) -> None:
    tenant_id = wished(fleet.platform, Model.BRIDGE)
    steps.choose_home(tools, tenant_id)
    schema = f"t_{tenant_id.hex}"
    with targets_lock(fleet, schema):
        building = elsewhere.submit(steps.build_home, tools, tenant_id)
        with fleet.platform.superuser("alpha", "bridge_1") as database:
            there = "SELECT to_regnamespace(%s)::text"
            until(lambda: database.execute(there, [schema]).fetchone() == (schema,), what="the schema is made")
        # It has been told to build at the old revision, and is on nobody's list.
        report = fleet.run()
        assert report.failed == ()
    building.result()
    assert fleet.behind() == set()
    assert fleet.found()["bridge_1", schema] == NEWEST


def silo_of(fleet: FleetUnderTest, tenant_id: UUID) -> str:
    """The database that was chosen for the tenant."""
    with transaction(fleet.platform.engine) as session:
        home = tenants.current_home(session, tenant_id)
        assert home is not None
        return servers.database(session, home.database_id).name


def test_a_silo_that_was_copied_before_and_not_recorded_is_brought_along(
    fleet: FleetUnderTest, tools: steps.Tools
) -> None:
    tenant_id = wished(fleet.platform, Model.SILO)
    steps.choose_home(tools, tenant_id)
    place = silo_of(fleet, tenant_id), "public"
    # Killed after the copy: the database is there, the roll does not say so.
    builder = fleet.platform.estate.builder(fleet.platform.server("beta"))
    builder.copy_silo(place[0], Revisions(home=HOME.head, tenant=BEHIND))
    fleet.run()
    assert place not in fleet.ledger()
    as_service_user(fleet.platform.data, worker.step, fleet.platform.settings, tenant_id, "build_home")
    assert (fleet.ledger()[place], fleet.found()[place]) == (NEWEST, NEWEST)


def test_a_second_run_is_told_who_holds_the_fleet(fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor) -> None:
    held_up = fleet.of("pool")[0]
    with fleet.held_up(held_up):
        first = elsewhere.submit(fleet.run)
        fleet.wait_until_held_up(held_up)
        with pytest.raises(FleetBusyError, match=r"run .* by tests goes on since"):
            fleet.run()
    assert first.result().failed == ()
    assert fleet.behind() == set()
    assert fleet.runs()[0][0] == "done"


def test_a_run_that_is_interrupted_leaves_the_rest_for_the_next(fleet: FleetUnderTest) -> None:
    total = len(fleet.ledger())

    def on_outcome(_outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fleet.run(on_outcome=on_outcome)
    state, outcomes = fleet.runs()[0]
    assert (state, set(outcomes)) == ("interrupted", {"done", "not_started"})
    assert sum(outcomes.values()) == total
    report = fleet.run()
    assert (report.failed, report.done) == ((), outcomes["not_started"])
    assert fleet.behind() == set()


def test_targets_past_the_wanted_revision_are_left_alone_and_named(fleet: FleetUnderTest) -> None:
    fleet.run()
    report = fleet.run(to=BEHIND)
    assert (report.run_id, report.done, len(report.ahead)) == (None, 0, len(fleet.ledger()))
    assert fleet.behind() == set()
    assert fleet.wanted().tenant == NEWEST


def test_a_target_of_a_newer_version_is_left_alone_and_named(fleet: FleetUnderTest) -> None:
    newer = fleet.of("silo")[0]
    with fleet.platform.home_of(newer) as home:
        home.execute("UPDATE alembic_version SET version_num = '9999'")
    database, schema = place_of(newer)
    fleet.tell_roll(
        "UPDATE targets SET revision = '9999' WHERE database_id = (SELECT id FROM databases WHERE name = :name)",
        name=database,
    )
    report = fleet.run()
    assert [(target.database, target.schema) for target in report.ahead] == [(database, schema)]
    assert fleet.behind() == {(database, schema)}
    assert fleet.found()[database, schema] == "9999"


def test_a_target_that_is_further_than_the_ledger_thought_is_recorded_as_it_is(fleet: FleetUnderTest) -> None:
    fleet.run()
    place = place_of(fleet.of("bridge")[1])
    fleet.tell_roll("UPDATE targets SET revision = NULL WHERE schema = :schema", schema=place[1])
    report = fleet.run(to=BEHIND)
    assert (report.done, report.failed) == (1, ())
    assert (fleet.found()[place], fleet.ledger()[place]) == (NEWEST, NEWEST)


def test_an_older_version_of_this_program_lowers_nothing(fleet: FleetUnderTest) -> None:
    fleet.tell_roll("UPDATE fleet SET home_revision = 'h9999', tenant_revision = '9999'")
    try:
        fleet.run()
        assert fleet.wanted() == Revisions(home="h9999", tenant="9999")
    finally:
        fleet.tell_roll(
            "UPDATE fleet SET home_revision = :head, tenant_revision = :behind", head=HOME.head, behind=BEHIND
        )


def test_a_revision_that_cannot_be_compiled_is_wanted_of_nobody(fleet: FleetUnderTest, tmp_path: Path) -> None:
    before = fleet.wanted(), fleet.runs()
    broken = chain(tmp_path / "chain", execute("SELECT 1"), execute("SELECT 2"), "1 / 0")
    with pytest.raises(BrokenChainError):
        FleetMigration(fleet.platform.engine, broken, SOCKETS).run(Wishes(), "tests", hands())
    assert (fleet.wanted(), fleet.runs()) == before


def test_a_target_that_has_gone_from_the_roll_stays_gone(fleet: FleetUnderTest) -> None:
    before = fleet.ledger()
    with transaction(fleet.platform.engine) as session:
        (database, _), *_ = registry.targets(session)
        registry.set_target_revision(session, database.id, "t_gone", NEWEST)
    assert fleet.ledger() == before


@pytest.fixture
def longer_home(fleet: FleetUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    """The home chain of a next version, which has a revision more; taken back at the end."""
    folder = tmp_path / "home"
    shutil.copytree(Path(run.__file__).parents[1] / "home", folder)
    write_revision(folder, "h9998", HOME.head, execute("CREATE TABLE tenancy.more ()"))
    longer = Chain(name="home", location=str(folder), version_schema="tenancy")
    monkeypatch.setattr(run, "HOME", longer)
    monkeypatch.setattr(plan, "HOME", longer)
    monkeypatch.setattr(going, "HOME", longer)
    yield longer
    for target in fleet.migration.targets():
        if target.chain == "home":
            with fleet.platform.superuser(target.server, target.database) as home:
                home.execute("DROP TABLE IF EXISTS tenancy.more")
                home.execute(f"UPDATE tenancy.alembic_version SET version_num = '{HOME.head}'")
    fleet.tell_roll(f"UPDATE databases SET home_revision = '{HOME.head}'")
    fleet.tell_roll(f"UPDATE fleet SET home_revision = '{HOME.head}'")


@pytest.mark.usefixtures("longer_home")
def test_tenancy_schemas_come_before_any_tenant_tables(fleet: FleetUnderTest) -> None:
    order: list[str] = []
    report = fleet.run(on_outcome=lambda outcome: order.append(outcome.step.target.chain))
    assert report.failed == ()
    assert order == ["home"] * len(fleet.homes()) + ["tenant"] * len(fleet.ledger())
    assert set(fleet.homes().values()) == {"h9998"}
    assert fleet.wanted() == Revisions(home="h9998", tenant=NEWEST)


@pytest.mark.usefixtures("longer_home")
def test_a_tenancy_schema_that_fails_spares_the_tenant_tables_of_its_database(fleet: FleetUnderTest) -> None:
    with fleet.platform.superuser("alpha", "bridge_1") as home:
        home.execute("CREATE TABLE tenancy.more ()")
    spared = {place for place in fleet.ledger() if place[0] == "bridge_1"}
    report = fleet.run()
    assert {outcome.error for outcome in report.failed} == {
        'relation "more" already exists',
        "the tenancy schema of its database failed first",
    }
    assert fleet.behind() == spared
    assert {name for name, revision in fleet.homes().items() if revision != "h9998"} == {"bridge_1"}
