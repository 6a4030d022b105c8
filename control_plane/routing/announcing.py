"""Each process tells the control database that it is there, and which tenant revisions it works with.

`migrate up` asks before it takes away what a running process still needs. It is told in a thread of its own: nothing
waits for it, and a control database that is away, or hangs, is nobody's trouble here.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from control_plane.domain.errors import CopyholdError
from control_plane.domain.ids import new_id
from control_plane.keyring import Keyring
from control_plane.registry import processes
from control_plane.registry.engine import transaction
from control_plane.registry.processes import Process
from control_plane.version import code_version

EVERY_S = 3.0
LEAVE_WITHIN_S = 2.0
log = structlog.get_logger()


class Announcer:
    """Announces one process for as long as it lives. `start` it once, `stop` it at the end; neither raises.

    `roll_version` tells by which version of the roll it serves, if by any. Its keyring is refreshed on the way: what is
    told is what it has.
    """

    def __init__(
        self,
        engine: Engine,
        kind: str,
        revisions: Iterable[str],
        *,
        roll_version: Callable[[], int | None] = lambda: None,
        keyring: Keyring | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._engine, self._roll_version, self._keyring, self._every_s = engine, roll_version, keyring, every_s
        self.process = Process(
            id=new_id(),
            kind=kind,
            place=f"{socket.gethostname()}/{os.getpid()}",
            code_version=code_version(),
            revisions=tuple(sorted(revisions)),
            started_at=datetime.now(UTC),
        )
        self._stopping = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._announce, name="announcer", daemon=True)

    def start(self) -> None:
        """Announce the process from now on; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Take the process off the list; waits no longer than LEAVE_WITHIN_S for it.

        When it does not come to that, the process is taken for dead a little later.
        """
        self._stopping.set()
        self._thread.join(LEAVE_WITHIN_S)

    def _announce(self) -> None:
        self._tell(processes.forget_dead)
        while not self._stopping.is_set():
            self._tell(self._say)
            self._stopping.wait(self._every_s)
        self._tell(lambda session: processes.leave(session, self.process.id))

    def _say(self, session: Session) -> None:
        keys: tuple[str, ...] = ()
        if self._keyring is not None:
            self._keyring.refresh()
            keys = self._keyring.ids
        processes.announce(session, self.process, self._roll_version(), keys)

    def _tell(self, what: Callable[[Session], None]) -> None:
        try:
            with transaction(self._engine) as session:
                what(session)
        except (SQLAlchemyError, CopyholdError) as error:
            if not self._silent:  # once an outage: whatever else needs the control database complains as well
                log.warning("process_not_announced", error=type(error).__name__)
            self._silent = True
        else:
            self._silent = False
