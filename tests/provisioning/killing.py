"""A process that is killed when it has sent so many statements to any database."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import psycopg


def kill_after(number: int) -> None:
    """From now on, count this process's statements, and end it without a word after that many."""
    sent, send = itertools.count(1), psycopg.Cursor.execute

    def execute(self: psycopg.Cursor[Any], *arguments: Any, **named: Any) -> psycopg.Cursor[Any]:
        result = send(self, *arguments, **named)
        if next(sent) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    psycopg.Cursor.execute = execute  # type: ignore[method-assign]
