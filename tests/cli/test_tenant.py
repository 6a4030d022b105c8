"""`copyhold tenant …`."""

from __future__ import annotations

import re
from uuid import uuid4

import httpx
import psycopg
import pytest

from cli import following
from cli.commands import plans
from cli.commands import tenant as commands
from cli.waiting import NotYetError
from cli.wiring import Platform
from control_plane import audit
from control_plane.domain.tenant import Plan, Status
from control_plane.registry.engine import transaction
from tests.cli.shell import Shell
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.waiting import until

IN_LIST = {"id", "slug", "name", "model", "status", "plan", "labels", "created_at"}
SHOWN = IN_LIST | {
    "activated_at",
    "closes_at",
    "closed_at",
    "failure",
    "url",
    "home",
    "misplaced",
    "server",
    "epoch",
    "revision",
    "keys",
    "workflow",
}


def a_slug() -> str:
    """A slug that nobody has."""
    return f"c{uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def company(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant that these tests suspend, resume and put on plans."""
    return platform.tenant("bridge")


@pytest.mark.parametrize(("model", "server"), [("pool", "alpha"), ("bridge", "alpha"), ("silo", "beta")])
def test_a_tenant_is_made_and_shown(shell: Shell, model: str, server: str) -> None:
    slug = a_slug()
    made = shell(
        "tenant", "create", "Globex & Co", "--slug", slug, "--plan", "starter", "--model", model, "--json"
    ).json
    assert made.keys() == SHOWN | {"seconds", "sign_in_link"}
    assert (made["slug"], made["name"], made["model"], made["status"]) == (slug, "Globex & Co", model, "active")
    assert (made["server"], made["epoch"], made["revision"]) == (server, 1, "0002")
    assert made["home"].keys() == {"server", "database", "schema", "model", "reason"}
    assert made["sign_in_link"] is None
    shown = shell("tenant", "show", slug, "--json").json
    assert shown == {key: made[key] for key in SHOWN}


def test_a_person_sees_each_step_and_where_the_tenant_is(shell: Shell, platform: PlatformUnderTest) -> None:
    slug = a_slug()
    said = shell("tenant", "create", "Globex", "--slug", slug, "--plan", "starter", "--model", "pool")
    assert said.code == 0
    assert [step for step in ("choose home", "seed", "try out", "activate") if step not in said.out] == []
    assert f"http://{slug}.localhost:{platform.port}" in said.out
    assert re.search(r"^home +alpha / pool_1 / public$", said.out, re.MULTILINE)
    assert re.search(r"^active +after \d+", said.out, re.MULTILINE)


def test_the_owner_is_led_in_by_the_link_once(shell: Shell, platform: PlatformUnderTest) -> None:
    slug = a_slug()
    command = ("tenant", "create", "Globex", "--slug", slug, "--plan", "starter", "--model", "pool")
    made = shell(*command, "--email", "Ann.Owner@Globex.example", "--json").json
    link = httpx.URL(made["sign_in_link"])
    assert link.host == f"{slug}.localhost"
    browser = platform.client(f"{slug}.localhost:{platform.port}")
    until(lambda: browser.get("/api/me").status_code == 401, what="the API knows the tenant")
    assert browser.get(link.raw_path.decode()).status_code == 303
    me = browser.get("/api/me").json()
    assert (me["email"], me["role"], me["name"]) == ("ann.owner@globex.example", "owner", "ann.owner")
    again = platform.client(f"{slug}.localhost:{platform.port}").get(link.raw_path.decode())
    assert again.status_code == 401


def test_without_waiting_it_returns_at_once_and_says_how_to_look(shell: Shell) -> None:
    slug = a_slug()
    command = ("tenant", "create", "Globex", "--slug", slug, "--plan", "starter", "--model", "pool", "--no-wait")
    said = shell(*command)
    assert said.code == 0
    assert f"copyhold tenant show {slug} --watch --data {shell.data}" in said.err
    watched = shell("tenant", "show", slug, "--watch")
    assert watched.code == 0
    assert "activate" in watched.out
    assert re.search(r"^status +active$", watched.out, re.MULTILINE)


