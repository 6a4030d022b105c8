"""Alembic environment of the tenant chain; its version lives beside the tenant tables of each target."""

from migrations.environment import run

run("alembic_version")
