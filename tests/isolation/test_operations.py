"""The matrix's own proof: it leaves nothing out, and it can fail."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from control_plane.domain.route import Role
from tests.isolation.cases import Try, cases, every_case, missing
from tests.isolation.conftest import Proof
from tests.isolation.doors import Inside
from tests.isolation.operations import OPERATIONS, Credential, Effect, Operation, served, unclassified
from tests.isolation.positions import Id

CASES_AT_LEAST = 240


@pytest.fixture
def document(proof: Proof) -> dict[str, Any]:
    """The tenant app's OpenAPI."""
    world = proof.world("pool")
    found: dict[str, Any] = proof.platform.client(world.host).get("/openapi.json").json()
    return found


def test_every_operation_and_every_input_of_the_app_is_classified(proof: Proof) -> None:
    assert unclassified(proof.served, OPERATIONS) == []
    assert len(proof.served) >= 23


def test_the_app_serves_nothing_that_its_openapi_does_not_tell(proof: Proof) -> None:
    told = {(there.path, there.method) for there in proof.served.values()}
    with Inside(proof.platform) as door:
        app = door.app
        while not isinstance(app, FastAPI):
            app = app._app
    # A mount or a socket has no methods, and so is told here.
    serves = {(route.path, method) for route in iter_route_contexts(app.routes) for method in route.methods or [None]}
    assert serves - told == {("/openapi.json", "GET"), ("/openapi.json", "HEAD")}
    assert told <= serves


def test_an_operation_that_nobody_classified_is_named(proof: Proof) -> None:
    known = {name: operation for name, operation in OPERATIONS.items() if name != "get_message"}
    assert unclassified(proof.served, known) == ["get_message: nobody classified this operation"]


def test_an_operation_that_is_gone_is_named(proof: Proof) -> None:
    left = {name: there for name, there in proof.served.items() if name != "get_message"}
    assert unclassified(left, OPERATIONS) == ["get_message: there is no such operation"]


@pytest.mark.parametrize(
    ("place", "schema", "name"),
    [
        ("query", {"type": "string", "format": "uuid"}, "query.owner"),
        ("header", {"type": "string"}, "header.x-tenant"),
        ("query", {"type": "string"}, "query.before"),
    ],
)
def test_a_new_parameter_is_named(document: dict[str, Any], place: str, schema: dict[str, str], name: str) -> None:
    document = copy.deepcopy(document)
    parameter = {"in": place, "name": name.partition(".")[2], "schema": schema}
    document["paths"]["/api/conversations"]["get"]["parameters"].append(parameter)
    assert unclassified(served(document), OPERATIONS) == [f"list_conversations: nobody classified the input {name}"]


def test_a_new_field_deep_in_a_body_is_named(document: dict[str, Any]) -> None:
    document = copy.deepcopy(document)
    schemas = document["components"]["schemas"]
    schemas["Part"] = {"properties": {"message_id": {"type": "string", "format": "uuid"}}}
    schemas["NewMessage"]["properties"]["parts"] = {
        "anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Part"}}, {"type": "null"}]
    }
    wrong = unclassified(served(document), OPERATIONS)
    assert "create_message: nobody classified the input body.parts[].message_id" in wrong


@pytest.mark.parametrize("name", ["body.conversation_id", "query.cursor", "body.email", "query.after"])
def test_what_names_something_cannot_be_passed_off_as_a_plain_value(proof: Proof, name: str) -> None:
    there = proof.served["create_message"]
    found = {**proof.served, "create_message": replace(there, inputs={**there.inputs, name: {"type": "string"}})}
    said = OPERATIONS["create_message"]
    table = {**OPERATIONS, "create_message": replace(said, values={**said.values, name: "x"})}
    assert unclassified(found, table) == [
        f"create_message: {name} looks like the name of something, but is classified as a plain value"
    ]


def test_the_matrix_holds_every_operation_position_credential_and_way() -> None:
    made = every_case(OPERATIONS)
    assert missing(OPERATIONS, made) == []
    assert len(made) == len(set(made)) >= CASES_AT_LEAST
    assert {case.how for case in made} == set(Try)


def test_a_case_that_is_missing_is_named() -> None:
    made = every_case(OPERATIONS)
    foreign = [case for case in made if case.operation == "get_message" and len(case.foreign) == 1]
    for case in foreign:
        if case.how is Try.THEIR_IDS:
            (position,) = case.foreign
            told = f"get_message by {case.credential}: {position} never holds another tenant's"
            assert missing(OPERATIONS, [each for each in made if each != case]) == [told]
    last = made[-1]
    assert missing(OPERATIONS, made[:-1]) == [f"{last.operation} by {last.credential}: does not end with its control"]


def test_only_what_stands_before_the_door_needs_nobody_to_be_known() -> None:
    assert {name for name, operation in OPERATIONS.items() if operation.public} == {"get_front", "login", "enter"}


def test_the_app_says_of_the_same_operations_that_they_need_a_credential(document: dict[str, Any]) -> None:
    secured = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if operation.get("security") == [{"ApiKey": []}, {"Session": []}]
    }
    assert secured == {name for name, operation in OPERATIONS.items() if not operation.public}


def test_an_operation_with_two_ids_is_tried_with_each_and_with_both() -> None:
    both = {"path.a": Id("conversation"), "path.b": Id("message")}
    operation = Operation(role=Role.MEMBER, effect=Effect.READ, ids=both)
    tried = {case.foreign for case in cases("x", operation, Credential.KEY) if case.how is Try.THEIR_IDS}
    assert tried == {frozenset({"path.a"}), frozenset({"path.b"}), frozenset({"path.a", "path.b"})}
