"""The OpenAPI is complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.control_plane.house import ControlPlane

FREE = {"sign_up", "get_signup", "staff_login", "get_health", "get_readiness", "get_metrics"}
STAFF: list[dict[str, list[str]]] = [{"StaffToken": []}, {"StaffSession": []}]
OTHER_BODIES = {"204", "get_metrics", "follow_migration", "follow_move_run", "follow_workflow"}


@pytest.fixture
async def document(shared: ControlPlane) -> dict[str, Any]:
    found: dict[str, Any] = (await shared.client().get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


async def test_every_operation_has_an_id_of_its_own_a_tag_and_a_description(document: dict[str, Any]) -> None:
    every = list(operations(document))
    assert len({operation["operationId"] for operation in every}) == len(every) == 65
    for operation in every:
        assert operation["tags"], operation["operationId"]
        assert operation["description"], operation["operationId"]


async def test_every_operation_documents_its_answer_and_its_failures(document: dict[str, Any]) -> None:
    for operation in operations(document):
        name, answers = operation["operationId"], dict(operation["responses"])
        failures = {status: answers.pop(status) for status in list(answers) if status[0] not in "23"}
        for failure in failures.values():
            assert {content["schema"]["$ref"] for content in failure["content"].values()} == {
                "#/components/schemas/Problem"
            }, name
        for status, answer in answers.items():
            documented = {status, name} & OTHER_BODIES or "$ref" in answer["content"]["application/json"]["schema"]
            assert documented, (name, status)


async def test_whoever_has_to_be_known_is_documented(document: dict[str, Any]) -> None:
    for operation in operations(document):
        name = operation["operationId"]
        assert operation.get("security") == (None if name in FREE else STAFF), name
        if name not in FREE:
            assert {"401", "503"} <= set(operation["responses"]), name
    assert document["components"]["securitySchemes"]["StaffSession"]["name"] == "copyhold_staff"


async def test_a_body_is_closed_to_fields_it_does_not_declare(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for operation in operations(document):
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            for one in body.get("oneOf", body.get("anyOf", [body])):
                name = one["$ref"].rpartition("/")[2]
                assert schemas[name]["additionalProperties"] is False, name
            assert {"413", "422"} <= set(operation["responses"]), operation["operationId"]


async def test_a_tenant_carries_what_is_promised(document: dict[str, Any]) -> None:
    for name in ("TenantOut", "ListedTenant", "TenantDetails"):
        assert {"id", "slug", "model", "status", "plan"} <= set(document["components"]["schemas"][name]["required"])


async def test_no_answer_has_a_field_for_what_is_kept_of_secrets(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        assert not {"password_hash", "secret_sha256", "sealed_password"} & set(schema.get("properties", ())), name
