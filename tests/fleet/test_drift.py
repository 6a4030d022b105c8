"""Whatever differs in a target is named exactly, nothing else is, and a fleet that is well has no finding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg import sql

from control_plane.doors import SOCKETS
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from migrations.fleet import drift
from migrations.fleet.drift import Finding, Report
from migrations.fleet.plan import Target
from migrations.fleet.references import References
from provisioning.roles import MIGRATOR, connect
from tests.fleet.defects import DEFECTS, TENANCY, Defect
from tests.fleet.fleet import BEHIND, NEWEST, FleetUnderTest, place_of
from tests.platform_under_test import TenantUnderTest
from tests.waiting import until

pytestmark = pytest.mark.slow

MODELS = ("pool", "bridge", "silo")
Place = tuple[str, str]


def report_on(fleet: FleetUnderTest, references: References | None = None) -> Report:
    """What a check of the whole fleet says."""
    platform = fleet.platform
    held = references or platform.estate.references
    return drift.check(platform.engine, platform.estate.chain, held, fleet.migration.targets)


def findings(fleet: FleetUnderTest) -> tuple[Finding, ...]:
    """What is found."""
    return report_on(fleet).findings


def do(tenant: TenantUnderTest, statements: Iterable[str]) -> None:
    """Run statements in the tenant's schema as a superuser."""
    home = tenant.route.home
    assert home is not None
    words = {"{schema}": home.schema, "{login}": home.login}
    with tenant.platform.home_of(tenant) as connection:
        for statement in statements:
            for word, value in words.items():
                statement = statement.replace(word, f'"{value}"')
            connection.execute(statement.encode())


@contextmanager
def harmed(tenant: TenantUnderTest, defect: Defect) -> Iterator[None]:
    """The defect is there inside of the block."""
    do(tenant, defect.harm)
    try:
        yield
    finally:
        do(tenant, defect.cure)


def is_told(found: Sequence[Finding], defect: Defect, place: Place) -> None:
    """The defect, all of it, and nothing else."""
    assert [(each.kind, each.object, each.difference) for each in found] == [
        (defect.kind, name, defect.difference) for name in defect.objects
    ]
    for each in found:
        assert (each.database, each.schema) == place
        for said, part in ((each.expected, defect.expected), (each.found, defect.found)):
            assert (said is None) == (part is None)
            assert part is None or part in str(said)


def test_a_fleet_that_is_well_has_no_finding(fleet: FleetUnderTest) -> None:
    report = report_on(fleet)
    assert report.findings == ()
    assert (report.targets, report.databases) == (len(fleet.ledger()) + len(fleet.homes()), len(fleet.homes()))


def test_neither_has_one_that_was_just_brought_along(fleet: FleetUnderTest) -> None:
    fleet.run()
    assert set(fleet.found().values()) == {NEWEST}
    assert findings(fleet) == ()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda each: each.name)
def test_a_difference_is_named_and_nothing_else_is(fleet: FleetUnderTest, model: str, defect: Defect) -> None:
    tenant = fleet.of(model)[0]
    with harmed(tenant, defect):
        is_told(findings(fleet), defect, place_of(tenant))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("defect", TENANCY, ids=lambda each: each.name)
def test_so_is_one_in_a_tenancy_schema(fleet: FleetUnderTest, model: str, defect: Defect) -> None:
    tenant = fleet.of(model)[0]
    with harmed(tenant, defect):
        is_told(findings(fleet), defect, (place_of(tenant)[0], "tenancy"))


def test_a_function_with_another_body_is_told_without_its_body(fleet: FleetUnderTest) -> None:
    tenant = fleet.of("silo")[0]
    with fleet.platform.home_of(tenant) as home:
        (before,) = home.execute("SELECT pg_get_functiondef('tenancy.current_tenant'::regproc)").fetchone() or ("",)
        home.execute(before.replace("RAISE EXCEPTION 'no tenant context'", "RAISE EXCEPTION 'hush'").encode())
        try:
            (found,) = findings(fleet)
        finally:
            home.execute(before.encode())
    assert (found.schema, found.kind, found.object, found.difference) == (
        "tenancy", "function", "current_tenant()", "differs",
    )  # fmt: skip
    assert "hush" not in str(found)
    assert findings(fleet) == ()


