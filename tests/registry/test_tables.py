"""The control chain builds what the code maps, and its audit log only grows."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from control_plane import audit
from control_plane.domain.ids import new_id
from control_plane.registry.engine import transaction
from control_plane.registry.tables import Base

# An index serves a reference when it begins with its columns.
UNINDEXED = """
SELECT conname FROM pg_constraint c
 WHERE contype = 'f' AND connamespace = 'public'::regnamespace
   AND NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = c.conrelid AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] = c.conkey)
"""


def test_the_chain_builds_what_is_mapped(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found = compare_metadata(context, Base.metadata)
    assert [item for item in found if item[0] != "remove_table" or item[1].name != "alembic_version"] == []


def test_every_table_has_a_docstring() -> None:
    assert all(mapper.class_.__doc__ for mapper in Base.registry.mappers)


def test_names_are_those_of_the_naming_convention(engine: Engine) -> None:
    mapped = {str(constraint.name) for table in Base.metadata.tables.values() for constraint in table.constraints}
    with transaction(engine) as session:
        query = "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 't'"
        found = set(session.execute(text(query)).scalars())
    assert found - {"alembic_version_pkc"} == mapped


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'nobody'",
        "UPDATE audit_log SET actor = 'nobody' WHERE false",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "INSERT INTO audit_log SELECT * FROM audit_log ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
        "MERGE INTO audit_log a USING audit_log b ON a.id = b.id WHEN MATCHED THEN DELETE",
    ],
)
def test_an_entry_of_the_audit_log_cannot_be_changed_or_deleted(engine: Engine, statement: str) -> None:
    with transaction(engine) as session:
        audit.record(session, "somebody", "tenant.create", "acme", tenant_id=new_id(), plan="starter")
    with pytest.raises(DBAPIError, match="append-only"), transaction(engine) as session:
        session.execute(text(statement))
    with transaction(engine) as session:
        (entry,) = audit.newest(session, limit=10)
    assert (entry.actor, entry.action, entry.facts) == ("somebody", "tenant.create", {"plan": "starter"})


def test_an_entry_of_what_was_rolled_back_is_not_there(engine: Engine) -> None:
    with transaction(engine) as session:
        audit.record(session, "somebody", "tenant.create", "acme")
        session.flush()
        session.rollback()
    with transaction(engine) as session:
        assert audit.newest(session, limit=10) == []


def test_the_newest_entries_come_first_and_one_tenants_alone_when_asked_for(engine: Engine) -> None:
    tenant_id = new_id()
    for number in range(50):
        with transaction(engine) as session:
            audit.record(session, "a", str(number), "b", tenant_id=tenant_id if number % 2 else None)
    with transaction(engine) as session:
        assert [int(entry.action) for entry in audit.newest(session, limit=50)] == list(range(49, -1, -1))
        assert [entry.action for entry in audit.newest(session, limit=2, tenant_id=tenant_id)] == ["49", "47"]
