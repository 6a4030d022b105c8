"""A tenant's whole life on a server that is reached by TCP, with passwords and TLS, and by no superuser."""

from __future__ import annotations

import json
import re

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import text

from control_plane.domain.tenant import Model, Status
from control_plane.registry.engine import transaction
from provisioning.doctor.examine import examine
from provisioning.doctor.findings import Severity
from provisioning.pooler.render import LOGINS_FILE
from provisioning.repair.dropping import disown
from tests.platform_under_test import TenantUnderTest, copyhold
from tests.servers.certificates import Authority
from tests.servers.far import NAME, Far, database_of, home_of, spy
from tests.waiting import until

pytestmark = pytest.mark.slow
MODELS = pytest.mark.parametrize("model", list(Model))
PASSWORDS = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = ANY (%s)"


@pytest.fixture(scope="module")
def living(far: Far) -> dict[Model, TenantUnderTest]:
    """One of each model; tests only add to them."""
    return {model: far.tenant(model) for model in Model}


def command(far: Far, *words: str) -> str:
    return copyhold(*words, "--data", str(far.platform.data)).stdout


def password_of(tenant: TenantUnderTest) -> str:
    row = database_of(tenant)
    assert row.sealed_password is not None
    return tenant.platform.keyring.unseal(row.sealed_password, belongs_to=str(row.id))


def write_something(tenant: TenantUnderTest) -> None:
    made = tenant.http.post("/api/conversations", json={"subject": "Hello"})
    assert made.status_code == 201
    said = tenant.http.post(f"/api/conversations/{made.json()['id']}/messages", json={"body": "there"})
    assert said.status_code == 201


@MODELS
def test_it_is_served_by_tls_and_a_password(far: Far, living: dict[Model, TenantUnderTest], model: Model) -> None:
    tenant = living[model]
    write_something(tenant)
    row = database_of(tenant)
    assert row.server == NAME
    with far.inside(tenant) as home:
        sessions = "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = %s"
        assert home.execute(sessions, [row.login]).fetchall() == [(True,)]
        ((_, kept),) = home.execute(PASSWORDS, [[row.login]]).fetchall()
    assert kept.startswith("SCRAM-SHA-256$")
    with far.remote.connect(row.login, row.name, password=password_of(tenant)) as itself:
        assert itself.execute("SELECT current_user::text").fetchone() == (row.login,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        far.remote.connect(row.login, row.name, password="guessed")


def test_the_pooler_has_passwords_of_that_server_alone_and_shows_none(
    far: Far, living: dict[Model, TenantUnderTest]
) -> None:
    password = password_of(living[Model.SILO])
    file = far.platform.settings.pooler_dir / LOGINS_FILE
    assert password in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert '"pool_1" ""\n' in file.read_text()
    file.write_text(file.read_text().replace(password, "another"))
    shown = copyhold("pooler", "diff", "--data", str(far.platform.data), check=False)
    assert shown.returncode == 1
    assert "(another)" in shown.stdout
    rendered = command(far, "pooler", "render")
    for secret in (password, '"another"', *far.remote.passwords.values()):
        assert secret not in shown.stdout + shown.stderr + rendered
    command(far, "pooler", "apply")
    assert password in file.read_text()
    assert living[Model.SILO].http.get("/api/me").status_code == 200


@MODELS
def test_its_login_changes_while_it_is_served(far: Far, living: dict[Model, TenantUnderTest], model: Model) -> None:
    tenant = living[model]
    old, password = database_of(tenant).login, password_of(tenant)
    shared = [] if model is Model.SILO else ["--yes"]
    command(far, "tenant", "rotate", tenant.slug, *shared)
    row = database_of(tenant)
    assert row.login != old
    assert password_of(tenant) != password
    assert (row.next_login, row.next_sealed_password) == (None, None)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        far.remote.connect(old, row.name, password=password)
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="it is served by the other login")


def test_it_is_migrated_and_held_against_what_is_built_there(far: Far, living: dict[Model, TenantUnderTest]) -> None:
    for tenant in living.values():
        with far.inside(tenant) as home:
            home.execute("ALTER TABLE conversations DROP COLUMN IF EXISTS last_message_at")
            home.execute("UPDATE alembic_version SET version_num = '0001'")
    with transaction(far.platform.engine) as session:
        names = [database_of(tenant).name for tenant in living.values()]
        for statement in (
            "UPDATE targets SET revision = '0001' FROM databases d WHERE d.id = database_id AND d.name = ANY (:names)",
            "UPDATE fleet SET tenant_revision = '0001'",
        ):
            session.execute(text(statement), {"names": names} if ":names" in statement else {})
    command(far, "migrate", "up")
    for tenant in living.values():
        with far.inside(tenant) as home:
            assert home.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)
        write_something(tenant)
    assert json.loads(command(far, "migrate", "check", "--json").splitlines()[-1])["findings"] in (0, [])


@MODELS
def test_it_is_suspended_and_resumed(far: Far, living: dict[Model, TenantUnderTest], model: Model) -> None:
    tenant = living[model]
    for verb, status, code in (("suspend", Status.SUSPENDED, 403), ("resume", Status.ACTIVE, 200)):
        command(far, "tenant", verb, tenant.slug)
        far.platform.wait_for(tenant.id, status)
        until(lambda: tenant.http.get("/api/me").status_code == code, what=verb)  # noqa: B023


