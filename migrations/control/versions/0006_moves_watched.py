"""What those are told of moves who cannot look at servers themselves: what one would do, what slots keep."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0006"
down_revision = "c0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own, and two numbers of each server."""
    op.create_table(
        "dry_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=True),
        sa.Column("undo_window_s", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("told", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("dry_runs_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("dry_runs_pkey")),
    )
    op.create_index(op.f("dry_runs_tenant_id_idx"), "dry_runs", ["tenant_id"])
    for column, kind in (("move_slots", sa.Integer()), ("move_wal_bytes", sa.BigInteger())):
        op.add_column("servers", sa.Column(column, kind, server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    """Loses what was foretold."""
    for column in ("move_wal_bytes", "move_slots"):
        op.drop_column("servers", column)
    op.drop_table("dry_runs")
