"""What the `env.py` of every chain does: write the chain's SQL, a statement a write, to the buffer it is handed.

Chains are compiled, and run by Alembic itself for revisions in Python alone: `migrations.fleet.chains` says why.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.util import CommandError
from sqlalchemy import BindParameter, Executable, TextClause, text
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import visitors


class _FaithfulImpl(PostgresqlImpl):
    """Alembic's, but for two silent changes: it writes NULL for ':word' in a string, and blanks for tabs."""

    __dialect__ = "postgresql"

    def execute(self, sql: Executable | str, execution_options: dict[str, Any] | None = None) -> None:
        """Write one statement; CompileError where a value would be missing."""
        statement = text(sql) if isinstance(sql, str) else sql
        for part in visitors.iterate(statement):  # type: ignore[arg-type]
            if isinstance(part, BindParameter) and part.required:
                raise CompileError(rf"there is no value for :{part.key}; a colon before a word is written \:")
        if not isinstance(statement, TextClause):
            super().execute(statement, execution_options)
        else:
            compiled = statement.compile(dialect=self.dialect, compile_kwargs={"literal_binds": True})
            self.static_output(str(compiled).strip() + self.command_terminator)


def run(version_table: str, version_table_schema: str | None = None) -> None:
    """Write the SQL, with the statements that open and close each revision's transaction."""
    if not context.is_offline_mode():
        _run_online(version_table, version_table_schema)
        return
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


def _run_online(version_table: str, version_table_schema: str | None) -> None:
    """For a revision in Python, on the connection that `migrations.fleet.python_runs` hands in."""
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise CommandError("chains are run by `copyhold migrate up`, not by alembic itself")
    context.configure(
        connection=connection,
        version_table=version_table,
        version_table_schema=version_table_schema,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
