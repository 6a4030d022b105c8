"""Several pools and bridges: the next one is made when all are full or somebody asks, and is one like the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from control_plane.domain.tenant import Model
from control_plane.registry import placing, servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import BUILDING
from control_plane.registry.workflows import GROW
from migrations.fleet.chains import HOME
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, copyhold, running_platform
from tests.provisioning import worker
from tests.service_user import as_service_user, killed_as_service_user

pytestmark = pytest.mark.slow

POOL_MAX, BRIDGE_MAX = 3, 2


@pytest.fixture(scope="module")
def small() -> Iterator[PlatformUnderTest]:
    """A platform whose shared databases are soon full."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COPYHOLD_LIMITS__POOL_TENANTS_MAX", str(POOL_MAX))
        environment.setenv("COPYHOLD_LIMITS__BRIDGE_SCHEMAS_MAX", str(BRIDGE_MAX))
        with running_platform() as platform:
            yield platform


def run(platform: PlatformUnderTest, *arguments: str, code: int = 0) -> Any:
    """What a command says in JSON."""
    done = copyhold(*arguments, "--data", str(platform.data), "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def homes(platform: PlatformUnderTest) -> dict[str, int]:
    """The shared databases with their homes."""
    return {row["name"]: row["homes"] for row in run(platform, "server", "show", "alpha")["databases"]}


def database_of(tenant: TenantUnderTest) -> str:
    """Where it lives."""
    home = tenant.route.home
    assert home is not None
    return home.database


def find_nothing_wrong(platform: PlatformUnderTest) -> None:
    """Doctor and pooler."""
    assert not run(platform, "pooler", "diff")["drift"]
    assert [(found["check"], found["object"]) for found in run(platform, "doctor")["findings"]] == []


@pytest.mark.parametrize(("model", "most"), [(Model.POOL, POOL_MAX), (Model.BRIDGE, BRIDGE_MAX)])
def test_the_next_database_is_made_when_all_are_full(small: PlatformUnderTest, model: Model, most: int) -> None:
    first = [database_of(small.tenant(model)) for _ in range(most)]
    assert set(first) == {f"{model}_1"}
    later = small.tenant(model)
    assert database_of(later) == f"{model}_2"
    assert later.http.post("/api/conversations", json={"subject": "Hello"}).status_code == 201
    assert homes(small)[f"{model}_1"] == most
    find_nothing_wrong(small)


def test_one_that_is_asked_for_takes_the_next_tenants(small: PlatformUnderTest) -> None:
    there = [name for name in homes(small) if name.startswith("pool_")]
    number = str(len(there) + 1)
    grown = run(small, "server", "grow", "alpha", "--model", "pool", "--to", number)
    assert grown["databases"] == [f"pool_{number}"]
    assert run(small, "server", "grow", "alpha", "--model", "pool", "--to", number)["databases"] == []
    assert database_of(small.tenant("pool")) == f"pool_{number}"
    targets = run(small, "migrate", "status")["targets"]
    pools = [row for row in targets if (row["chain"], row["model"]) == ("tenant", "pool")]
    assert [(row["revision"], row["targets"]) for row in pools] == [("0002", int(number))]
    find_nothing_wrong(small)


def test_building_one_that_is_killed_anywhere_is_gone_on_with(small: PlatformUnderTest) -> None:
    with transaction(small.engine) as session:
        row = placing.add_shared(session, "alpha", Model.BRIDGE)
    for number in range(1, 200, 7):
        killing = (worker.carry_out_until_statement, small.settings, row.id, GROW, number)
        if not killed_as_service_user(small.data, *killing):
            break
    assert number > 7
    find_nothing_wrong(small)
    with transaction(small.engine) as session:
        found = servers.database(session, row.id)
        assert (found.state, found.home_revision) == ("ready", HOME.head)


def test_two_who_build_the_same_one_take_turns(small: PlatformUnderTest) -> None:
    with transaction(small.engine) as session:
        row = placing.add_shared(session, "alpha", Model.POOL)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: as_service_user(small.data, worker.carry_out, small.settings, row.id, GROW), range(3)))
    with transaction(small.engine) as session:
        assert servers.database(session, row.id).state != BUILDING
    find_nothing_wrong(small)


def test_why_a_server_was_chosen_is_told_before_and_after(small: PlatformUnderTest) -> None:
    wish = ("tenant", "create", "Asked First", "--plan", "starter", "--model", "silo")
    told = run(small, *wish, "--dry-run")
    assert told["server"] == "beta"
    assert told["objections"] == {"alpha": ["takes no silo tenants"], "beta": []}
    assert not [row for row in run(small, "tenant", "list") if row["slug"] == "asked-first"]
    made = run(small, *wish)
    assert made["home"]["reason"] == told["reason"]
    refused = run(small, *wish, "--slug", "other", "--label", "on-ssd", "--dry-run", code=1)
    assert (refused["server"], refused["objections"]["beta"]) == (None, ["is not labelled ssd"])


def test_tenants_that_are_to_be_apart_share_no_server(small: PlatformUnderTest) -> None:
    wish = ("tenant", "create", "Twin One", "--plan", "starter", "--model", "silo", "--label", "apart-twins")
    assert run(small, *wish)["server"] == "beta"
    refused = run(small, *wish, "--slug", "twin-two", "--dry-run", code=1)
    assert refused["objections"]["beta"] == ["holds another tenant labelled apart-twins"]


def test_what_a_server_holds_is_measured(small: PlatformUnderTest) -> None:
    run(small, "server", "list", "--measure")
    with small.superuser("beta", "postgres") as admin:
        row = admin.execute("SELECT sum(pg_database_size(oid)) FROM pg_database").fetchone()
    used = small.server("beta").used_bytes
    assert row is not None
    assert used is not None
    assert abs(used - int(row[0])) < int(row[0]) / 10
    with transaction(small.engine) as session:
        counted = session.execute(text("SELECT counted FROM databases WHERE name = 'pool_1'")).scalar_one()
    assert counted > 0
    run(small, "server", "room", "beta", "--tenants", "1000", "--bytes", "1M")
    told = run(small, "tenant", "create", "Too Big", "--plan", "starter", "--model", "silo", "--dry-run", code=1)
    assert "bytes" in told["objections"]["beta"][0]
    run(small, "server", "room", "beta", "--bytes", "any")
    with transaction(small.engine) as session:
        assert session.execute(text("SELECT measured_at FROM servers WHERE name = 'beta'")).scalar_one() is not None
