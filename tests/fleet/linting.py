"""Chains for lint: two tables, and the revisions that a test wants after them."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from migrations.fleet.chains import Chain, tenant_chain
from tests.fleet.writing import ENVIRONMENT, concurrently, execute

MODULE = '''"""{revision}."""

from alembic import op

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None

{said}


def upgrade() -> None:
{up}


def downgrade() -> None:
    """{lost}"""
{down}
'''
REFUSED = 'raise NotImplementedError("not here")'
AUTHORS = """
CREATE TABLE authors (
    tenant_id uuid NOT NULL, id uuid NOT NULL, name text NOT NULL, PRIMARY KEY (tenant_id, id)
)
"""
NOTES = """
CREATE TABLE notes (
    tenant_id uuid NOT NULL, id uuid NOT NULL, author_id uuid, body text, label varchar(40), rank bigint, other bigint,
    PRIMARY KEY (tenant_id, id)
)
"""
TABLES = (AUTHORS, NOTES, "SELECT tenancy.protect('authors')", "SELECT tenancy.protect('notes')")
MIGRATOR, OWNER = "SET LOCAL ROLE copyhold_migrator", "SET LOCAL ROLE copyhold_owner"
OWNED = "connection = op.get_bind()\nconnection.exec_driver_sql('SET LOCAL ROLE copyhold_owner')"
PYTHON = "expands = True\npython = True"


@dataclass(frozen=True, kw_only=True)
class Module:
    """A revision's file, but for its name."""

    up: str
    down: str = REFUSED
    lost: str = ""
    said: str = "expands = True"


def sql(*statements: str, **module: str) -> Module:
    """A revision that executes these statements."""
    return Module(up=execute(*statements), **module)


def alone(statement: str, **module: str) -> Module:
    """A revision that executes one outside of any transaction."""
    return Module(up=concurrently(statement), **module)


def contract(*statements: str) -> Module:
    """One that older app versions do not survive, and says so."""
    return sql(*statements, said="expands = False")


def lint_chain(folder: Path, *modules: Module) -> Chain:
    """0001 makes two tables; each module is one revision more."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    before = None
    for number, module in enumerate((sql(*TABLES), *modules), start=1):
        revision = f"{number:04}"
        text = MODULE.format(
            revision=revision,
            before=repr(before),
            said=module.said,
            up=textwrap.indent(module.up, "    "),
            lost=module.lost,
            down=textwrap.indent(module.down, "    "),
        )
        (folder / "versions" / f"{revision}.py").write_text(text)
        before = revision
    return tenant_chain(str(folder))


INDEX = "CREATE INDEX {} IF NOT EXISTS notes_{}_idx ON notes (tenant_id, {})"
OF_AUTHOR = "FOREIGN KEY (tenant_id, author_id) REFERENCES authors (tenant_id, id)"
NEW_TABLE = "CREATE TABLE tags (tenant_id uuid NOT NULL, id uuid NOT NULL, {} PRIMARY KEY (tenant_id, id))"
PROTECT = "SELECT tenancy.protect('tags')"


def index(column: str) -> Module:
    """Its index, the safe way."""
    return alone(INDEX.format("CONCURRENTLY", column, column))
