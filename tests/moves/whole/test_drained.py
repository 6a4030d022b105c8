"""Servers that are drained, and evened out, while those who live there work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import move_runs, moves, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.servers import WARM
from control_plane.tenants import service
from tests.cli.shell import Shell
from tests.moves.whole.conftest import new_town
from tests.moves.whole.journeys import assert_one_home
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, copyhold
from tests.waiting import until

pytestmark = pytest.mark.slow
AT_ONCE = ("--undo-window", "0s")
NewTenant = Callable[..., TenantUnderTest]


@pytest.fixture(scope="module")
def town() -> Iterator[PlatformUnderTest]:
    """One where nobody lives but those of these tests: how long it takes to leave a server hangs on who lives there."""
    with new_town() as platform:
        yield platform


@pytest.fixture
def shell(town: PlatformUnderTest) -> Shell:
    """Commands on that platform."""
    return Shell(town.data)


@pytest.fixture
def on_beta(town: PlatformUnderTest) -> NewTenant:
    """Makes tenants that live on beta."""

    def make(model: Model, name: str = "served") -> TenantUnderTest:
        slug = f"drained-{name}-{model}"
        wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, server="beta")
        with transaction(town.engine) as session:
            tenant_id = service.create(session, town.workflows, wish, "tests").id
        town.wait_for(tenant_id, Status.ACTIVE)
        key = town.new_key(tenant_id, Role.OWNER)
        tenant = TenantUnderTest(platform=town, id=tenant_id, slug=slug, model=model, key=key)
        until(lambda: tenant.http.get("/api/me").status_code == 200, what=f"{slug} answers")
        return tenant

    return make


@pytest.fixture(autouse=True)
def as_it_was(town: PlatformUnderTest, shell: Shell) -> Iterator[None]:
    """Both servers take tenants again, as many as before."""
    before = {each["name"]: each["capacity"] for each in shell("server", "list", "--json").json}
    yield
    shell("server", "activate", "beta")
    shell("server", "warm", "beta", "0")
    for name, capacity in before.items():
        shell("server", "room", name, "--tenants", str(capacity))


def where(town: PlatformUnderTest, tenant_id: UUID) -> tuple[str, str]:
    """On which server it lives, and how it is housed."""
    with transaction(town.engine) as session:
        home = tenants.current_home(session, tenant_id)
        assert home is not None
        return servers.database(session, home.database_id).server, home.model


def warm_on_beta(town: PlatformUnderTest) -> int:
    """How many silos beta has that nobody lives in."""
    with transaction(town.engine) as session:
        return sum(row.server == "beta" and row.state == WARM for row in servers.all_databases(session))


def test_everybody_leaves_a_server_that_is_drained_each_to_a_home_like_its_own(
    town: PlatformUnderTest, shell: Shell, on_beta: NewTenant
) -> None:
    assert shell("server", "warm", "beta", "1").code == 0
    leaving = [on_beta(model) for model in Model]
    suspended = on_beta(Model.POOL, "suspended")
    until(lambda: warm_on_beta(town) == 1, what="a warm silo")
    said = {
        tenant.slug: tenant.http.post("/api/conversations", json={"subject": "before"}).json()
        for tenant in (*leaving, suspended)
    }
    assert shell("tenant", "suspend", suspended.slug).code == 0

    told = shell("server", "drain", "beta", "--dry-run", "--json").json
    assert {(each["tenant"], each["model"], each["target"]) for each in told["moves"]} == {
        (tenant.slug, tenant.model, "alpha") for tenant in (*leaving, suspended)
    }
    assert (told["stays"], told["seconds"] > 0) == ([], True)
    assert shell("server", "show", "beta", "--json").json["status"] == "active", "a dry run changes nothing"

    assert "to follow it: copyhold server drain beta" in shell("server", "drain", "beta", "--no-wait", *AT_ONCE).err
    followed = shell("server", "drain", "beta", "--json", *AT_ONCE)
    events = [json.loads(line) for line in followed.out.splitlines()]
    assert (followed.code, events[0]["event"], events[-1]["event"]) == (0, "run", "end"), followed.err
    assert (events[-1]["state"], events[-1]["moved"], events[-1]["left"]) == ("done", len(told["moves"]), 0)
    assert {event["tenant"] for event in events if event["event"] == "move"} == {
        each["tenant"] for each in told["moves"]
    }
    until(lambda: shell("server", "show", "beta", "--json").json["tenants"] == 0, what="the old homes go")
    for tenant in leaving:
        assert where(town, tenant.id) == ("alpha", tenant.model)
        assert_one_home(tenant, tenant.model, 2)
        listed = tenant.http.get("/api/conversations").json()
        assert said[tenant.slug]["id"] in {each["id"] for each in listed["items"]}
    assert where(town, suspended.id) == ("alpha", Model.POOL)
    assert_one_home(suspended, Model.POOL, 2, status=Status.SUSPENDED)
    until(lambda: warm_on_beta(town) == 0, what="warm silos go")
    with transaction(town.engine) as session:
        assert len(move_runs.newest(session, 9)) == 1, "the same command went on with the same run"


def test_a_server_used_more_than_another_gives_some_away_and_then_no_more(
    town: PlatformUnderTest, shell: Shell
) -> None:
    for number in range(3):
        town.tenant(Model.POOL, f"even-{number}", plan=Plan.PROFESSIONAL)
    (alpha,) = [each for each in shell("server", "list", "--json").json if each["name"] == "alpha"]
    shell("server", "room", "alpha", "--tenants", str(alpha["tenants"]))
    shell("server", "room", "beta", "--tenants", str(alpha["tenants"]))
    told = shell("server", "rebalance", "--max", "1", "--dry-run", "--json").json
    assert [(each["source"], each["target"]) for each in told["moves"]] == [("alpha", "beta")]
    wanted = len(shell("server", "rebalance", "--dry-run", "--json").json["moves"])
    assert wanted > 1
    done = shell("server", "rebalance", "--max", "1")
    said = f"1 tenant moved, {wanted - 1} more would even servers out: copyhold server rebalance --data {town.data}"
    assert (done.code, done.out.splitlines()[-1]) == (0, said), done.err
    with transaction(town.engine) as session:
        moved = tenants.find(session, told["moves"][0]["tenant"]).id
    assert where(town, moved)[0] == "beta"
    copyhold("tenant", "move", told["moves"][0]["tenant"], "--settle", "--yes", "--data", str(town.data))
    until(lambda: open_moves(town, moved) == [], what="what it has left goes")


def open_moves(town: PlatformUnderTest, tenant_id: UUID) -> list[str]:
    """What is open of its moves."""
    with transaction(town.engine) as session:
        move = moves.open_of(session, tenant_id)
        return [move.phase] if move is not None else []
