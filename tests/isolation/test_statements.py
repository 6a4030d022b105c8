"""The reader of statements tells the ones that do not keep to one tenant."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ClauseElement

from control_plane.domain.ids import new_id
from tenant_app.tables import Message, User
from tests.isolation.doors import Sent
from tests.isolation.statements import faults

MINE, OTHER = new_id(), new_id()
Other = aliased(User)


def sent(statement: ClauseElement, tenant: UUID | None = MINE) -> Sent:
    compiled = statement.compile(dialect=PGDialect_psycopg())
    parameters: Mapping[str, object] = compiled.params
    return Sent(text=str(compiled), parameters=parameters, compiled=compiled, tenant=tenant)


@pytest.mark.parametrize(
    "statement",
    [
        select(User).where(User.tenant_id == MINE),
        select(User).where(User.tenant_id == MINE, or_(User.name == "a", User.name == "b")),
        select(User.id, Other.id).join(Other, Other.tenant_id == MINE).where(User.tenant_id == MINE),
        update(User).where(User.tenant_id == MINE).values(name="N"),
        delete(Message).where(Message.tenant_id == MINE),
        insert(User).values(tenant_id=MINE, id=MINE, name="N"),
    ],
)
def test_a_statement_that_keeps_to_its_tenant_passes(statement: ClauseElement) -> None:
    assert faults(sent(statement)) == []


@pytest.mark.filterwarnings("ignore:Column .* is marked as a member of the primary key")
@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (select(User), "does not say whose users"),
        (select(User).where(User.tenant_id == OTHER), "means the users of another tenant"),
        (select(User).where(User.tenant_id != MINE), "does not say whose users"),
        (select(User).where(or_(User.tenant_id == MINE, User.name == "a")), "has an OR"),
        (select(User.id, Other.id).join(Other, Other.id == User.id).where(User.tenant_id == MINE), "whose users"),
        (select(Message).join(User, User.id == Message.author_id).where(User.tenant_id == MINE), "whose messages"),
        (select(User).where(User.tenant_id == MINE, User.id.in_(select(Message.author_id))), "whose messages"),
        (update(User).values(name="N"), "does not say whose users"),
        (delete(Message).where(Message.id == MINE), "does not say whose messages"),
        (insert(User).values(id=MINE, name="N"), "inserts into users without tenant_id"),
        (insert(User).values(tenant_id=OTHER, id=MINE, name="N"), "inserts into users for another tenant"),
        (text("SELECT * FROM users"), "written by hand"),
        (select(text("1")), "names no tenant table"),
    ],
)
def test_a_statement_that_does_not_is_told(statement: ClauseElement, why: str) -> None:
    assert any(why in fault for fault in faults(sent(statement)))


def test_a_statement_without_a_context_is_told() -> None:
    assert any("without a context" in fault for fault in faults(sent(select(User).where(User.tenant_id == MINE), None)))
