"""A PostgreSQL server for a few seconds, prepared as the platform's are: for what must be tried where no tenant is."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from provisioning.providers.base import ProviderError
from provisioning.providers.binaries import environment_for_servers, newest_postgres
from provisioning.roles import SUPERUSER, connect, prepare_server

PORT = 6001
"""Names its socket; nothing listens on TCP."""
OPTIONS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "timezone": "UTC",
    "lc_messages": "C",
    "max_connections": "60",
}
SERVICE_USER = "postgres"
"""Runs it for root, as whom PostgreSQL does not run."""
READY_WITHIN_S = 60
ENDED_WITHIN_S = 30
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


@contextmanager
def throwaway_server(parent: Path | None = None, **settings: str) -> Iterator[Server]:
    """A new server in a folder of its own (in `parent`, or /tmp), ended and deleted at the end of the block.

    `settings` are PostgreSQL's, on top of OPTIONS. ProviderError when it cannot be had. Nobody but this user (and root)
    can reach it.
    """
    # Not the environment's folder for temporary files: a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="copyhold-", dir=parent or "/tmp"))  # noqa: S108 - made 0700
    user = SERVICE_USER if os.geteuid() == 0 else None
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = _initialised(folder, user)
        with _running(folder, data, user, settings):
            yield _server(folder)
    except LookupError as error:
        raise ProviderError(f"there is no user {SERVICE_USER}, as whom root runs PostgreSQL; ./run setup") from error
    finally:
        shutil.rmtree(folder)


def _initialised(folder: Path, user: str | None) -> Path:
    data = folder / "data"
    command = [newest_postgres().program("initdb"), f"--pgdata={data}", f"--username={SUPERUSER}", "--auth=trust"]
    done = subprocess.run(
        [*command, "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
        user=user,
        cwd=folder,
        env=environment_for_servers(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProviderError(
            f"initdb failed: {done.stderr.strip().splitlines()[-1] if done.stderr else done.returncode}"
        )
    return data


@contextmanager
def _running(folder: Path, data: Path, user: str | None, settings: Mapping[str, str]) -> Iterator[None]:
    options = {**OPTIONS, **settings, "unix_socket_directories": str(folder)}
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [newest_postgres().program("postgres"), "-D", data, *(f"--{name}={on}" for name, on in options.items())],
            user=user,
            cwd=folder,
            env=environment_for_servers(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=_end_with_us,
        )
    try:
        _wait_until_ready(folder, process, log)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=ENDED_WITHIN_S)


def _end_with_us() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)


def _wait_until_ready(folder: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            with connect(f"host={folder} port={PORT} user={SUPERUSER} dbname=postgres") as connection:
                prepare_server(connection)
                return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() or [str(error)]
                raise ProviderError(f"PostgreSQL did not start: {lines[-1]}") from error
            time.sleep(0.02)


def _server(folder: Path) -> Server:
    return Server(
        name="throwaway",
        provider="local",
        region="here",
        host=str(folder),
        port=PORT,
        models=tuple(Model),
        capacity=1000,
        connections=50,
        status=ServerStatus.ACTIVE,
    )
