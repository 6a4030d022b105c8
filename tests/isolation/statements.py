"""Reads the statements that the app sends: does each say whose rows it means, of every tenant table it names?

Made for what SQLAlchemy writes, not for SQL at large: what it cannot read, it does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

from sqlalchemy import TextClause

from control_plane.routing.guard import FINDINGS
from tenant_app.tables import Base
from tests.isolation.doors import Sent

TABLES = tuple(Base.metadata.tables)
PARAMETER = re.compile(r"%\((\w+)\)s(?:::[A-Z]+(?: WITH TIME ZONE)?)?")
# A table's name that no column follows: it stands where a table is taken, maybe under another name.
NAMED = re.compile(rf"(?<![\w.:\"])({'|'.join(TABLES)})(?![\w.\"])(?:\s+AS\s+(\w+))?")
INSERT = re.compile(rf"INSERT INTO ({'|'.join(TABLES)}) \(([^)]*)\)")


def faults(sent: Sent) -> list[str]:
    """Why that statement does not keep to one tenant by itself; empty when it does."""
    if sent.compiled is not None and sent.compiled.statement is FINDINGS:
        return []  # The guard's own: it reads the catalogue, before there is any context.
    if sent.compiled is None or isinstance(sent.compiled.statement, TextClause):
        return [_told("was written by hand, where the ORM adds nothing", sent)]
    if sent.tenant is None:
        return [_told("was sent without a context", sent)]
    text = PARAMETER.sub(r":\1", sent.text)
    if re.search(r"\bOR\b", _outside_parentheses(text)):
        return [_told("has an OR beside its predicates", sent)]
    missing = [*_inserted(text, sent), *_named(text, sent)]
    return [_told(what, sent) for what in missing]


def _inserted(text: str, sent: Sent) -> Iterator[str]:
    for table, columns in INSERT.findall(text):
        if "tenant_id" not in [column.strip() for column in columns.split(",")]:
            yield f"inserts into {table} without tenant_id"
        given = [value for name, value in sent.parameters.items() if re.fullmatch(r"tenant_id(_m\d+|__\d+)?", name)]
        if not given or any(not _is(value, sent.tenant) for value in given):
            yield f"inserts into {table} for another tenant"


def _named(text: str, sent: Sent) -> Iterator[str]:
    rest = INSERT.sub("", text)
    found = [(table, alias or table) for table, alias in NAMED.findall(rest)]
    if not found and not INSERT.search(text):
        yield "names no tenant table"
    for table, alias in found:
        bound = re.findall(rf"(?<!\w){alias}\.tenant_id = :(\w+)", rest)
        if not bound:
            yield f"does not say whose {table} it means"
        elif not any(_is(sent.parameters[name], sent.tenant) for name in bound):
            yield f"means the {table} of another tenant"


def _is(value: object, tenant: UUID | None) -> bool:
    return str(value) == str(tenant)


def _outside_parentheses(text: str) -> str:
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def _told(what: str, sent: Sent) -> str:
    return f"{what}: {' '.join(sent.text.split())}"
