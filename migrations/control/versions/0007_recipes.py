"""Moves know by which recipe they are made, and whether a tenant may be kept waiting for one."""

import sqlalchemy as sa
from alembic import op

revision = "c0007"
down_revision = "c0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Moves that were made before were all streamed."""
    for table in ("moves", "dry_runs"):
        op.add_column(table, sa.Column("allow_freeze", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("moves", sa.Column("recipe", sa.Text(), nullable=True))
    op.add_column("moves", sa.Column("expected_stall_s", sa.Float(), nullable=True))
    op.add_column("moves", sa.Column("note", sa.Text(), nullable=True))
    op.execute("UPDATE moves SET recipe = 'stream'")


def downgrade() -> None:
    """Loses which moves are made under freeze; none that is may go on."""
    op.drop_column("dry_runs", "allow_freeze")
    for column in ("note", "expected_stall_s", "recipe", "allow_freeze"):
        op.drop_column("moves", column)
