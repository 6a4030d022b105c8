"""What the life of homes needs: warm silos, logins that take turns, closing with grace, exports, told workflows."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c0004"
down_revision = "c0003"
branch_labels = None
depends_on = None

ROUTES_HEAR_OF_LOGINS = """
CREATE CONSTRAINT TRIGGER announce AFTER UPDATE OF alias, login, sealed_password ON databases
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION database_changed()
"""
SERVERS_STAY = """
ALTER TABLE databases ADD CONSTRAINT databases_server_fkey FOREIGN KEY (server) REFERENCES servers (name) NOT VALID
"""
ROUTES_DO_NOT = """
CREATE CONSTRAINT TRIGGER announce AFTER UPDATE OF alias, sealed_password ON databases
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION database_changed()
"""

SERVERS: tuple[sa.Column[Any], ...] = (
    sa.Column("labels", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column("settings", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
    sa.Column("sealed_passwords", sa.Text(), nullable=True),
    sa.Column("capacity_bytes", sa.BigInteger(), nullable=True),
    sa.Column("used_bytes", sa.BigInteger(), nullable=True),
    sa.Column("measured_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("warm", sa.Integer(), server_default=sa.text("0"), nullable=False),
    sa.Column("failure", sa.Text(), nullable=True),
)
TENANTS: tuple[sa.Column[Any], ...] = (
    sa.Column("closing_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("closing_from", sa.Text(), nullable=True),
    sa.Column("export_first", sa.Boolean(), server_default=sa.text("true"), nullable=False),
    sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
)

MASTER_KEYS: sa.Column[Any] = sa.Column(
    "master_keys", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
)


def upgrade() -> None:
    """Databases that are there keep the login that is named like them."""
    for column in SERVERS:
        op.add_column("servers", column)
    for column in TENANTS:
        op.add_column("tenants", column)
    op.add_column("databases", sa.Column("login", sa.Text(), nullable=True))
    op.execute("UPDATE databases SET login = name")
    op.alter_column("databases", "login", nullable=False)
    op.add_column("databases", sa.Column("next_login", sa.Text(), nullable=True))
    op.add_column("databases", sa.Column("next_sealed_password", sa.Text(), nullable=True))
    op.add_column("homes", sa.Column("reason", sa.Text(), nullable=True))
    op.add_column("processes", sa.Column("roll_version", sa.BigInteger(), nullable=True))
    op.add_column("processes", MASTER_KEYS)
    op.add_column("databases", sa.Column("state", sa.Text(), server_default=sa.text("'ready'"), nullable=False))
    op.drop_constraint("databases_server_fkey", "databases", type_="foreignkey")
    op.execute("DROP TRIGGER announce ON databases")
    op.execute(ROUTES_HEAR_OF_LOGINS)
    op.create_table(
        "workflows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'requested'"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("workflows_pkey")),
    )
    op.create_index(op.f("workflows_subject_idx"), "workflows", ["subject"])
    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'requested'"), nullable=False),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("exports_tenant_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("exports_pkey")),
    )
    op.create_index(op.f("exports_tenant_id_idx"), "exports", ["tenant_id"])


def downgrade() -> None:
    """Loses when tenants were closed, what was exported and why workflows failed."""
    op.drop_table("exports")
    op.drop_table("workflows")
    op.execute("DROP TRIGGER announce ON databases")
    op.drop_column("databases", "state")
    op.drop_column("processes", "master_keys")
    op.drop_column("processes", "roll_version")
    op.drop_column("homes", "reason")
    op.drop_column("databases", "next_sealed_password")
    op.drop_column("databases", "next_login")
    op.drop_column("databases", "login")
    op.execute(ROUTES_DO_NOT)
    op.execute(SERVERS_STAY)
    for column in TENANTS:
        op.drop_column("tenants", column.name)
    for column in SERVERS:
        op.drop_column("servers", column.name)
