"""What provisioning makes: everything a tenant needs, once, however often and wherever its steps are cut short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count

import psycopg
import pytest
from psycopg import sql

from control_plane.domain.ids import new_id
from control_plane.domain.tenant import Model
from control_plane.doors import SOCKETS
from control_plane.registry.fleet import Revisions
from control_plane.registry.workflows import PROVISION
from migrations.fleet.chains import HOME
from provisioning.databases import Builder
from provisioning.steps import SEQUENCES
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import worker
from tests.provisioning.homes import everything_of
from tests.provisioning.wishes import wished
from tests.service_user import as_service_user, killed_as_service_user

MODELS = pytest.mark.parametrize("model", Model, ids=str)
LOGIN_AND_NOTHING_ELSE = "f t f f t f f -1"
"""Superuser, inherit, create role, create database, login, replication, bypass RLS, connection limit."""
Smooth = Callable[[Model], list[tuple[object, ...]]]
REJECTED = r"no pg_hba\.conf entry"
NEWEST = Revisions(home=HOME.head, tenant="0002")
OLDER = Revisions(home=HOME.head, tenant="0001")


@pytest.fixture
def builder(platform: PlatformUnderTest) -> Builder:
    """What builds on the silos' server."""
    return platform.estate.builder(platform.server("beta"))


def templates(builder: Builder) -> set[str]:
    """The templates on that server."""
    with builder.admin() as admin:
        found = admin.execute("SELECT datname FROM pg_database WHERE datname ~ '^(building_)?template_'")
        return {name for (name,) in found}


@MODELS
def test_a_home_is_all_there_and_nothing_more(platform: PlatformUnderTest, model: Model) -> None:
    tenant = platform.tenant(model)
    database = "silo_*" if model is Model.SILO else f"{model}_1"
    schema = "t_*" if model is Model.BRIDGE else "public"
    server = "beta" if model is Model.SILO else "alpha"
    expected = [
        ("tenant", "active", None),
        ("home", f"{model}/current/{server}/{database}", schema),
        ("route", "1", "true"),
        ("target", f"{database}/{schema}", NEWEST.tenant),
        ("database", f"{database}/{database}/{database}/ready", NEWEST.home),
        *(("audit", action, None) for action in ("tenant.create", "home.choose", "tenant.activate", "key.create")),
        ("fence", "1", "open"),
        ("key", "1", None),
        ("login", database, None),
        ("version", NEWEST.home, None),
        ("version", NEWEST.tenant, None),
        ("user", "owner@*.example", "owner"),
        *(
            ("table", table, "copyhold_owner")
            for table in ("alembic_version", "conversations", "messages", "sessions", "users")
        ),
    ]
    if model is Model.SILO:
        expected += [("database", database, "true"), ("role", database, LOGIN_AND_NOTHING_ELSE)]
    if model is Model.BRIDGE:
        expected += [("schema", schema, "copyhold_owner")]
    assert everything_of(platform, tenant.id, model) == sorted(expected, key=repr)


@pytest.fixture(scope="module")
def smooth(platform: PlatformUnderTest) -> Smooth:
    """What there is of a tenant of that model whose making nothing disturbed."""

    @cache
    def made(model: Model) -> list[tuple[object, ...]]:
        tenant_id = wished(platform, model)
        as_service_user(platform.data, worker.provision, platform.settings, tenant_id)
        return everything_of(platform, tenant_id, model)

    return made


@pytest.mark.parametrize(
    "model", [Model.SILO, *(pytest.param(model, marks=pytest.mark.slow) for model in (Model.POOL, Model.BRIDGE))]
)
def test_every_step_may_be_repeated(platform: PlatformUnderTest, smooth: Smooth, model: Model) -> None:
    tenant_id = wished(platform, model)
    as_service_user(platform.data, worker.provision, platform.settings, tenant_id, 2)
    assert everything_of(platform, tenant_id, model) == smooth(model)
    as_service_user(platform.data, worker.provision, platform.settings, tenant_id)
    assert everything_of(platform, tenant_id, model) == smooth(model)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "stride"), [(Model.POOL, 5), (Model.BRIDGE, 5), (Model.SILO, 4)])
def test_workers_that_are_killed_ever_a_little_later_get_there_in_the_end(
    platform: PlatformUnderTest, smooth: Smooth, model: Model, stride: int
) -> None:
    tenant_id = wished(platform, model)
    for number in count(1, stride):
        work = worker.provision_until_statement
        if not killed_as_service_user(platform.data, work, platform.settings, tenant_id, number):
            break
    assert number > len(SEQUENCES[PROVISION])
    assert everything_of(platform, tenant_id, model) == smooth(model)


