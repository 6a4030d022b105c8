"""Alembic environment of the home chain; its version lives in the schema that it builds."""

from migrations.environment import run

run("alembic_version", "tenancy")
