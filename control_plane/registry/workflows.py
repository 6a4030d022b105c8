"""Starting workflows by name, in the transaction that records the wish, and asking how they are.

Workflows carry ids only: a secret or an address in an argument would stay in the engine's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from dbos import DBOSClient, WorkflowStatus
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from control_plane.domain.ids import new_id
from control_plane.registry.engine import ControlDatabaseError

QUEUE = "provisioning"
ANYWHERE = "-"
"""The lane of what goes to no server; those of servers have the servers' names."""
WORK_CHANNEL = "copyhold_work"
"""Workers listen to it: something has been started."""
APPLICATION = "copyhold"
PROVISION, SUSPEND, RESUME = "provision", "suspend", "resume"
CLOSE, REOPEN, ERASE = "close", "reopen", "erase"
EXPORT = "export"
"""Its subject is an export."""
MIGRATE = "migrate"
"""Its subject is a run over the fleet, that of the others a tenant."""
ROTATE = "rotate"
"""Its subject is a database."""
GROW = "grow"
"""Its subject is a pool or bridge database."""
MOVE, MOVE_BACK, TIDY_MOVE = "move", "move_back", "tidy_move"
"""Their subject is a move."""
FORETELL = "foretell"
"""Its subject is a dry run of a move."""
REPLENISH = "replenish"
"""Its subject is a server (`warm.subject_of`)."""
ADD_SERVER, REMOVE_SERVER = "add_server", "remove_server"
"""Their subject is a server (`warm.subject_of`)."""
WAITING = frozenset({ADD_SERVER, REMOVE_SERVER})
"""Those that may wait for what others do, and are then gone on with by later runs of the engine; see `continued`."""
_GOING_ON = frozenset({"PENDING", "ENQUEUED", "DELAYED"})


def new_workflow_id(kind: str, subject: UUID) -> str:
    """The id of a workflow that has not been started yet."""
    return f"{kind}/{subject}/{new_id()}"


def continued(workflow_id: str, position: int) -> str:
    """The engine's id of what goes on with a workflow, or with what went on with it before, at a step."""
    _, _, later = workflow_id.removeprefix(record_of(workflow_id)).rpartition(".")
    return f"{record_of(workflow_id)}/{position}.{int(later or 1) + 1}"


def record_of(workflow_id: str) -> str:
    """The id under which a workflow is on record, whatever went on with it: kind, subject, its own."""
    return "/".join(workflow_id.split("/")[:3])


def begins_at(workflow_id: str) -> int:
    """The step at which it begins."""
    return int(workflow_id.removeprefix(record_of(workflow_id)).removeprefix("/").partition(".")[0] or 0)


def kind_of(workflow_id: str | None) -> str:
    """The name of the workflow that runs under that id."""
    return (workflow_id or "").partition("/")[0]


class Workflows(Protocol):
    """The door to the workflow engine."""

    def start(
        self, session: Session, name: str, workflow_id: str, subject: UUID, *, lane: str = ANYWHERE, after_s: float = 0
    ) -> None:
        """Have `name` run once for `subject`, so many seconds after the session's transaction commits.

        Of one lane a worker does so many at once, and no more. A repeated id starts nothing. `workflow_records.start`
        is what callers want: it keeps a record too.
        """

    def close(self) -> None:
        """Give connections back."""


class DurableWorkflows:
    """The engine's client on the control database; it runs nothing itself and never launches the engine."""

    def __init__(self, engine: Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine, lazy=True, retry_connection_errors=False, application_name=APPLICATION
        )

    def start(
        self, session: Session, name: str, workflow_id: str, subject: UUID, *, lane: str = ANYWHERE, after_s: float = 0
    ) -> None:
        """See Workflows. Workers are told when it commits."""
        options: dict[str, object] = {"workflow_name": name, "queue_name": QUEUE, "workflow_id": workflow_id}
        options["queue_partition_key"] = lane
        if after_s:
            options["delay_seconds"] = after_s
        self._client.enqueue_in_transaction(session, options, str(subject))  # type: ignore[arg-type]
        session.execute(select(func.pg_notify(WORK_CHANNEL, "")))

    def going_on(self, workflow_ids: Sequence[str]) -> frozenset[str]:
        """Those of them that the engine has still to end, or to go on with; an unknown one is not among them."""
        if not workflow_ids:
            return frozenset()
        later = [f"{each}/" for each in workflow_ids if kind_of(each) in WAITING]
        try:
            found = self._unended(workflow_ids=list(workflow_ids))
            found += self._unended(workflow_id_prefix=later) if later else []
        except OperationalError as error:
            raise ControlDatabaseError from error
        return frozenset(record_of(status.workflow_id) for status in found)

    def _unended(self, **which: list[str]) -> list[WorkflowStatus]:
        return self._client.list_workflows(status=sorted(_GOING_ON), load_input=False, load_output=False, **which)  # type: ignore[arg-type]

    def close(self) -> None:
        """See Workflows."""
        self._client.destroy()
