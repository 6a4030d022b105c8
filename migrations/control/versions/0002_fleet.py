"""The fleet's runs in full: waves, attempts, who needs which revision, what a target of a revision looks like."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0002"
down_revision = "c0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to what is there; rows of older runs keep their meaning."""
    op.execute("ALTER TABLE tenants ADD COLUMN labels text[] NOT NULL DEFAULT '{}'")
    op.execute(
        "ALTER TABLE migration_runs ADD COLUMN direction text NOT NULL DEFAULT 'up',"
        " ADD COLUMN code_version text NOT NULL DEFAULT '', ADD COLUMN options jsonb NOT NULL DEFAULT '{}',"
        " ADD COLUMN reason text"
    )
    op.execute(
        "ALTER TABLE migration_targets ADD COLUMN wave integer NOT NULL DEFAULT 0,"
        " ADD COLUMN attempts integer NOT NULL DEFAULT 0"
    )
    op.create_table(
        "processes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("revisions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("processes_pkey")),
    )
    op.create_table(
        "shapes",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("server_version", sa.Integer(), nullable=False),
        sa.Column("objects", postgresql.JSONB(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("chain", "revision", "source", "server_version", name=op.f("shapes_pkey")),
    )


def downgrade() -> None:
    """Loses the labels and the runs' details."""
    raise NotImplementedError("labels and the details of runs would be lost")