def test_a_slug_is_made_from_the_name(shell: Shell) -> None:
    mark = uuid4().hex[:8]
    made = shell("tenant", "create", f"Ärzte & Söhne {mark}", "--plan", "starter", "--model", "pool", "--json").json
    assert made["slug"] == f"arzte-sohne-{mark}"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("Acme", "--slug", "-x"), "A slug is 3 to 40 small letters"),
        (("Acme", "--slug", "UPPER"), "A slug is 3 to 40 small letters"),
        (("Acme", "--slug", "admin"), "reserved"),
        (("Admin",), "the slug 'admin' is reserved for the platform: choose one with --slug"),
        (("日本",), "choose one with --slug"),
        (("Acme", "--server", "nowhere"), "there is no server 'nowhere'"),
        (("Acme", "--email", "not an address"), "that is not an e-mail address"),
        (("\x07\x07", "--slug", "bells"), "a name is 1 to 200 printable characters"),
    ],
)
def test_bad_input_is_a_usage_error_and_makes_nothing(shell: Shell, arguments: tuple[str, ...], part: str) -> None:
    before = shell("tenant", "list", "--json").json
    said = shell("tenant", "create", *arguments, "--plan", "starter", "--model", "pool")
    assert said.code == 2
    assert part in said.error
    assert shell("tenant", "list", "--json").json == before


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--plan", "gold", "--model", "pool"), "'gold' is not one of 'starter', 'professional', 'enterprise'"),
        (("--plan", "starter", "--model", "barn"), "'barn' is not one of 'pool', 'bridge', 'silo'"),
        (("--plan", "starter"), "Missing option '--model'"),
    ],
)
def test_unknown_words_are_usage_errors_that_name_the_choices(
    shell: Shell, options: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", "create", "Acme", *options)
    assert said.code == 2
    assert part in said.err


def test_a_taken_slug_is_refused(shell: Shell, pool_tenant: TenantUnderTest) -> None:
    said = shell("tenant", "create", "Another", "--slug", pool_tenant.slug, "--plan", "starter", "--model", "pool")
    assert (said.code, said.error) == (1, f"the slug {pool_tenant.slug!r} is taken")


@pytest.mark.parametrize(
    ("options", "part"),
    [(("--server", "beta"), "beta: takes no pool tenants"), (("--region", "mars"), "alpha: is in local")],
)
def test_a_server_that_does_not_fit_is_refused_with_the_reason(
    shell: Shell, options: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", "create", "Acme", "--slug", a_slug(), "--plan", "starter", "--model", "pool", *options)
    assert said.code == 1
    assert part in said.error


def test_the_same_command_again_goes_on_with_a_tenant_that_failed(
    own_shell: Shell, own_platform: PlatformUnderTest
) -> None:
    slug = a_slug()
    command = ("tenant", "create", "Globex", "--slug", slug, "--plan", "starter", "--model", "bridge")
    with own_platform.superuser("alpha", "bridge_1") as bridge:
        _close_for_building(bridge)
        try:
            failed = own_shell(*command, "--email", "ann@globex.example")
            other = own_shell(*command, "--email", "bob@globex.example")
        finally:
            bridge.execute("DROP EVENT TRIGGER closed")
    assert failed.code == 1
    assert "choose home" in failed.out
    assert failed.error == f"closed for building; once that is put right: copyhold tenant retry {slug}"
    assert (other.code, other.error) == (1, f"{slug!r} is being made for another owner")
    assert own_shell("tenant", "show", slug, "--json").json["failure"] == "closed for building"
    again = own_shell(*command, "--email", "ann@globex.example", "--json").json
    assert (again["status"], again["failure"]) == ("active", None)


def _close_for_building(bridge: psycopg.Connection[object]) -> None:
    bridge.execute("""
        CREATE OR REPLACE FUNCTION public.closed() RETURNS event_trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'closed for building'; END $$
    """)
    bridge.execute(
        "CREATE EVENT TRIGGER closed ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION closed()"
    )


def test_tenants_are_listed_and_found(shell: Shell, pool_tenant: TenantUnderTest, silo_tenant: TenantUnderTest) -> None:
    everybody = shell("tenant", "list", "--json").json
    assert all(row.keys() == IN_LIST for row in everybody)
    assert {pool_tenant.slug, silo_tenant.slug} <= {row["slug"] for row in everybody}
    found = shell("tenant", "list", "--search", pool_tenant.slug, "--status", "active", "--json").json
    assert [row["id"] for row in found] == [str(pool_tenant.id)]
    assert pool_tenant.slug in shell("tenant", "list").out


def test_a_search_without_result_is_an_empty_list(shell: Shell) -> None:
    assert shell("tenant", "list", "--search", "no such thing", "--json").json == []
    said = shell("tenant", "list", "--search", "no such thing")
    assert (said.code, said.out, said.err) == (0, "", "no such tenants\n")


def test_a_tenant_is_shown_by_slug_and_by_id(shell: Shell, silo_tenant: TenantUnderTest) -> None:
    by_slug = shell("tenant", "show", silo_tenant.slug, "--json").json
    assert by_slug == shell("tenant", "show", str(silo_tenant.id), "--json").json
    home = silo_tenant.route.home
    assert home is not None
    assert by_slug["home"]["database"] == home.database


@pytest.mark.parametrize("command", ["show", "suspend", "resume", "plan", "label"])
@pytest.mark.parametrize("name", ["nobody-here", "00000000-0000-7000-8000-000000000000", "'; --"])
def test_an_unknown_tenant_is_named(shell: Shell, command: str, name: str) -> None:
    more = {"plan": ("starter",), "label": ("--add", "canary")}
    said = shell("tenant", command, name, *more.get(command, ()))
    assert (said.code, said.error) == (1, f"there is no tenant {name!r}")


def test_a_suspended_tenant_is_refused_by_its_home_until_it_is_resumed(shell: Shell, company: TenantUnderTest) -> None:
    assert shell("tenant", "suspend", company.slug, "--json").json["status"] == "suspended"
    assert _fence_of(company) == "suspended"
    until(lambda: company.http.get("/api/me").status_code == 403, what="the API refuses")
    assert shell("tenant", "resume", company.slug).out.endswith(f"{company.slug} is active\n")
    assert _fence_of(company) == "open"
    until(lambda: company.http.get("/api/me").status_code == 200, what="the API serves")


def _fence_of(tenant: TenantUnderTest) -> str:
    with tenant.platform.home_of(tenant) as home:
        row = home.execute("SELECT state FROM tenancy.fences WHERE tenant_id = %s", [tenant.id]).fetchone()
    assert row is not None
    return str(row[0])


def test_an_active_tenant_cannot_be_resumed(shell: Shell, company: TenantUnderTest) -> None:
    said = shell("tenant", "resume", company.slug)
    assert (said.code, said.error) == (1, "a tenant that is active cannot be resumed")


def test_ctrl_c_while_waiting_leaves_the_work_alone_and_says_how_to_look(
    shell: Shell, platform: PlatformUnderTest, company: TenantUnderTest
) -> None:
    with platform.home_of(company) as home, home.transaction():
        home.execute("SELECT FROM tenancy.fences WHERE tenant_id = %s FOR UPDATE", [company.id])
        running = shell.start("tenant", "suspend", company.slug)
        until(lambda: _somebody_waits_for(home), what="the worker waits for the fence")
        running.interrupt()
        said = running.ended()
    look = f"copyhold tenant show {company.slug} --watch --data {shell.data}"
    assert (said.code, said.notes) == (130, [f"it goes on without you; see how far it is: {look}"])
    assert shell("tenant", "show", company.slug, "--watch", "--json").json["status"] == "suspended"
    assert _fence_of(company) == "suspended"
    assert shell("tenant", "resume", company.slug).code == 0


def _somebody_waits_for(home: psycopg.Connection[object]) -> bool:
    # Not pg_stat_activity: inside a transaction it goes on showing what it showed first.
    query = "SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    return home.execute(query).fetchone() is not None


def test_a_plan_is_changed_once(shell: Shell, company: TenantUnderTest) -> None:
    on_it = (f"{company.slug} is on enterprise\n", f"{company.slug} is on enterprise already\n")
    for line in on_it:
        assert shell("tenant", "plan", company.slug, "enterprise", "--no-move").out == line
    assert shell("tenant", "show", company.slug, "--json").json["plan"] == "enterprise"
    said = shell("tenant", "plan", company.slug, "gold")
    assert said.code == 2
    assert "'gold' is not one of" in said.err


def test_labels_are_given_shown_changed_and_found(shell: Shell, company: TenantUnderTest) -> None:
    mark = f"m{uuid4().hex[:10]}"
    said = shell("tenant", "label", company.slug, "--add", mark, "--add", "a-canary")
    assert (said.code, said.out) == (0, f"{company.slug} is labelled a-canary, {mark}\n")
    assert shell("tenant", "show", company.slug, "--json").json["labels"] == ["a-canary", mark]
    assert re.search(rf"^labels +a-canary, {mark}$", shell("tenant", "show", company.slug).out, re.MULTILINE)
    assert [row["slug"] for row in shell("tenant", "list", "--label", mark, "--json").json] == [company.slug]
    assert f"a-canary, {mark}" in shell("tenant", "list", "--label", mark).out
    changed = shell("tenant", "label", company.slug, "--remove", mark, "--remove", "a-canary", "--json").json
    assert (changed.keys(), changed["labels"]) == (SHOWN, [])
    assert shell("tenant", "label", company.slug, "--remove", mark).out == f"{company.slug} has no labels\n"
    said = shell("tenant", "list", "--label", mark)
    assert (said.code, said.out, said.err) == (0, "", "no such tenants\n")


def test_a_tenant_is_made_with_labels(shell: Shell) -> None:
    slug = a_slug()
    command = ("tenant", "create", "Globex", "--slug", slug, "--plan", "starter", "--model", "pool", "--no-wait")
    assert shell(*command, "--label", "eu", "--label", "canary", "--json").json["labels"] == ["canary", "eu"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("label", "{slug}"), "say which: --add LABEL, --remove LABEL"),
        (("label", "{slug}", "--add", "Canary"), "'Canary' is no label: 1 to 40 small letters, digits and hyphens"),
        (("label", "{slug}", "--remove", "a b"), "'a b' is no label"),
        (("label", "{slug}", "--add", "x" * 500), "…' is no label"),
        (("label", "{slug}", "--add", "both", "--remove", "both"), "'both' cannot be added and removed at once"),
        (("label", "{slug}", *(f"--add=l{number}" for number in range(21))), "20 labels at most, these are 21"),
        (("list", "--label", "a_b"), "'a_b' is no label"),
        (("create", "Acme", "--plan", "starter", "--model", "pool", "--label", ""), "'' is no label"),
    ],
)
def test_bad_labels_are_usage_errors_and_change_nothing(
    shell: Shell, company: TenantUnderTest, arguments: tuple[str, ...], part: str
) -> None:
    said = shell("tenant", *(word.format(slug=company.slug) for word in arguments))
    assert said.code == 2
    assert part in said.error
    assert shell("tenant", "show", company.slug, "--json").json["labels"] == []


def test_whoever_acts_is_in_the_audit_log(opened: Platform, company: TenantUnderTest) -> None:
    assert plans.put_on_plan(opened, company.slug, Plan.PROFESSIONAL).changed
    with transaction(opened.engine) as session:
        entry = audit.newest(session, limit=1, tenant_id=company.id)[0]
    assert (entry.actor, entry.action, entry.facts["now"]) == ("cli:tests", "tenant.plan", "professional")


def test_a_list_can_be_of_one_status(opened: Platform, company: TenantUnderTest) -> None:
    suspended = commands.listed(opened, Status.SUSPENDED, None)
    assert {row["status"] for row in suspended} <= {"suspended"}
    assert str(company.id) not in {row["id"] for row in suspended}
    assert str(company.id) in {row["id"] for row in commands.listed(opened, Status.ACTIVE, None)}


@pytest.mark.slow
def test_waiting_ends_for_work_that_nobody_takes(opened: Platform, company: TenantUnderTest) -> None:
    with pytest.raises(NotYetError, match="it goes on as soon as a worker can"):
        following.follow(
            opened, company.id, "provision/nobody/takes-this", 9, lambda _: None, lambda _: None, wait_s=0.1
        )
