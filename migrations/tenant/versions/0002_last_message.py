"""Expand: conversations.last_message_at, so that a later version can list conversations by what was said last.

Versions that know only 0001 go on working: the column has a default and they never name it. The default is the same
for all rows there are, so that adding it rewrites nothing.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

expands = True
accepted = {
    "require-concurrent-index-creation": "0001 was never released by itself: wherever this comes, the table is small",
}

COLUMN = "ALTER TABLE conversations ADD COLUMN last_message_at timestamptz NOT NULL DEFAULT now()"
INDEX = """
CREATE INDEX conversations_tenant_id_last_message_at_id_idx ON conversations (tenant_id, last_message_at DESC, id)
"""


def upgrade() -> None:
    """Add the column, then its index."""
    op.execute(COLUMN)
    op.execute(INDEX)


def downgrade() -> None:
    """Loses nothing: what the column says can be read from the messages. Its index goes with it."""
    op.execute("ALTER TABLE conversations DROP COLUMN last_message_at")
