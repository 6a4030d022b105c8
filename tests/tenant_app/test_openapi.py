"""The OpenAPI is complete: the isolation tests and clients are generated from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.tenant_app.house import House

Operation = dict[str, Any]
FREE = {"get_front", "login", "enter"}
NO_CONTENT = {"204", "303"}


@pytest.fixture
async def document(house: House) -> dict[str, Any]:
    """The document as a tenant's host serves it."""
    tenant = await house.tenant()
    found: dict[str, Any] = (await tenant.client().get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path in document["paths"].values():
        yield from path.values()


async def test_every_operation_has_an_id_of_its_own_a_tag_and_a_description(document: dict[str, Any]) -> None:
    every = list(operations(document))
    assert len({operation["operationId"] for operation in every}) == len(every) == 23
    for operation in every:
        assert operation["tags"], operation["operationId"]
        assert operation["description"], operation["operationId"]


async def test_every_operation_documents_its_answer_and_its_failures(document: dict[str, Any]) -> None:
    for operation in operations(document):
        name, answers = operation["operationId"], dict(operation["responses"])
        failures = {status: answers.pop(status) for status in list(answers) if status[0] not in "23"}
        assert any(status.startswith("4") for status in failures), name
        for failure in failures.values():
            schemas = [content["schema"]["$ref"] for content in failure["content"].values()]
            assert set(schemas) == {"#/components/schemas/Problem"}, name
        (status,) = answers
        assert status in NO_CONTENT or "$ref" in answers[status]["content"]["application/json"]["schema"], name


async def test_whoever_has_to_be_known_is_documented(document: dict[str, Any]) -> None:
    for operation in operations(document):
        wanted: object = None if operation["operationId"] in FREE else [{"ApiKey": []}, {"Session": []}]
        assert operation.get("security") == wanted, operation["operationId"]
    assert document["components"]["securitySchemes"]["Session"]["name"] == "copyhold_session"


async def test_a_body_is_closed_to_fields_it_does_not_declare(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for operation in operations(document):
        if "requestBody" in operation:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert schemas[name]["additionalProperties"] is False, name
            assert {"413", "422"} <= set(operation["responses"]), operation["operationId"]


async def test_no_answer_has_a_field_for_secrets(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Out") or name == "Me":
            assert not {"password_hash", "tenant_id", "ticket_nonce"} & set(schema["properties"]), name
