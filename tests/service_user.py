"""Work that only the platform's own user may do, done by a process of that user's, in which it may also be killed."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from cli.supervisor.privileges import drop_to_owner
from tests.forking import forked

Result = TypeVar("Result")


class FailedThereError(Exception):
    """The work failed; the message is the trace from the other process, its first line the error's."""


def as_service_user(data: Path, work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work` returns when the owner of the data folder does it. `work` is a function of a module."""
    answer, process = _start(data, work, arguments)
    try:
        said, value = answer.recv()
    except EOFError:
        process.join()
        raise FailedThereError(f"it ended with {process.exitcode}") from None
    process.join()
    if said == "failed":
        raise FailedThereError(value)
    return value  # type: ignore[no-any-return]


def killed_as_service_user(data: Path, work: Callable[..., object], *arguments: Any) -> bool:
    """Whether the same was killed (by itself) before it came to its end; FailedThereError when it failed instead."""
    try:
        as_service_user(data, work, *arguments)
    except FailedThereError as error:
        if str(error) != f"it ended with {-signal.SIGKILL}":
            raise
        return True
    return False


def _start(data: Path, work: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Connection, Any]:
    ours, theirs = forked.Pipe(duplex=False)
    process = forked.Process(target=_do, args=(theirs, data, work, arguments), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _do(answer: Connection, data: Path, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    try:
        drop_to_owner(data)
        answer.send(("done", work(*arguments)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test that asked is told
        answer.send(("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
