"""${message}.

What this revision expects of the app versions around it (expand, backfill or contract): say it here.
"""

from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Unqualified names only; a new table ends with SELECT tenancy.protect('its_name')."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Only where nothing is lost; otherwise say why not."""
    ${downgrades if downgrades else 'raise NotImplementedError("this revision cannot be taken back without losing data")'}
