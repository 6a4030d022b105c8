"""What a tenant wrote is in its home and nowhere else: no log, no key of Redis, no snapshot, no answer to others."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import Insert, insert

from control_plane.domain.errors import CopyholdError
from control_plane.domain.ids import new_id
from tenant_app.tables import Conversation, Message, User
from tests.isolation import layers, traces
from tests.isolation.conftest import Proof
from tests.isolation.doors import Ask, Inside
from tests.isolation.operations import Credential
from tests.isolation.world import World
from tests.waiting import until

TOO_LARGE = 300 * 1024


def bad_requests(world: World, canary: str) -> Iterator[tuple[Ask, int]]:
    """Requests that fail, each in its way, with a canary in all that the caller can say; and how each is answered."""
    owner = world.caller("owner", Credential.KEY).headers
    things = world.things(world.caller("owner", Credential.KEY))
    taken = f"taken-{canary}@example.com"
    messages = f"/api/conversations/{things.conversation}/messages"

    def post(path: str, body: dict[str, object], status: int) -> tuple[Ask, int]:
        return Ask(method="POST", path=path, host=world.host, headers=owner, body=body), status

    def get(path: str, status: int, headers: dict[str, str] = owner, **query: str) -> tuple[Ask, int]:
        return Ask(method="GET", path=path, host=world.host, headers=headers, query=query), status

    yield post("/api/users", {"email": taken, "name": canary}, 201)
    yield post("/api/users", {"email": taken, "name": canary}, 409)
    yield post("/api/users", {"email": f"{canary}@", "name": canary}, 422)
    yield post("/api/users", {"email": f"{canary * 20}@example.com", "name": canary}, 422)
    yield post("/api/users", {"email": f"a@{canary}.example", "name": canary, "role": canary}, 422)
    yield post("/api/users", {"email": f"b@{canary}.example", "name": f"{canary}\0"}, 422)
    yield post("/api/conversations", {"subject": canary * 20}, 422)
    yield post("/api/conversations", {"subject": f"{canary}\ud800"}, 422)
    yield post("/api/conversations", {"subject": [canary]}, 422)
    yield post("/api/conversations", {"subject": "S", "more": canary}, 422)
    yield post(f"/api/conversations/{new_id()}/messages", {"body": canary}, 404)
    yield post(messages, {"body": canary * 1000}, 422)
    yield post(messages, {"body": f"{canary}\0"}, 422)
    yield post(messages, {"body": canary + "x" * TOO_LARGE}, 413)
    yield Ask(method="POST", path=messages, host=world.host, headers=owner, raw=f'{{"body": {canary}'.encode()), 422
    yield post("/api/login", {"email": f"{canary}@example.com", "password": canary}, 401)
    yield get(f"/api/users/{canary}", 404)
    yield get(f"/api/{canary}", 404)
    yield get("/api/users", 422, after=canary)
    yield get("/api/users", 422, limit=canary)
    yield get("/api/enter", 401, ticket=canary)
    yield get("/api/me", 401, {"Authorization": f"Bearer {canary}"})
    yield get("/api/me", 401, {"Cookie": f"copyhold_session={canary}"})
    yield Ask(method="GET", path="/", host=f"{canary}.localhost"), 404
    yield Ask(method="GET", path="/", host=f"{canary}.example.com"), 404
    yield Ask(method="DELETE", path=f"/{canary}", host=world.host), 404


@pytest.mark.parametrize("model", ["pool", "bridge", pytest.param("silo", marks=pytest.mark.slow)])
def test_errors_of_the_caller_are_neither_repeated_nor_written_down(proof: Proof, model: str) -> None:
    canary = f"canary{uuid4().hex}"
    with proof.port() as port:
        for ask, status in bad_requests(proof.world(model), canary):
            answer = port.send(ask)
            assert answer.status == status, ask
            if status >= 400:
                assert canary not in answer.whole.lower(), ask
    assert traces.found(proof.platform, [canary]) == []


def broken_rows(world: World, canary: str) -> Iterator[Insert]:
    """Rows that the app would never send, each against another constraint of the database."""
    things = world.things(world.caller("owner", Credential.KEY))
    user = {"id": new_id(), "name": canary, "role": "member", "kind": "person", "email": f"{canary}@example.com"}
    conversation = {"id": new_id(), "subject": canary, "created_by": things.holder}
    yield insert(User).values({**user, "name": canary * 20})
    yield insert(User).values({**user, "email": f"UPPER-{canary}@example.com"})
    yield insert(User).values({**user, "role": canary})
    yield insert(User).values({**user, "name": None})
    yield insert(User).values({**user, "email": things.user_email})
    yield insert(User).values({**user, "id": things.user})
    yield insert(Conversation).values({**conversation, "subject": canary * 20})
    yield insert(Conversation).values({**conversation, "created_by": new_id()})
    yield insert(Message).values(
        id=new_id(), conversation_id=new_id(), author_id=things.holder, body=f"{canary} in no conversation"
    )


@pytest.mark.parametrize("model", ["pool", "bridge", pytest.param("silo", marks=pytest.mark.slow)])
def test_errors_of_the_database_carry_no_row_into_the_log_or_the_answer(proof: Proof, model: str) -> None:
    world, canary = proof.world(model), f"canary{uuid4().hex}"
    with Inside(proof.platform) as door:
        for statement in broken_rows(world, canary):
            with pytest.raises(CopyholdError) as caught, door.session(world.id) as session:
                door.run(session, statement.values(tenant_id=world.id))
            assert canary not in f"{caught.value} {caught.value!r} {caught.value.facts}"
    server = "beta" if model == "silo" else "alpha"
    log = proof.platform.layout.logs / f"{server}.log"
    until(lambda: "users_role_check" in log.read_text(), what="PostgreSQL has logged that it refused a row")
    assert traces.found(proof.platform, [canary]) == []


ROLE_CHECK = "CHECK (role IN ('member', 'admin', 'owner'))"


@pytest.mark.slow
def test_an_error_that_nobody_foresaw_leaves_no_row_in_the_log_or_the_answer(breakable: Proof) -> None:
    """A row that this version of the app cannot show, as a newer revision may allow one."""
    world, canary = breakable.world("pool"), f"canary{uuid4().hex}"
    owner = world.caller("owner", Credential.KEY)
    user = world.things(owner).user
    ask = Ask(method="GET", path=f"/api/users/{user}", host=world.host, headers=owner.headers)
    dropped = "ALTER TABLE users DROP CONSTRAINT users_role_check"
    log = breakable.platform.layout.logs / "api.log"
    with breakable.port() as port:
        assert port.send(ask).status == 200
        with layers.changed(world.home, dropped, f"ALTER TABLE users ADD CONSTRAINT users_role_check {ROLE_CHECK}"):
            world.home.execute("UPDATE users SET role = %s WHERE id = %s", [canary, user])
            answer = port.send(ask)
            world.home.execute("UPDATE users SET role = 'member' WHERE id = %s", [user])
    with breakable.port() as port:
        assert port.send(ask).status == 200
    assert answer.status == 500
    assert canary not in answer.whole
    until(lambda: "request_crashed" in log.read_text(), what="the API has logged that a request crashed")
    assert traces.found(breakable.platform, [canary]) == []


@pytest.mark.slow
@pytest.mark.parametrize("models", [["pool", "bridge"], ["silo"]])
def test_what_tenants_wrote_is_in_their_homes_alone(proof: Proof, models: list[str]) -> None:
    worlds = [proof.world(model, number) for model in models for number in (1, 2)]
    matrix = proof.matrix(models[0], models[-1])
    with proof.port() as port:
        assert matrix.run(port).wrong == []
    assert traces.found(proof.platform, [world.canary for world in worlds]) == []
    assert traces.strangers(worlds) == []


def test_the_search_finds_what_is_there(proof: Proof) -> None:
    world, other = proof.world("pool"), proof.world("bridge")
    places = {name for name, _ in traces.everything(proof.platform)}
    logs = {f"logs/{part}.log" for part in ("control", "alpha", "beta", "pgbouncer", "redis", "api", "worker")}
    assert places >= {*logs, "snapshot/roll.json", "redis", "control database", "answer of /metrics"}
    slug = world.tenant.slug
    until(
        lambda: (
            {f"{place} holds {slug}" for place in ("control database", "snapshot/roll.json")}
            <= set(traces.found(proof.platform, [slug]))
        ),
        what="the tenant's slug is found where it must be",
    )
    with proof.port() as port:
        port.send(Ask(method="POST", path="/api/login", host=world.host, body={"email": "a@b.c", "password": "x"}))
    assert traces.found(proof.platform, ["copyhold:throttle"]) == ["redis holds copyhold:throttle"]
    assert any(found.startswith("logs/") for found in traces.found(proof.platform, ["database system is ready"]))
    things = other.things(other.caller("owner", Credential.KEY))
    changed = "UPDATE conversations SET subject = %s WHERE id = %s"
    other.home.execute(changed, [world.canary, things.conversation])
    told = [f"conversations {things.conversation} of {other.tenant.slug} holds the canary of {slug}"]
    assert traces.strangers([world, other]) == told
    other.home.execute(changed, ["Put back", things.conversation])
