"""A cable to the control database that a test can pull out: what comes through it is the real server's answer."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PORT = 6001
BLOCK = 65536


class Wire:
    """Carries connections from a unix socket of its own to the server's. `pull` cuts all, `plug` lets new ones in."""

    def __init__(self, folder: Path, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        self._target = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        self._path = folder / f".s.PGSQL.{PORT}"
        self.dsn = make_conninfo(dsn, host=str(folder), port=PORT)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None

    def plug(self) -> None:
        """Carry from now on."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    def pull(self) -> None:
        """Cut everything and let nothing in."""
        if self._listener is not None:
            self._shut(self._listener)
            self._listener = None
            self._path.unlink()
        with self._lock:
            cut, self._open = self._open, set()
        for end in cut:
            self._shut(end)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                far.connect(self._target)
                with self._lock:
                    self._open |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=[source, sink], daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(BLOCK):
                sink.sendall(block)
        self._shut(source)
        self._shut(sink)

    @staticmethod
    def _shut(end: socket.socket) -> None:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def wire_to(dsn: str) -> Iterator[Wire]:
    """A wire that is plugged in; pulled at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="ch-wire-", dir="/tmp") as folder:
        wire = Wire(Path(folder), dsn)
        wire.plug()
        try:
            yield wire
        finally:
            wire.pull()