def test_an_index_that_was_begun_and_never_finished_is_told_as_one(fleet: FleetUnderTest) -> None:
    tenant = fleet.of("bridge")[1]
    with fleet.platform.home_of(tenant) as home:
        with pytest.raises(Exception, match="division by zero"):
            home.execute("CREATE INDEX CONCURRENTLY broken_idx ON users ((1 / (length(name) - length(name))))")
        try:
            (found,) = findings(fleet)
        finally:
            home.execute("DROP INDEX broken_idx")
    assert (found.kind, found.object, found.difference) == ("index", "users.broken_idx", "invalid")


def test_an_index_that_is_being_built_is_not_told(fleet: FleetUnderTest, elsewhere: ThreadPoolExecutor) -> None:
    tenant = fleet.of("bridge")[1]
    database, schema = place_of(tenant)
    name = sql.Identifier(schema, "users")

    def build() -> None:
        with connect(SOCKETS.dsn(fleet.platform.server("alpha"), database, MIGRATOR)) as migrator:
            migrator.execute("SET ROLE copyhold_owner")
            migrator.execute(sql.SQL("CREATE INDEX CONCURRENTLY slow_idx ON {} (tenant_id)").format(name))

    with fleet.platform.home_of(tenant) as reader:
        with reader.transaction():
            reader.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
            running = elsewhere.submit(build)
            begun = "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = 'users'::regclass"
            until(lambda: reader.execute(begun).fetchone() == (1,), what="the index is begun")
            assert findings(fleet) == ()
        running.result()
        (found,) = findings(fleet)
        reader.execute("DROP INDEX slow_idx")
    assert (found.object, found.difference) == ("users.slow_idx", "unexpected")


def test_every_schema_and_database_that_differs_is_told(fleet: FleetUnderTest) -> None:
    (index,) = (each for each in DEFECTS if each.name == "a dropped index")
    several = [*fleet.of("bridge")[:3], *fleet.of("silo")[:2], fleet.of("pool")[0]]
    for tenant in several:
        do(tenant, index.harm)
    try:
        found = findings(fleet)
    finally:
        for tenant in several:
            do(tenant, index.cure)
    assert {(each.database, str(each.schema)) for each in found} == {place_of(tenant) for tenant in several}
    assert {(each.kind, each.object, each.difference) for each in found} == {("index", *index.objects, "missing")}


def test_a_target_that_is_half_way_between_two_revisions_is_told(fleet: FleetUnderTest) -> None:
    tenant = fleet.of("silo")[1]
    do(tenant, ["ALTER TABLE conversations ADD COLUMN last_message_at timestamptz NOT NULL DEFAULT now()"])
    (found,) = findings(fleet)
    assert (found.object, found.difference) == ("conversations.last_message_at", "unexpected")


@pytest.mark.parametrize("model", MODELS)
def test_a_ledger_that_says_another_revision_is_told(fleet: FleetUnderTest, model: str) -> None:
    tenant = fleet.of(model)[0]
    database, schema = place_of(tenant)
    fleet.tell_roll(
        "UPDATE targets SET revision = '0002' FROM databases WHERE databases.id = database_id"
        " AND name = :database AND schema = :schema",
        database=database,
        schema=schema,
    )
    (found,) = findings(fleet)
    assert (found.database, found.schema, found.kind, found.difference) == (database, schema, "revision", "differs")
    assert (found.expected, found.found) == (NEWEST, BEHIND)


def test_a_target_is_held_against_the_revision_that_stands_there(fleet: FleetUnderTest) -> None:
    tenant = fleet.of("bridge")[0]
    do(tenant, ["UPDATE alembic_version SET version_num = '0002'"])
    found = findings(fleet)
    assert [(each.kind, each.object, each.difference) for each in found] == [
        ("column", "conversations.last_message_at", "missing"),
        ("index", "conversations.conversations_tenant_id_last_message_at_id_idx", "missing"),
        ("revision", None, "differs"),
    ]


