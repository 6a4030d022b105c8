"""When a move that nobody works on is gone on with: soon at first, and ever more seldom while that is of no use."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from control_plane.domain.tenant import Model
from control_plane.registry import moves
from control_plane.registry.engine import transaction
from control_plane.registry.tables import MoveRow, WorkflowRow
from control_plane.registry.workflow_records import FAILED
from control_plane.registry.workflows import TIDY_MOVE
from tests.moves.whole.journeys import begin, cancel
from tests.platform_under_test import PlatformUnderTest
from tests.provisioning.workers import workers_alone

pytestmark = pytest.mark.slow

MINUTE = timedelta(minutes=1)


def failed(session: Session, move_id: UUID, ago: timedelta) -> bool:
    """Whether it is gone on with now, when work on it has failed once more, so long ago."""
    record = WorkflowRow(id=f"{TIDY_MOVE}/{uuid4()}", kind=TIDY_MOVE, subject=move_id, actor="tests", state=FAILED)
    session.add(record)
    session.flush()
    session.execute(update(WorkflowRow).where(WorkflowRow.id == record.id).values(ended_at=func.now() - ago))
    session.execute(update(MoveRow).where(MoveRow.id == move_id).values(workflow_id=record.id))
    return move_id in {row.id for row in moves.waiting(session, MINUTE, 100)}


def test_it_is_gone_on_with_soon_at_first_and_once_a_minute_later(town: PlatformUnderTest) -> None:
    tenant = town.tenant(Model.POOL)
    with workers_alone(town):
        move_id = begin(tenant, Model.BRIDGE)
        with transaction(town.engine) as session:
            assert failed(session, move_id, timedelta(seconds=3))
            assert not failed(session, move_id, timedelta(seconds=3))
            assert failed(session, move_id, timedelta(seconds=9))
            for _ in range(10):
                assert not failed(session, move_id, timedelta(seconds=1))
            assert not failed(session, move_id, timedelta(seconds=59))
            assert failed(session, move_id, timedelta(seconds=61))
            session.rollback()
        cancel(tenant)
