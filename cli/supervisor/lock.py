"""One supervisor a data folder: a lock that the kernel gives back when its holder dies, however it dies."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from control_plane.domain.errors import ConflictError

_FLOCK = "hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid."""


class AlreadyRunningError(ConflictError):
    """This platform is running already."""

    code = "already_running"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The running supervisor, as the kernel and its lock file tell."""

    pid: int
    url: str
    doing: str


class PlatformLock:
    """Held while the platform runs. A process that ends in any way gives it up; a fork does not inherit it.

    It is a record lock, which the kernel can be asked about: the holder's number never comes from a file.
    Closing any descriptor of the file gives a record lock up, so only this class opens the file in the supervisor.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._handle = -1

    def __enter__(self) -> PlatformLock:
        """Take the lock, or raise AlreadyRunningError naming who has it."""
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            if error.errno not in {errno.EACCES, errno.EAGAIN}:
                raise
            raise _already_running(self._path) from error
        self.doing("starting")
        return self

    def doing(self, what: str) -> None:
        """Tell whoever asks what the supervisor is busy with. Nothing depends on it, so a full disk may lose it."""
        content = json.dumps({"pid": os.getpid(), "url": self._url, "doing": what}).encode()
        with suppress(OSError):
            os.pwrite(self._handle, content, 0)
            os.ftruncate(self._handle, len(content))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock now, or None. Not for the holder itself: looking would give its own lock up."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return None
        told = _content(os.pread(handle, 4096, 0))
        return Holder(pid=pid, url=told.get("url", ""), doing=told.get("doing", ""))
    finally:
        os.close(handle)


def _content(raw: bytes) -> dict[str, str]:
    """What the lock file says; nothing when it is being written at this moment."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _already_running(path: Path) -> AlreadyRunningError:
    holder = holder_of(path)
    who = f"pid {holder.pid}, {holder.url}" if holder and holder.url else "by another process"
    return AlreadyRunningError(f"the platform in {path.parent} is already running ({who}); `copyhold down` stops it")
