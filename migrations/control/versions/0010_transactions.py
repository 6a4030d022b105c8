"""How many transactions databases and servers have in a minute, and how many a server takes."""

import sqlalchemy as sa
from alembic import op

revision = "c0010"
down_revision = "c0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns that nobody has to fill in."""
    op.add_column("servers", sa.Column("capacity_per_minute", sa.BigInteger(), nullable=True))
    op.add_column("servers", sa.Column("per_minute", sa.BigInteger(), nullable=True))
    op.add_column("databases", sa.Column("per_minute", sa.BigInteger(), nullable=True))
    op.add_column("databases", sa.Column("counted", sa.BigInteger(), nullable=True))
    op.add_column("databases", sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Loses what was counted, and what servers take."""
    for column in ("counted_at", "counted", "per_minute"):
        op.drop_column("databases", column)
    for column in ("per_minute", "capacity_per_minute"):
        op.drop_column("servers", column)
