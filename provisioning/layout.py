"""The data folder of a one-machine platform: where everything in it lies, and whether it is ours to use."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from control_plane.domain.errors import SetupError
from control_plane.settings import Settings
from control_plane.stores.master_keys import KmsFile
from provisioning.commands import as_typed
from provisioning.files import write_atomically, write_once
from provisioning.providers.base import ServerAddress
from provisioning.providers.local import ClusterShape, LocalProvider

FORMAT = 1
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
API_PROCESSES_MAX = 16
SERVERS = ("control", "alpha", "beta")
CLUSTER_PORTS: Mapping[str, int] = MappingProxyType({"control": 6001, "alpha": 6002, "beta": 6003})
MAX_CONNECTIONS = {"control": 100, "alpha": 200, "beta": 1100}
"""Of `beta`, one for each of the silos that it takes: a slot that nobody uses costs some 40 KB."""
SHARED_BUFFERS_MB = {"control": 32, "alpha": 64, "beta": 64}
POOLER_PORT = 6432
CONTROL_DATABASE = "copyhold_control"
"""Also the name of the login that the API and the worker use for it."""

LONGEST_SOCKET_PATH = 100
"""Bytes. The kernel takes 107; the rest is room for the lock files beside the sockets."""
SAFE_IN_SOCKET_PATH = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+@")

_FOLDERS = ("secrets", "servers", "run", "pgbouncer", "pgbouncer/certificates", "redis", "logs", "snapshot", "exports")


class NoPlatformError(SetupError):
    """There is no platform in this folder."""

    code = "no_platform"


class ForeignFolderError(SetupError):
    """This folder belongs to somebody or something else."""

    code = "foreign_folder"


class NewerFormatError(SetupError):
    """This data folder was made by a newer Copyhold."""

    code = "newer_format"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """All paths and addresses of one platform. Made by `create` (for `up`) or `open` (for every other command)."""

    data: Path
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    api_processes: int = 1
    """That answer on this port together, up to API_PROCESSES_MAX."""
    cluster_ports: Mapping[str, int] = field(default_factory=lambda: CLUSTER_PORTS)

    @classmethod
    def create(cls, data: Path, *, kms: str | None = None) -> Layout:
        """Make what is missing in `data`, which must exist, and open it. What is there already is left alone.

        With `kms`, a key of AWS KMS, a new platform's master key is sealed under it and lies nowhere as it is. Raises
        ForeignFolderError for a folder that holds something else, SetupError when the master key of existing servers
        is gone, or is in a file and was to be KMS's, MasterKeyError when KMS makes none.
        """
        data = data.resolve()
        with _explained(data):
            if not (data / "platform.json").exists():
                _refuse_a_used_folder(data)
                cls(data=data)._write()
            layout = cls.open(data)
            layout._make_folders()
            layout._make_master_key(kms)
        return layout

    @classmethod
    def open(cls, data: Path) -> Layout:
        """Read an existing platform; NoPlatformError, NewerFormatError or ForeignFolderError say why not."""
        data = data.resolve()
        with _explained(data):
            layout = cls._parse(data, _read(data / "platform.json"))
            if layout.sockets.exists():
                _refuse_a_foreign_folder(layout.sockets, data.stat().st_uid)
        return layout

    def listening(self, *, host: str | None, port: int | None, api_processes: int | None = None) -> Layout:
        """The same platform with HTTP elsewhere, or by more processes, where asked for; `save` makes that last."""
        return replace(
            self,
            host=host or self.host,
            port=port or self.port,
            api_processes=api_processes or self.api_processes,
        )

    def save(self) -> None:
        """Write platform.json. Only while holding the platform's lock."""
        with _explained(self.data):
            self._write()

    @property
    def sockets(self) -> Path:
        """Folder of all unix sockets: DIR/run, or a short one in /tmp where DIR is too long or too odd a path.

        Odd means characters that configuration files and connection strings would have to quote.
        """
        longest = self.run / ".s.PGSQL.65535"
        if len(os.fsencode(longest)) <= LONGEST_SOCKET_PATH and SAFE_IN_SOCKET_PATH.issuperset(str(longest)):
            return self.run
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:8]
        return Path(f"/tmp/copyhold-{self.data.stat().st_uid}-{digest}")  # noqa: S108 - made 0700 and checked

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def servers(self) -> Path:
        return self.data / "servers"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def pooler(self) -> Path:
        """Folder of PgBouncer's configuration."""
        return self.data / "pgbouncer"

    @property
    def redis(self) -> Path:
        return self.data / "redis"

    @property
    def redis_socket(self) -> Path:
        return self.sockets / "redis.sock"

    @property
    def master_key(self) -> Path:
        return self.data / "secrets" / "master.key"

    @property
    def master_key_kms(self) -> Path:
        """The master key as AWS KMS sealed it. Where there is this file the other one is not looked at."""
        return self.data / "secrets" / "master.kms"

    @property
    def snapshot(self) -> Path:
        return self.snapshot_of(1)

    def snapshot_of(self, number: int) -> Path:
        """Where an API process keeps the roll: each for itself, for none may go back to what another knew before."""
        return self.data / "snapshot" / ("roll.json" if number == 1 else f"roll-{number}.json")

    @property
    def exports(self) -> Path:
        """Folder of what was written out of tenants."""
        return self.data / "exports"

    @property
    def worker_ready(self) -> Path:
        """Written by the worker once it takes work, removed before it starts."""
        return self.run / "worker.ready"

    def api_ready(self, number: int) -> Path:
        """Written by an API process once it can serve, removed before it starts."""
        return self.run / f"{api_name(number)}.ready"

    @property
    def lock(self) -> Path:
        return self.data / "supervisor.lock"

    @property
    def url(self) -> str:
        """Where a person on this machine opens the control plane."""
        local = self.host in {DEFAULT_HOST, "localhost", "0.0.0.0", "::", "::1"}  # noqa: S104 - only compared
        name = "localhost" if local else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    @property
    def provider(self) -> LocalProvider:
        shapes = {
            name: ClusterShape(
                port=self.cluster_ports[name],
                max_connections=MAX_CONNECTIONS[name],
                shared_buffers_mb=SHARED_BUFFERS_MB[name],
            )
            for name in SERVERS
        }
        return LocalProvider(servers=self.servers, sockets=self.sockets, logs=self.logs, shapes=shapes)

    def server(self, name: str) -> ServerAddress:
        return ServerAddress(host=str(self.sockets), port=self.cluster_ports[name])

    def settings(self, api: int | None = None) -> Settings:
        """Those of its worker, or of API process number `api`; what a folder cannot know comes from COPYHOLD_*."""
        sealed = self.master_key_kms.exists()
        return Settings.from_environment(
            control_dsn=self.server("control").dsn(database=CONTROL_DATABASE, user=CONTROL_DATABASE),
            pooler_host=str(self.sockets),
            pooler_port=POOLER_PORT,
            pooler_dir=self.pooler,
            redis_url=f"unix://{self.redis_socket}",
            master_key_file=None if sealed else self.master_key,
            master_key=None,
            master_key_kms=self.master_key_kms if sealed else None,
            snapshot_file=self.snapshot_of(api or 1),
            export_dir=self.exports,
            ready_file=self.api_ready(api) if api else self.worker_ready,
            http_host=self.host,
            http_port=self.port,
        )

    @classmethod
    def _parse(cls, data: Path, content: Mapping[str, object]) -> Layout:
        found = content.get("format")
        if not isinstance(found, int):
            raise ForeignFolderError(f"{data}/platform.json is not a platform's: it names no format")
        if found > FORMAT:
            raise NewerFormatError(
                f"{data} was made by a newer Copyhold (format {found}; this one knows {FORMAT}): use that version"
            )
        host, port, ports = content.get("host"), content.get("port"), content.get("cluster_ports")
        if not (isinstance(host, str) and isinstance(port, int) and isinstance(ports, dict)):
            raise ForeignFolderError(f"{data}/platform.json is damaged: host, port or cluster_ports is missing")
        return cls(
            data=data,
            host=host,
            port=port,
            api_processes=_processes(content.get("api_processes", 1), data),
            cluster_ports=MappingProxyType({**CLUSTER_PORTS, **ports}),
        )

    def _write(self) -> None:
        content = {
            "format": FORMAT,
            "host": self.host,
            "port": self.port,
            "api_processes": self.api_processes,
            "cluster_ports": dict(self.cluster_ports),
        }
        write_atomically(self.data / "platform.json", json.dumps(content, indent=2) + "\n")

    def _make_folders(self) -> None:
        self.data.chmod(0o700)
        for name in _FOLDERS:
            (self.data / name).mkdir(mode=0o700, exist_ok=True)
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        _refuse_a_foreign_folder(self.sockets, self.data.stat().st_uid)

    def _make_master_key(self, kms: str | None) -> None:
        if self.master_key_kms.exists():
            return
        if self.master_key.exists():
            if kms is not None:
                taking = shlex.join(
                    ("copyhold", "master-key", "new", str(self.master_key_kms), "--kms", kms, "--with-current")
                )
                raise SetupError(
                    f"the master key is in {self.master_key}; take it along first: {as_typed(taking, self.data)}"
                )
            return
        if any((self.servers / name).exists() for name in SERVERS):
            raise SetupError(f"{self.master_key} is missing, and what it sealed cannot be opened: restore it")
        if kms is not None:
            KmsFile(path=self.master_key_kms).create(kms)
        else:
            write_once(self.master_key, secrets.token_bytes(32))


