"""Giving up a server that will not come back."""

from __future__ import annotations

import psycopg

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.server import ServerStatus
from control_plane.registry import servers, warm
from control_plane.registry.engine import transaction
from control_plane.registry.workflows import Workflows
from provisioning.estate import Estate


class ServerAnswersError(ConflictError):
    """A server that answers is not lost."""

    code = "server_answers"


def give_up(estate: Estate, workflows: Workflows, name: str, actor: str) -> bool:
    """From now on tenants that are erased on that server are struck off the roll, and nobody looks for what they had.

    False when that was so before. NotFoundError when there is none of that name, ServerAnswersError when it answers.
    """
    with transaction(estate.engine) as session:
        server = servers.server_named(session, name)
    if server.status is ServerStatus.LOST:
        return False
    try:
        estate.builder(server).admin().close()
    except psycopg.OperationalError:
        with transaction(estate.engine) as session:
            servers.set_server_status(session, name, ServerStatus.LOST)
            session.flush()
            audit.record(session, actor, "server.status", name, status=str(ServerStatus.LOST))
            warm.replenish(session, workflows, name, actor)
        return True
    raise ServerAnswersError(f"{name} answers: it is not lost")
