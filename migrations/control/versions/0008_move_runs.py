"""Runs of many moves, and how much single databases hold."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0008"
down_revision = "c0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own, and columns that nobody has to fill in."""
    op.create_table(
        "move_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=False),
        sa.Column("undo_window_s", sa.Integer(), nullable=False),
        sa.Column("allow_freeze", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("journeys", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("stays", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("move_runs_pkey")),
    )
    op.add_column("moves", sa.Column("run_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("moves_run_id_fkey"), "moves", "move_runs", ["run_id"], ["id"])
    op.create_index(op.f("moves_run_id_idx"), "moves", ["run_id"])
    op.add_column("databases", sa.Column("used_bytes", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Loses which runs there were."""
    op.drop_column("databases", "used_bytes")
    op.drop_column("moves", "run_id")
    op.drop_table("move_runs")
