"""${message}.

What this revision expects of the app versions around it: say it here.
"""

from alembic import op

revision = "${up_revision}"
down_revision = ${'None' if down_revision is None else f'"{down_revision}"'}
branch_labels = None
depends_on = None

expands = True
"""Whether app versions that know only the revision before go on working once this one is in place."""


def upgrade() -> None:
    """Unqualified names only; a new table ends with SELECT tenancy.protect('its_name')."""
    op.execute("...")


def downgrade() -> None:
    """Only where nothing is lost; otherwise say why not."""
    raise NotImplementedError("this revision cannot be taken back without losing data")
