<% form = context.get("form", "sql") %>\
"""${message}.

FILL IN: what the app versions before this revision, and those that need it, can rely on.
"""

% if form == "python":
from uuid import UUID

% endif
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
WITH step AS (
    SELECT tenant_id, id FROM FILL IN WHERE (tenant_id, id) > (%s, %s) ORDER BY tenant_id, id LIMIT %s
), changed AS (
    UPDATE FILL IN AS row SET FILL IN = FILL IN
      FROM step WHERE (row.tenant_id, row.id) = (step.tenant_id, step.id) AND row.FILL IN IS NULL
)
SELECT tenant_id, id FROM step ORDER BY tenant_id DESC, id DESC LIMIT 1
"""


def upgrade() -> None:
    """FILL IN: which rows are changed, and into what.

    Each step is committed by itself, so that no row stays locked and a crash loses none of them; what is changed
    already is passed over. The connection is the migrator's, who sees the rows of every tenant of the target.
    """
    with op.get_context().autocommit_block():
        last = (UUID(int=0), UUID(int=0))
        while last is not None:
            last = op.get_bind().exec_driver_sql(STEP, (*last, STEP_ROWS)).first()


def downgrade() -> None:
    """FILL IN: what is lost, or that nothing is; or refuse it with NotImplementedError and the reason."""
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
