"""Tenants that move from one home to another."""

import sqlalchemy as sa
from alembic import op

revision = "c0005"
down_revision = "c0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table of its own: nothing that was there changes."""
    op.create_table(
        "moves",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("target_id", sa.Uuid(), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=True),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=True),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stall_ms", sa.Float(), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cancel_asked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("undo_window_s", sa.Integer(), nullable=False),
        sa.Column("undo_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("switched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("moves_tenant_id_fkey")),
        sa.ForeignKeyConstraint(["source_id"], ["homes.id"], name=op.f("moves_source_id_fkey")),
        sa.ForeignKeyConstraint(["target_id"], ["homes.id"], name=op.f("moves_target_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("moves_pkey")),
    )
    for column in ("tenant_id", "source_id", "target_id"):
        op.create_index(op.f(f"moves_{column}_idx"), "moves", [column])
    op.create_index(
        "moves_one_open",
        "moves",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("phase NOT IN ('done', 'called_off')"),
    )


def downgrade() -> None:
    """Loses what was moved, and how; no move may go on."""
    op.drop_table("moves")
