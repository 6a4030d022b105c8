"""Alembic environment of the control chain."""

from migrations.environment import run

run("alembic_version")
