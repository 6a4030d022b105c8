"""Chains written by tests: revisions 0001, 0002 … in a folder, each running the body that a test gives it."""

from __future__ import annotations

import textwrap
from pathlib import Path

from migrations.fleet.chains import Chain, tenant_chain

ENVIRONMENT = 'from migrations.environment import run\n\nrun("alembic_version")\n'
REVISION = """
from alembic import op

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}
"""


def chain(folder: Path, *bodies: str) -> Chain:
    """A chain in `folder`, which must be new, with a revision for each body."""
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENVIRONMENT)
    before = None
    for number, body in enumerate(bodies, start=1):
        before = write_revision(folder, f"{number:04}", before, body)
    return tenant_chain(str(folder))


def write_revision(folder: Path, revision: str, before: str | None, body: str) -> str:
    """One revision more; its name comes back."""
    text = REVISION.format(revision=revision, before=repr(before), body=textwrap.indent(textwrap.dedent(body), "    "))
    (folder / "versions" / f"{revision}.py").write_text(text)
    return revision


def execute(*statements: str) -> str:
    """A revision's body that executes those statements."""
    return "\n".join(f"op.execute({statement!r})" for statement in statements)


def concurrently(statement: str) -> str:
    """A revision's body that executes a statement outside of any transaction."""
    return f"with op.get_context().autocommit_block():\n    op.execute({statement!r})"
