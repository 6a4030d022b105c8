<% form = context.get("form", "sql") %>\
"""${message}.

FILL IN: what the app versions before this revision, and those that need it, can rely on.
"""

from alembic import op

revision = "${up_revision}"
down_revision = ${'None' if down_revision is None else f'"{down_revision}"'}
branch_labels = None
depends_on = None

expands = True
"""App versions that know only the revision before go on working. False for what takes something from them."""
% if form == "python":

python = True
"""It needs its connection: nothing of it can be shown by `migrate plan --sql`."""

STEP_ROWS = 5_000
STEP = """
UPDATE FILL IN SET FILL IN = FILL IN
 WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM FILL IN WHERE FILL IN IS NULL LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def upgrade() -> None:
    """FILL IN: which rows are changed, and why a row that is changed already is not found again.

    Each step is committed by itself, so that no row is locked for long and a crash loses none of them. The connection
    is the migrator's, who sees the rows of every tenant of the target.
    """
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        while connection.exec_driver_sql(STEP, (STEP_ROWS,)).rowcount:
            pass


def downgrade() -> None:
    """Loses nothing: FILL IN, or refuse it with NotImplementedError and the reason."""
% elif form == "concurrently":

INDEX = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS FILL IN_idx ON FILL IN (tenant_id, FILL IN)
"""


def upgrade() -> None:
    """One index and nothing else: it is built outside of any transaction, and a crash is repeated from its beginning.

    What a crash leaves behind is an invalid index; a run drops it before it builds again. Reads and writes go on.
    """
    with op.get_context().autocommit_block():
        op.execute(INDEX)


def downgrade() -> None:
    """Loses nothing."""
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS FILL IN_idx")
% else:


def upgrade() -> None:
    """Unqualified names; each step short under its lock. docs/operations/migrations.md has a safe way for each change.

    A new table ends with SELECT tenancy.protect('its_name'), a new column of content with
    SELECT tenancy.conceal('its_table'). An index on a table that is there is a revision of its own: --concurrently.
    """
    op.execute("ALTER TABLE FILL IN ADD COLUMN FILL IN")


def downgrade() -> None:
    """FILL IN: what is lost, or that nothing is; or refuse it with NotImplementedError and the reason."""
    op.execute("ALTER TABLE FILL IN DROP COLUMN FILL IN")
% endif
