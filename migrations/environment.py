"""What the `env.py` of every chain does: write the chain's SQL, a statement a write, to the buffer it is handed.

Chains are compiled, never run by Alembic itself: `migrations.fleet.chains` says why.
"""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError


def run(version_table: str, version_table_schema: str | None = None) -> None:
    """Write the SQL, with the statements that open and close each revision's transaction."""
    if not context.is_offline_mode():
        raise CommandError("chains are run by `copyhold migrate up`, not by alembic itself")
    context.configure(
        dialect_name="postgresql",
        # Otherwise every % is doubled for a driver that never sees it.
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        output_buffer=context.config.attributes["buffer"],
        version_table=version_table,
        version_table_schema=version_table_schema,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
