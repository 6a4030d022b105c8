"""What each revision of the tenant tables asks of the app, so that an older one goes on serving where it can."""

import sqlalchemy as sa
from alembic import op

revision = "c0003"
down_revision = "c0002"
branch_labels = None
depends_on = None

# Routes say what their home asks of the app: whoever holds the roll has to hear of it.
CHANGED = """
CREATE FUNCTION revision_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM announce(ARRAY(SELECT h.tenant_id FROM homes h
      JOIN targets t ON t.database_id = h.database_id AND t.schema = h.schema
      WHERE t.revision = NEW.name AND h.state = 'current'));
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE CONSTRAINT TRIGGER announce AFTER INSERT OR UPDATE ON revisions DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION revision_changed()
"""


def upgrade() -> None:
    """Whoever knows the chain fills it: `copyhold up`, each worker, each run over the fleet."""
    op.create_table(
        "revisions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("needs", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("revisions_pkey")),
    )
    op.execute(CHANGED)
    op.execute(TRIGGER)


def downgrade() -> None:
    """Loses nothing: the chain of the tenant tables says it again."""
    op.drop_table("revisions")
    op.execute("DROP FUNCTION revision_changed()")