def test_two_silos_have_different_keys(platform: PlatformUnderTest) -> None:
    silos = [platform.tenant("silo") for _ in range(2)]
    pads = set()
    for silo in silos:
        with platform.home_of(silo) as home:
            pads |= set(home.execute("SELECT inner_pad, outer_pad FROM tenancy.keys"))
    assert len(pads) == 2


def test_a_template_is_closed_and_holds_no_key_and_nobody(platform: PlatformUnderTest, builder: Builder) -> None:
    builder.ensure_template(NEWEST)
    (name,) = templates(builder)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        platform.superuser("beta", name)
    copy = f"copy_{new_id().hex}"
    with builder.admin() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(copy), sql.Identifier(name)))
        try:
            with builder.admin(copy) as inside:
                for table in ("tenancy.keys", "tenancy.fences", "tenancy.logins", "users"):
                    rows = inside.execute(f"SELECT count(*) FROM {table}".encode())
                    assert rows.fetchone() == (0,)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(copy)))


def test_templates_of_older_revisions_go_and_unknown_ones_stay(builder: Builder) -> None:
    newer = "template_h9999_9999"
    with builder.admin() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(newer)))
    try:
        builder.ensure_template(OLDER)
        assert templates(builder) >= {f"template_{HOME.head}_0001", newer}
        builder.ensure_template(NEWEST)
        assert templates(builder) == {f"template_{HOME.head}_0002", newer}
    finally:
        with builder.admin() as admin:
            admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(newer)))


def test_a_newer_template_is_not_dropped_for_an_older_one(builder: Builder) -> None:
    builder.ensure_template(NEWEST)
    builder.ensure_template(OLDER)
    assert templates(builder) == {f"template_{HOME.head}_0001", f"template_{HOME.head}_0002"}
    builder.ensure_template(NEWEST)


def test_a_template_that_was_half_built_is_built_anew(builder: Builder) -> None:
    builder.ensure_template(NEWEST)
    building = sql.Identifier(f"building_template_{HOME.head}_0001")
    with builder.admin() as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(building))
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(building))
    builder.ensure_template(OLDER)
    builder.ensure_template(NEWEST)
    assert templates(builder) == {f"template_{HOME.head}_0002"}


@pytest.fixture
def copies(builder: Builder) -> Iterator[list[str]]:
    """Names of silos to be; they are gone afterwards."""
    names = [f"silo_{new_id().hex}" for _ in range(8)]
    yield names
    with builder.admin() as admin:
        for name in names:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.mark.slow
def test_silos_of_different_revisions_can_be_copied_at_once(builder: Builder, copies: list[str]) -> None:
    def copy(number: int) -> str:
        revisions = (OLDER, NEWEST)[number % 2]
        builder.copy_silo(copies[number], revisions)
        with builder.admin(copies[number]) as inside:
            row = inside.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row and row[0])

    with ThreadPoolExecutor(len(copies)) as pool:
        assert list(pool.map(copy, range(len(copies)))) == ["0001", "0002"] * 4
    builder.ensure_template(NEWEST)


def database_of(tenant: TenantUnderTest) -> str:
    """Where it lives."""
    home = tenant.route.home
    assert home is not None
    return home.database


def test_a_login_reaches_its_own_database_and_no_other(
    platform: PlatformUnderTest, silo_tenant: TenantUnderTest, builder: Builder
) -> None:
    own, other = database_of(silo_tenant), database_of(platform.tenant("silo"))
    psycopg.connect(SOCKETS.dsn(builder.server, own, own)).close()
    for database in (other, "postgres", "template1", f"template_{HOME.head}_0002"):
        with pytest.raises(psycopg.OperationalError, match=REJECTED):
            psycopg.connect(SOCKETS.dsn(builder.server, database, own))
    # As the pooler would lead it there, were it asked to.
    settings = platform.settings
    with pytest.raises(psycopg.OperationalError, match=REJECTED):
        psycopg.connect(host=settings.pooler_host, port=settings.pooler_port, dbname=other, user=own)


def test_shared_databases_have_logins_of_their_own_too(platform: PlatformUnderTest) -> None:
    alpha = platform.server("alpha")
    for database, login in (("pool_1", "bridge_1"), ("bridge_1", "pool_1")):
        with pytest.raises(psycopg.OperationalError, match=REJECTED):
            psycopg.connect(SOCKETS.dsn(alpha, database, login))


def test_behind_the_access_rules_stands_each_databases_own_list(
    platform: PlatformUnderTest, silo_tenant: TenantUnderTest
) -> None:
    own, other = database_of(silo_tenant), database_of(platform.tenant("silo"))
    with platform.superuser("beta", "postgres") as admin:
        query = "SELECT has_database_privilege(%s, %s, 'CONNECT'), has_database_privilege(%s, %s, 'CONNECT')"
        assert admin.execute(query, [own, own, own, other]).fetchone() == (True, False)
