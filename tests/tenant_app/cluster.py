"""A PostgreSQL cluster of the tests' own, prepared as the platform prepares its servers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from provisioning.providers.binaries import newest_postgres
from provisioning.roles import connect, prepare_server
from tests.folders import new_folder

PORT = 6001
OPTIONS = {"listen_addresses": "", "port": str(PORT), "fsync": "off", "timezone": "UTC", "max_connections": "60"}
READY_WITHIN_S = 60


@contextmanager
def running_cluster() -> Iterator[Server]:
    """A new cluster, which is ended and deleted at the end of the block."""
    folder = new_folder("chi-")
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    programs = newest_postgres()
    data = folder / "data"
    initdb: list[str | Path] = [programs.program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    options = {**OPTIONS, "unix_socket_directories": str(folder)}
    postgres: list[str | Path] = [programs.program("postgres"), "-D", data]
    postgres += [*(f"--{name}={value}" for name, value in options.items())]
    try:
        command = [*initdb, "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(postgres, user=user, cwd=folder, stdout=log, stderr=log)
        try:
            _prepare(folder)
            yield server_at(folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def server_at(folder: Path) -> Server:
    """The cluster whose socket is in that folder, as the registry would know it."""
    return Server(
        name="tests",
        provider="local",
        region="here",
        host=str(folder),
        port=PORT,
        models=tuple(Model),
        capacity=1000,
        connections=50,
        status=ServerStatus.ACTIVE,
    )


def _prepare(folder: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with connect(f"host={folder} port={PORT} user=postgres dbname=postgres") as connection:
                prepare_server(connection)
                return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
