"""The roll's feed tells of homes that tenants are about to be led to."""

from alembic import op

revision = "c0009"
down_revision = "c0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A trigger: nothing is written that was not before."""
    op.execute(
        "CREATE CONSTRAINT TRIGGER announce AFTER UPDATE OF phase ON moves DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " WHEN (NEW.phase IN ('freezing', 'returning')) EXECUTE FUNCTION tenant_changed('tenant_id')"
    )


def downgrade() -> None:
    """What goes on there is learnt a moment later again."""
    op.execute("DROP TRIGGER announce ON moves")