def test_a_revision_that_this_version_does_not_know_is_told(fleet: FleetUnderTest) -> None:
    do(fleet.of("bridge")[0], ["UPDATE alembic_version SET version_num = '9999'"])
    found = findings(fleet)
    assert [(each.kind, each.difference, each.found) for each in found] == [
        ("revision", "differs", "9999"),
        ("revision", "unknown", "9999"),
    ]


def test_a_schema_that_is_gone_is_told(fleet: FleetUnderTest) -> None:
    tenant = fleet.of("bridge")[4]
    schema = place_of(tenant)[1]
    do(tenant, ["ALTER SCHEMA {schema} RENAME TO elsewhere"])
    try:
        (found,) = findings(fleet)
    finally:
        with fleet.platform.superuser("alpha", place_of(tenant)[0]) as admin:
            admin.execute(sql.SQL("ALTER SCHEMA elsewhere RENAME TO {}").format(sql.Identifier(schema)))
    assert (found.schema, found.kind, found.difference) == (schema, "schema", "missing")


def test_a_database_that_cannot_be_reached_is_told_and_the_others_are_looked_at(fleet: FleetUnderTest) -> None:
    closed, other = fleet.of("silo")[:2]
    database = place_of(closed)[0]
    (index,) = (each for each in DEFECTS if each.name == "a dropped index")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with fleet.platform.superuser("beta", "postgres") as admin:
        admin.execute(allow.format(sql.Identifier(database), sql.SQL("false")))
        try:
            with harmed(other, index):
                found = findings(fleet)
        finally:
            admin.execute(allow.format(sql.Identifier(database), sql.SQL("true")))
    assert {(each.database, each.schema, each.kind, each.difference) for each in found} == {
        (database, None, "database", "unreachable"),
        (*place_of(other), "index", "missing"),
    }
    assert any("not currently accepting connections" in str(each.found) for each in found)


def test_what_is_over_by_the_second_look_is_not_told(fleet: FleetUnderTest) -> None:
    platform, tenant = fleet.platform, fleet.of("silo")[0]
    (index,) = (each for each in DEFECTS if each.name == "a dropped index")
    looks = 0

    def targets() -> list[Target]:
        nonlocal looks
        looks += 1
        if looks == 2:
            do(tenant, index.cure)
        return fleet.migration.targets()

    do(tenant, index.harm)
    report = drift.check(platform.engine, platform.estate.chain, platform.estate.references, targets)
    assert (report.findings, looks) == ((), 2)


def test_what_cannot_be_built_is_told_for_each_target_that_was_to_be_held_against_it(fleet: FleetUnderTest) -> None:
    def furnish(server: object, database: str, revisions: Revisions) -> None:
        with fleet.platform.superuser("alpha", "postgres") as admin:
            admin.execute("SELECT no_such_function()")

    with transaction(fleet.platform.engine) as session:
        session.connection().exec_driver_sql("DELETE FROM shapes")
    platform = fleet.platform
    found = report_on(fleet, References(platform.engine, platform.estate.chain, furnish, SOCKETS)).findings
    assert {(each.kind, each.difference) for each in found} == {("reference", "unbuildable")}
    assert len(found) == len(fleet.ledger()) + len(fleet.homes())
    assert all("no_such_function" in str(each.found) for each in found)


def test_no_scratch_database_is_left(fleet: FleetUnderTest) -> None:
    with transaction(fleet.platform.engine) as session:
        session.connection().exec_driver_sql("DELETE FROM shapes")
    assert findings(fleet) == ()
    for server in ("alpha", "beta"):
        with fleet.platform.superuser(server, "postgres") as admin:
            names = admin.execute("SELECT datname FROM pg_database UNION SELECT rolname FROM pg_roles").fetchall()
        assert [name for (name,) in names if name.startswith("reference_")] == []


def test_every_database_is_told_once(fleet: FleetUnderTest) -> None:
    told: list[tuple[str, str]] = []
    platform = fleet.platform
    (index,) = (each for each in DEFECTS if each.name == "a dropped index")
    with harmed(fleet.of("pool")[0], index):
        drift.check(
            platform.engine,
            platform.estate.chain,
            platform.estate.references,
            fleet.migration.targets,
            lambda server, database: told.append((server, database)),
        )
    assert sorted(database for _, database in told) == sorted(fleet.homes())