@MODELS
def test_it_is_written_out_and_erased(far: Far, living: dict[Model, TenantUnderTest], model: Model) -> None:
    tenant, neighbour = far.tenant(model), living[model]
    write_something(tenant)
    row, schema = database_of(tenant), home_of(tenant).schema
    assert int(re.findall(r"^rows +(\d+)$", command(far, "tenant", "export", tenant.slug), re.MULTILINE)[0]) > 1
    command(far, "tenant", "close", tenant.slug, "--now", "--yes")
    far.platform.wait_for(tenant.id, Status.CLOSED)
    with far.remote.superuser() as superuser:
        there = superuser.execute("SELECT FROM pg_database WHERE datname = %s", [row.name]).rowcount
        logins = superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [row.login]).rowcount
    assert (there, logins) == ((0, 0) if model is Model.SILO else (1, 1))
    if model is not Model.SILO:
        with far.remote.superuser(row.name) as home:
            assert home.execute("SELECT FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).rowcount == 0
            if model is Model.POOL:
                query = sql.SQL("SELECT FROM {} WHERE tenant_id = %s").format(sql.Identifier(schema, "messages"))
                assert home.execute(query, [tenant.id]).rowcount == 0
            else:
                assert home.execute("SELECT to_regnamespace(%s)", [schema]).fetchone() == (None,)
    write_something(neighbour)


def test_a_server_that_shows_another_certificate_is_not_believed_until_the_roll_says_so(
    far: Far, living: dict[Model, TenantUnderTest]
) -> None:
    tenant = living[Model.SILO]
    far.remote.sign_with(Authority())
    with far.remote.superuser() as superuser:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IS NOT NULL"
            " AND pid <> pg_backend_pid()"
        )
    until(lambda: tenant.http.get("/api/me").status_code == 503, what="the pooler does not believe it")
    down = [each for each in examine(far.platform.estate).findings if each.check == "server_down"]
    assert ["certificate verify failed" in each.what for each in down] == [True]
    far.enter()
    command(far, "pooler", "apply")
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="the pooler believes it")
    write_something(living[Model.POOL])


def test_the_doctor_tells_what_only_its_superuser_can_do_and_is_content_once_it_is_done(
    far: Far, living: dict[Model, TenantUnderTest]
) -> None:
    found = [each for each in examine(far.platform.estate).findings if each.server == NAME]
    errors = [each for each in found if each.severity is Severity.ERROR]
    assert {each.check for each in errors} == {"durability"}, "the server under test writes nothing to a disk"
    assert [each.check for each in found].count("catalogue_open") == 1
    far.remote.psql(command(far, "server", "hardening", NAME))
    living[Model.SILO] = far.tenant(Model.SILO)
    left = [each for each in examine(far.platform.estate).findings if each.server == NAME]
    assert [each for each in left if each.check == "catalogue_open"] == []
    assert json.loads(command(far, "server", "catalogue", NAME, "--refuse-open", "--json"))["catalogue"] == "closed"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        spy(far, far.tenant(Model.POOL))
    for tenant in living.values():
        write_something(tenant)


def test_what_the_administrator_may_not_look_at_is_told_and_no_error(
    far: Far, living: dict[Model, TenantUnderTest]
) -> None:
    name = database_of(living[Model.SILO]).name
    with far.remote.superuser(name) as superuser:
        superuser.execute("REVOKE SELECT ON pg_catalog.pg_roles FROM PUBLIC")
        try:
            found = [each for each in examine(far.platform.estate).findings if each.database == name]
        finally:
            superuser.execute("GRANT SELECT ON pg_catalog.pg_roles TO PUBLIC")
    refused = {each.severity for each in found if each.check == "check_refused"}
    assert refused == {Severity.WARNING}
    assert "check_failed" not in {each.check for each in found}


def test_repairs_can_be_planned_there(far: Far, living: dict[Model, TenantUnderTest]) -> None:
    with far.remote.connect() as admin:
        orphan = "silo_" + "0" * 31 + "1"
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(orphan)))
    shown = copyhold("doctor", "--repair", "--data", str(far.platform.data), check=False)
    assert orphan in shown.stdout
    with far.remote.superuser() as superuser:
        assert superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [orphan]).rowcount == 0


def test_a_login_that_is_gone_is_made_again_with_its_password(far: Far, living: dict[Model, TenantUnderTest]) -> None:
    tenant = living[Model.SILO]
    row = database_of(tenant)
    login = sql.Identifier(row.login)
    with far.remote.superuser(row.name) as superuser:
        superuser.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(login))
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
        superuser.execute(end, [row.login])
        superuser.execute("DELETE FROM tenancy.logins")
        disown(superuser, row.login)
        superuser.execute(sql.SQL("DROP ROLE {}").format(login))
    copyhold("doctor", "--repair", "--yes", "--data", str(far.platform.data), check=False)
    until(lambda: tenant.http.get("/api/me").status_code == 200, what="it is served again")
    write_something(tenant)
