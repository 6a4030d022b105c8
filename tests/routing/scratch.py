"""A PgBouncer of a test's own in front of the platform's servers: our rendered configuration, other pool sizes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from cli.supervisor.tools import find_tool
from control_plane.settings import Settings
from provisioning.pooler.render import PoolerEntry, PoolerPlace, render
from tests.folders import new_folder
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

CONSOLE = "pgbouncer"


@dataclass
class ScratchPooler:
    """One PgBouncer in a folder of its own; runs as the owner of the platform's data folder."""

    platform: PlatformUnderTest
    folder: Path
    port: int = 6432
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def settings(self) -> Settings:
        """The platform's settings, with this pooler in the place of its own."""
        return self.platform.settings.model_copy(
            update={"pooler_host": str(self.folder), "pooler_port": self.port, "pooler_dir": self.folder}
        )

    def write(
        self,
        *,
        pool_size: int | None = None,
        hosts: dict[str, str] | None = None,
        max_clients: int = PoolerPlace.max_clients,
    ) -> None:
        """Render the roll's databases as they are now. `hosts` moves aliases to other addresses."""
        tool = find_tool("pgbouncer")
        assert tool is not None
        place = PoolerPlace(
            folder=self.folder,
            sockets=str(self.folder),
            port=self.port,
            version=(tool.release[0], tool.release[1]),
            max_clients=max_clients,
        )
        entries = [self._changed(entry, pool_size, hosts or {}) for entry in self.platform.estate.pooler.entries()]
        files = dict(render(place, entries))
        # The console, which PgBouncer opens to its own user alone otherwise.
        files["userlist.txt"] += f'"{CONSOLE}" ""\n'
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def start(self) -> None:
        """Start it and wait until it answers."""
        tool = find_tool("pgbouncer")
        assert tool is not None
        owner = self.folder.stat()
        as_owner: dict[str, Any] = (
            {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        )
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(tool.path), str(self.folder / "pgbouncer.ini")], stdout=log, stderr=log, **as_owner
            )
        until(self._answers, what="the scratch pooler answers")

    def kill(self) -> None:
        """End it at once, without a word to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def apply(self, **changes: Any) -> None:
        """Write anew and have it read."""
        self.write(**changes)
        self.console("RELOAD")

    def console(self, command: LiteralString) -> list[dict[str, Any]]:
        """What the admin console answers."""
        with self._connect() as connection:
            cursor = connection.execute(command)
            return cursor.fetchall() if cursor.description else []

    def clients(self) -> int:
        """How many client connections there are, the console's own left out."""
        return sum(self.clients_and_cancels())

    def clients_and_cancels(self) -> tuple[int, int]:
        """As `clients`, of one moment: how many are connections, and how many only ask for a cancel."""
        states = [client["state"] for client in self.console("SHOW CLIENTS") if client["database"] != CONSOLE]
        cancels = sum(state.endswith("_cancel_req") for state in states)
        return len(states) - cancels, cancels

    def servers(self) -> int:
        """How many server connections there are."""
        return len(self.console("SHOW SERVERS"))

    def _connect(self) -> psycopg.Connection[dict[str, Any]]:
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user=CONSOLE,
            dbname=CONSOLE,
            autocommit=True,
            connect_timeout=5,
            row_factory=dict_row,
            prepare_threshold=None,
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.console("SHOW VERSION")
        except psycopg.OperationalError:
            return False
        return True

    @staticmethod
    def _changed(entry: PoolerEntry, pool_size: int | None, hosts: dict[str, str]) -> PoolerEntry:
        return replace(entry, pool_size=pool_size or max(entry.pool_size, 2), host=hosts.get(entry.alias, entry.host))


@contextmanager
def scratch_pooler(platform: PlatformUnderTest, **changes: Any) -> Iterator[ScratchPooler]:
    """A running one, killed and deleted at the end of the block."""
    folder = new_folder("ch-pooler-")
    try:
        owner = platform.data.stat()
        os.chown(folder, owner.st_uid, owner.st_gid)
        pooler = ScratchPooler(platform=platform, folder=folder)
        pooler.write(**changes)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
