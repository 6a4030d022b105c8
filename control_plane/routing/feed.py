"""The roll in memory, kept fresh: one thread that listens and polls, and swaps one immutable snapshot.

A notification only says "look now"; what counts is the version, so a lost notification costs at most one poll
interval. When the control database does not answer, the last snapshot goes on serving and its age is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from control_plane.domain.errors import CopyholdError, SetupError
from control_plane.keyring import Keyring
from control_plane.registry import routes
from control_plane.registry.engine import ControlDatabaseError, transaction
from control_plane.routing import snapshot as disk
from control_plane.routing.snapshot import EMPTY, RollSnapshot, SnapshotError

CHANNEL = "copyhold_roll"
SAVE_INTERVAL_S = 1.0
RETRY_S = 1.0
log = structlog.get_logger()


class UnreadableRollError(ControlDatabaseError):
    """The roll holds something that this version of Copyhold does not know."""

    code = "roll_unreadable"


class Roll:
    """The newest snapshot known to this process. `start` it once, `stop` it at the end; reading never blocks."""

    def __init__(self, engine: Engine, dsn: str, keyring: Keyring, file: Path | None, *, poll_s: float) -> None:
        self._engine, self._dsn, self._keyring, self._file, self._poll_s = engine, dsn, keyring, file, poll_s
        self._snapshot = EMPTY
        self._refresh_lock, self._save_lock = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._subscribers: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._saved_version = -1
        self._saved_at = 0.0
        self.fresh_at = 0.0
        """When the control database was last read with success (Unix seconds)."""

    @property
    def snapshot(self) -> RollSnapshot:
        """The roll as last seen."""
        return self._snapshot

    @property
    def age_s(self) -> float:
        """Seconds since the roll was last known to be complete."""
        return time.time() - (self.fresh_at or self._snapshot.taken_at)

    def subscribe(self, on_change: Callable[[], None]) -> None:
        """Have `on_change` called, on the feed's thread, after each new snapshot."""
        self._subscribers.append(on_change)

    def start(self) -> None:
        """Read the roll from the control database, else from disk, and follow it; SetupError without both."""
        try:
            self.refresh()
        except ControlDatabaseError as error:
            self._start_from_disk(error)
        self._thread = threading.Thread(target=self._follow, name="roll-feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and write the last snapshot."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._save(now=True)

    def refresh(self) -> None:
        """Read what has changed, now. ControlDatabaseError when it cannot be read; the old snapshot stays."""
        with self._refresh_lock:
            old = self._snapshot
            try:
                new = self._read_since(old)
            except ValueError as error:  # e.g. a plan, written by a newer version
                raise UnreadableRollError from error
            self.fresh_at = time.time()
            if new is not old:
                self._snapshot = new
        if new is not old:
            for on_change in self._subscribers:
                on_change()
        # Whoever is shut out stays so, though this process and the control database die in the next moment.
        self._save(now=new.shuts_out(old))

    def _read_since(self, old: RollSnapshot) -> RollSnapshot:
        if old.version >= 0:
            version, changed = routes.news(self._engine, old.version)
            if version == old.version:
                return old
            if version > old.version:
                return old.changed(changed, version)
        with transaction(self._engine) as session:
            # The version first: a change committed in between is then read twice, never missed.
            version = routes.version(session)
            return RollSnapshot.of(routes.all_routes(session), version)

    def _start_from_disk(self, error: ControlDatabaseError) -> None:
        if self._file is None:
            raise error
        try:
            self._snapshot = disk.load(self._file, self._keyring)
        except SnapshotError as missing:
            raise SetupError(
                f"the control database does not answer and there is no snapshot to start from: {missing}"
            ) from missing
        log.warning("roll_from_disk", age_s=round(self.age_s), version=self._snapshot.version)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (psycopg.Error, SQLAlchemyError, CopyholdError) as error:
                log.warning("roll_feed_lost", error=type(error).__name__)
                self._stopping.wait(RETRY_S)

    def _listen(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            while not self._stopping.is_set():
                self.refresh()
                for _ in connection.notifies(timeout=self._poll_s, stop_after=1):
                    pass

    def _save(self, *, now: bool = False) -> None:
        with self._save_lock:
            self._save_alone(now=now)

    def _save_alone(self, *, now: bool) -> None:
        new = self._snapshot
        due = now or time.monotonic() - self._saved_at >= SAVE_INTERVAL_S
        if self._file is None or not due or new.version == self._saved_version or new.version < 0:
            return
        try:
            disk.save(new, self._file, self._keyring)
        except OSError as error:
            log.warning("roll_not_saved", error=error.strerror)
            return
        self._saved_at, self._saved_version = time.monotonic(), new.version
