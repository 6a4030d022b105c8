"""A server's warm silos, as tests see them: on the roll and on the server."""

from __future__ import annotations

from sqlalchemy import select

from control_plane.domain.tenant import Model
from control_plane.registry import warm, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.servers import GONE, WARM
from control_plane.registry.tables import DatabaseRow, WorkflowRow
from control_plane.registry.workflows import REPLENISH
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until


def keep(platform: PlatformUnderTest, number: int) -> None:
    """Have `beta` keep so many ready, and do not wait."""
    with transaction(platform.engine) as session:
        warm.keep(session, platform.workflows, "beta", number, "tests")


def settled(platform: PlatformUnderTest) -> None:
    """Wait until `beta` has what it is to have, and no worker is about to do anything about it."""

    def nothing_to_do() -> bool:
        going_on = select(WorkflowRow.id).where(
            WorkflowRow.kind == REPLENISH, WorkflowRow.state.in_(workflow_records.UNENDED)
        )
        with transaction(platform.engine) as session:
            return session.scalars(going_on).first() is None and warm.stock(session, "beta").right

    until(nothing_to_do, what="the warm silos are as they are to be")


def kept(platform: PlatformUnderTest, number: int) -> list[str]:
    """The names of the warm ones, when there are so many."""
    keep(platform, number)
    settled(platform)
    names = ready(platform)
    assert len(names) == number
    return names


def ready(platform: PlatformUnderTest) -> list[str]:
    """The names of the warm ones, oldest first."""
    query = select(DatabaseRow.name).where(DatabaseRow.state == WARM).order_by(DatabaseRow.id)
    with transaction(platform.engine) as session:
        return list(session.scalars(query))


def on_the_roll(platform: PlatformUnderTest) -> set[str]:
    """All silos that are to be there: of those that went, the ledger keeps the rows."""
    query = select(DatabaseRow.name).where(DatabaseRow.model == str(Model.SILO), DatabaseRow.state != GONE)
    with transaction(platform.engine) as session:
        return set(session.scalars(query))


def on_the_server(platform: PlatformUnderTest) -> tuple[set[str], set[str]]:
    """The databases and the logins of silos that `beta` has."""
    with platform.superuser("beta", "postgres") as admin:
        databases = admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'silo\\_%'").fetchall()
        logins = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'silo\\_%'").fetchall()
    return {name for (name,) in databases}, {name for (name,) in logins}
