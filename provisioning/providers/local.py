"""Private PostgreSQL clusters on this machine: unix sockets only, one folder each, run as the current user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from provisioning.files import write_atomically
from provisioning.providers import access
from provisioning.providers.base import ProviderError, ServerAddress
from provisioning.providers.binaries import (
    PostgresBinaries,
    environment_for_servers,
    newest_postgres,
    postgres_of,
)

SUPERUSER = "postgres"
START_TIMEOUT_S = 300
"""Long: after a crash a cluster replays its log before it answers."""
STOP_TIMEOUT_S = 60
LITTLE_ROOM_MB = 100
"""A new cluster takes about 40."""


@dataclass(frozen=True, kw_only=True)
class ClusterShape:
    """What distinguishes one cluster from the next. The port only names its socket; nothing listens on TCP."""

    port: int
    max_connections: int
    shared_buffers_mb: int


@dataclass(frozen=True, kw_only=True)
class LocalProvider:
    """The `Provider` of clusters below one folder. `start` and `stop` are for a cluster without a supervisor."""

    servers: Path
    """Holds one PostgreSQL data folder a server."""
    sockets: Path
    logs: Path
    shapes: Mapping[str, ClusterShape]
    ours = True

    def ensure(self, name: str) -> ServerAddress:
        data, address = self.data(name), self.address(name)
        if not data.exists():
            self._create(name)
        elif not (data / "PG_VERSION").exists():
            raise ProviderError(f"{data} is not the data folder of a PostgreSQL server; move it away")
        self._configure(name, data)
        return address

    def start(self, name: str) -> None:
        if not self.data(name).exists():
            raise ProviderError(f"server {name} has not been made; `ensure` makes it")
        if self.is_ready(name):
            return
        self.release(name)
        log = str(self.logs / f"{name}.log")
        self._pg_ctl(name, "start", "--wait", f"--timeout={START_TIMEOUT_S}", "--log", log)

    def stop(self, name: str) -> None:
        if (self.data(name) / "postmaster.pid").exists():
            self._pg_ctl(name, "stop", "--wait", f"--timeout={STOP_TIMEOUT_S}", "--mode=fast")

    def destroy(self, name: str) -> None:
        if self.data(name).exists():
            self.stop(name)
            shutil.rmtree(self.data(name))

    def data(self, name: str) -> Path:
        self.address(name)  # refuses a name that it was not told of
        return self.servers / name

    def address(self, name: str) -> ServerAddress:
        if name not in self.shapes:
            raise ProviderError(f"no shape is given for the server {name}")
        return ServerAddress(host=str(self.sockets), port=self.shapes[name].port)

    def binaries(self, name: str) -> PostgresBinaries:
        """The programs for this server: those that made its data, or the newest ones for a server to be."""
        data = self.data(name)
        return postgres_of(data) if data.exists() else newest_postgres()

    def command(self, name: str) -> tuple[str, ...]:
        """Runs the server in the foreground, logging to standard error."""
        return (self.binaries(name).program("postgres"), "-D", str(self.data(name)))

    def is_ready(self, name: str) -> bool:
        """Whether the server accepts a connection now."""
        dsn = self.address(name).dsn(database="postgres", user=SUPERUSER)
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def release(self, name: str) -> None:
        """Make a postmaster.pid whose process is gone harmless, though its number may be another process's by now.

        PostgreSQL refuses to start while *any* process of its user has the number in that file, which after a
        restart of a machine or a container is common. A number that it takes for its parent's does not count,
        so ours is put there; deleting the file instead would switch off the check for surviving sessions.
        """
        file = self.data(name) / "postmaster.pid"
        if not file.exists():
            return
        old, _, rest = file.read_text().partition("\n")
        if not (old.strip().isdigit() and runs_postgres_in(int(old), self.data(name))):
            write_atomically(file, f"{os.getpid()}\n{rest}")

    def _create(self, name: str) -> None:
        """Initialise under a temporary name and rename, so that a folder with the right name is always complete."""
        self.servers.mkdir(mode=0o700, exist_ok=True)
        for half_made in self.servers.glob(f".{name}.*"):
            shutil.rmtree(half_made, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self.servers))
        try:
            self._initdb(name, temporary)
            temporary.rename(self.data(name))
        except (ProviderError, OSError):
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _initdb(self, name: str, folder: Path) -> None:
        command = [
            newest_postgres().program("initdb"),
            f"--pgdata={folder}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
        ]
        done = subprocess.run(
            command,
            cwd=self.servers,
            env=environment_for_servers(),
            start_new_session=True,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ProviderError(f"initdb of server {name} failed: {_reason(done.stderr)}{_room(folder)}")

    def _configure(self, name: str, data: Path) -> None:
        """Rewrite our configuration; what an administrator set with ALTER SYSTEM stays in postgresql.auto.conf."""
        hba = data / "pg_hba.conf"
        write_atomically(hba, access.rules(access.with_second_login(hba.read_text()) if hba.exists() else ()))
        write_atomically(data / "postgresql.conf", postgresql_conf(name, self.shapes[name], self.sockets))

    def _pg_ctl(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.binaries(name).program("pg_ctl"), "-D", str(self.data(name)), "--silent", *arguments],
            cwd=self.data(name),
            env=environment_for_servers(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # the server keeps a pipe open for as long as it lives
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise ProviderError(f"server {name} did not {arguments[0]}; see {self.logs / f'{name}.log'}")


def postgresql_conf(name: str, shape: ClusterShape, sockets: Path) -> str:
    """The whole configuration of a cluster. Statements and values of tenants are kept out of its log."""
    return f"""\
# Written by Copyhold at every start; use ALTER SYSTEM for settings of your own.
cluster_name = 'copyhold-{name}'
listen_addresses = ''
port = {shape.port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = {shape.max_connections}
shared_buffers = {shape.shared_buffers_mb}MB
jit = off
client_connection_check_interval = 2s
timezone = 'UTC'

fsync = on
wal_level = logical
max_wal_senders = 30
max_replication_slots = 60
max_slot_wal_keep_size = 1GB
max_wal_size = 512MB

log_destination = 'stderr'
logging_collector = off
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
lc_messages = 'C'
log_error_verbosity = terse
log_min_error_statement = panic
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_statement = 'none'
log_min_duration_statement = -1
log_checkpoints = off
"""


def runs_postgres_in(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL server, or a session of one, on that data folder."""
    process = Path("/proc") / str(pid)
    try:
        return (process / "cwd").readlink() == data and (process / "exe").readlink().name.startswith("postgres")
    except OSError:
        return False


def _room(folder: Path) -> str:
    """PostgreSQL has many words for a full disk; this one is clear."""
    free_mb = shutil.disk_usage(folder).free // 1024**2
    return f" (only {free_mb} MB are free there)" if free_mb < LITTLE_ROOM_MB else ""


def _reason(stderr: str) -> str:
    """The line of a program's complaint that says most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line or "FATAL:" in line or "PANIC:" in line]
    return (telling or lines or ["it said nothing"])[0 if telling else -1]
