"""How far a move's stream has been applied here, written by the transactions that apply it: nothing comes twice."""

from alembic import op

revision = "h0002"
down_revision = "h0001"
branch_labels = None
depends_on = None

expands = True

TABLE = """
CREATE TABLE tenancy.streams (
    name text PRIMARY KEY CHECK (name ~ '^(mv|un)_[0-9a-f]{32}$'),
    applied pg_lsn NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    """Add the table; movers write to it and nobody else."""
    op.execute(TABLE)
    op.execute("REVOKE ALL ON tenancy.streams FROM PUBLIC")
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON tenancy.streams TO copyhold_mover")


def downgrade() -> None:
    """A move that goes on fails and begins anew."""
    op.execute("DROP TABLE tenancy.streams")
