"""The pooler's console: one connection for all that is asked in a row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from control_plane.settings import Settings
from provisioning.pooler.errors import PoolerDownError
from provisioning.pooler.render import CONSOLE

CONNECT_TIMEOUT_S = 5


class Console:
    """An open connection to the console. Made by `console`."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    def ask(self, command: LiteralString) -> list[dict[str, Any]]:
        """What the pooler answers; nothing for what is no SHOW."""
        cursor = self._connection.execute(command)
        return cursor.fetchall() if cursor.description else []

    def columns(self, command: LiteralString, *names: str) -> Iterator[tuple[bytes, ...]]:
        """Some columns of each row as the text that came, empty for null: thousands of rows are not made into dicts."""
        found = self._connection.execute(command).pgresult
        assert found is not None
        there = [found.fname(number) for number in range(found.nfields)]
        numbers = [there.index(name.encode()) for name in names]
        value = found.get_value
        for row in range(found.ntuples):
            yield tuple([value(row, number) or b"" for number in numbers])

    def version(self) -> tuple[int, int]:
        """Major and minor version of the pooler."""
        text = str(self.ask("SHOW VERSION")[0]["version"])
        match = re.search(r"(\d+)\.(\d+)", text)
        if match is None:
            raise PoolerDownError(f"the pooler says it is {text!r}")
        return int(match[1]), int(match[2])


@contextmanager
def console(settings: Settings) -> Iterator[Console]:
    """The console of the running pooler; PoolerDownError when it does not answer, or ends inside the block."""
    try:
        with psycopg.connect(
            host=settings.pooler_host,
            port=settings.pooler_port,
            user=CONSOLE,
            dbname=CONSOLE,
            connect_timeout=CONNECT_TIMEOUT_S,
            autocommit=True,
            row_factory=dict_row,
            prepare_threshold=None,
        ) as connection:
            yield Console(connection)
    except psycopg.OperationalError as error:
        raise PoolerDownError from error
