"""Starting workflows by name, in the transaction that records the wish, and asking how they are.

Workflows carry ids only: a secret or an address in an argument would stay in the engine's tables.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from dbos import DBOSClient
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.registry.engine import ControlDatabaseError

QUEUE = "provisioning"
APPLICATION = "copyhold"
PROVISION, SUSPEND, RESUME = "provision", "suspend", "resume"
MIGRATE = "migrate"
"""Its subject is a run over the fleet, that of the others a tenant."""
_GOING_ON = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


def new_workflow_id(kind: str, subject: UUID) -> str:
    """The id of a workflow that has not been started yet."""
    return f"{kind}/{subject}/{new_id()}"


def kind_of(workflow_id: str | None) -> str:
    """The name of the workflow that runs under that id."""
    return (workflow_id or "").partition("/")[0]


class Workflows(Protocol):
    """The door to the workflow engine."""

    def start(self, session: Session, name: str, workflow_id: str, subject: UUID) -> None:
        """Have `name` run once for `subject` when the session's transaction commits. A repeated id starts nothing."""

    def close(self) -> None:
        """Give connections back."""


class DurableWorkflows:
    """The engine's client on the control database; it runs nothing itself and never launches the engine."""

    def __init__(self, engine: Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine, lazy=True, retry_connection_errors=False, application_name=APPLICATION
        )

    def start(self, session: Session, name: str, workflow_id: str, subject: UUID) -> None:
        """See Workflows."""
        options = {"workflow_name": name, "queue_name": QUEUE, "workflow_id": workflow_id}
        self._client.enqueue_in_transaction(session, options, str(subject))  # type: ignore[arg-type]

    def ended(self, workflow_id: str) -> bool:
        """Whether the workflow has come to its end, well or not; its progress and its subject tell which."""
        try:
            found = self._client.list_workflows(workflow_ids=[workflow_id], load_input=False, load_output=False)
        except OperationalError as error:
            raise ControlDatabaseError from error
        return bool(found) and found[0].status not in _GOING_ON

    def close(self) -> None:
        """See Workflows."""
        self._client.destroy()
