"""Moves into a pool or bridge that somebody has named."""

import sqlalchemy as sa
from alembic import op

revision = "c0011"
down_revision = "c0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that nobody has to fill in."""
    for table in ("moves", "dry_runs"):
        op.add_column(table, sa.Column("database", sa.Text(), nullable=True))


def downgrade() -> None:
    """Loses which databases were asked for."""
    for table in ("moves", "dry_runs"):
        op.drop_column(table, "database")