def api_name(number: int) -> str:
    """What one of the API processes of a machine is called, the first being number 1."""
    return "api" if number == 1 else f"api-{number}"


def _processes(found: object, data: Path) -> int:
    if isinstance(found, int) and 1 <= found <= API_PROCESSES_MAX:
        return found
    raise ForeignFolderError(f"{data}/platform.json is damaged: api_processes is not from 1 to {API_PROCESSES_MAX}")


@contextmanager
def _explained(data: Path) -> Iterator[None]:
    """Turn the operating system's refusals into a line that names the folder."""
    try:
        yield
    except PermissionError as error:
        raise ForeignFolderError(
            f"no access to {error.filename}: run this as the owner of {data}, or give --data a folder of yours"
        ) from error
    except OSError as error:
        raise SetupError(f"{error.filename or data}: {error.strerror}") from error


def _read(file: Path) -> Mapping[str, object]:
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoPlatformError(
            f"there is no platform in {file.parent}; `{as_typed('copyhold up', file.parent)}` makes one"
        ) from error
    except ValueError as error:
        raise ForeignFolderError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ForeignFolderError(f"{file} is not a platform's")
    return content


def _refuse_a_used_folder(data: Path) -> None:
    """A first `up` takes an empty folder; a file system's own folder and our cut-short first write do not count."""
    for entry in data.iterdir():
        if entry.name != "lost+found" and not entry.name.startswith(".platform.json."):
            raise ForeignFolderError(f"{data} is not empty and holds no platform; give --data a folder of its own")


def _refuse_a_foreign_folder(folder: Path, owner: int) -> None:
    """In /tmp anybody may have made the folder first, and would own the sockets that we trust."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o077:
        raise ForeignFolderError(f"{folder} is not a private folder of this user: remove it")
