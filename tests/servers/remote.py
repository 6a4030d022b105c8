"""A PostgreSQL server as others run it: reached by TCP with TLS and passwords alone, its administrator no superuser.

`remote_server` starts one on this machine. What a superuser of it would have been asked to do has been done, unless the
test asks for less.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from provisioning.providers.binaries import environment_for_servers, newest_postgres
from provisioning.roles import BACKUP, MIGRATOR, MOVER
from tests.folders import new_folder
from tests.platform_under_test import free_port
from tests.servers.apart import Apart
from tests.servers.certificates import Authority, Certificate
from tests.waiting import until

HOST = "127.0.0.1"
ADMIN = "keeper"
SUPERUSER = "postgres"
SERVICE_USER = "postgres"
AS_SERVICE_USER = ("setpriv", f"--reuid={SERVICE_USER}", f"--regid={SERVICE_USER}", "--init-groups")
ENDED_WITHIN_S = 30
OPTIONS = {
    "unix_socket_permissions": "0700",
    "ssl": "on",
    "ssl_cert_file": "server.pem",
    "ssl_key_file": "server.key",
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",
    "max_connections": "120",
    "fsync": "off",
    "timezone": "UTC",
    "lc_messages": "C",
}
RULES = """\
local    all          {superuser}                 trust
hostssl  replication  copyhold_mover  {whence}/32  scram-sha-256
hostssl  all          all             {whence}/32  scram-sha-256
"""

Connection = psycopg.Connection[Any]

ADMIN_MADE = "CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE; GRANT CONNECT ON DATABASE postgres TO {admin}"
PREPARED = """
CREATE ROLE copyhold_owner NOLOGIN;
CREATE ROLE copyhold_migrator LOGIN BYPASSRLS;
CREATE ROLE copyhold_mover LOGIN REPLICATION BYPASSRLS;
CREATE ROLE copyhold_backup LOGIN BYPASSRLS;
GRANT copyhold_owner TO copyhold_migrator, copyhold_mover;
GRANT copyhold_owner, copyhold_migrator TO {admin} WITH ADMIN OPTION;
GRANT pg_signal_backend TO {admin};
GRANT pg_read_all_data TO copyhold_backup;
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC
"""


@dataclass(kw_only=True)
class RemoteServer:
    """One such server that runs, and what its superuser knows of it."""

    folder: Path
    port: int
    authority: Authority
    network: Apart | None = None
    """Where it runs; None: on this machine, as everything else."""
    admin: str = ADMIN
    passwords: dict[str, str] = field(default_factory=dict)
    """Of its administrator and, where they were made, of the platform's roles that log in."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Its address."""
        return self.network.there if self.network is not None else HOST

    @property
    def rules(self) -> str:
        """Its pg_hba.conf."""
        return RULES.format(superuser=SUPERUSER, whence=self.network.here if self.network is not None else HOST)

    @property
    def ca(self) -> str:
        """The certificate of the authority that signs this server's, PEM."""
        return self.authority.pem

    @property
    def ca_file(self) -> Path:
        """The same as a file."""
        return self.folder / "ca.pem"

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    def dsn(self, role: str = ADMIN, database: str = "postgres", **others: Any) -> str:
        """How that role gets in from outside; `others` go to libpq, e.g. another password or sslmode."""
        facts: dict[str, Any] = {"sslmode": "verify-full", "sslrootcert": self.ca_file, "connect_timeout": 5}
        facts |= {"password": self.passwords.get(role)} | others
        return make_conninfo(host=self.host, port=self.port, dbname=database, user=role, **facts)

    def connect(self, role: str = ADMIN, database: str = "postgres", **others: Any) -> Connection:
        """A connection of that role from outside, in autocommit."""
        return psycopg.connect(self.dsn(role, database, **others), autocommit=True, prepare_threshold=None)

    def superuser(self, database: str = "postgres") -> Connection:
        """The superuser's connection, through a socket that nobody else knows, in autocommit."""
        dsn = make_conninfo(host=str(self.folder), port=self.port, dbname=database, user=SUPERUSER)
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)

    def psql(self, script: str) -> None:
        """Have its superuser run a script; it ends at the first error."""
        words = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--host={self.folder}", f"--port={self.port}"]
        command = [newest_postgres().program("psql"), *words, f"--username={SUPERUSER}", "postgres"]
        subprocess.run(command, input=script, env=environment_for_servers(), check=True, text=True, capture_output=True)

    def set_password(self, role: str, password: str | None = None) -> str:
        """Give a role a password, as its superuser; another one when none is told."""
        self.passwords[role] = password = password or secrets.token_urlsafe(16)
        with self.superuser() as superuser:
            change = sql.SQL("ALTER ROLE {} PASSWORD {}")
            superuser.execute(change.format(sql.Identifier(role), sql.Literal(password)))
        return password

    def sign_with(self, authority: Authority) -> None:
        """Have another authority sign for it from now on."""
        self.authority = authority
        self.ca_file.write_text(authority.pem)
        self.present(authority.certificate(self.host))

    def present(self, certificate: Certificate) -> None:
        """Have it show that certificate from now on."""
        self._write("server.pem", certificate.pem)
        self._write("server.key", certificate.key)
        with self.superuser() as superuser:
            superuser.execute("SELECT pg_reload_conf()")

    def allow(self, rules: str) -> None:
        """Have it let in by those lines of pg_hba.conf, its superuser besides."""
        self._write("pg_hba.conf", rules + self.rules.splitlines()[0] + "\n")
        with self.superuser() as superuser:
            superuser.execute("SELECT pg_reload_conf()")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = OPTIONS | {"port": str(self.port), "unix_socket_directories": str(self.folder)}
        command = [
            str(newest_postgres().program("postgres")),
            f"-D{self.data}",
            *(f"--{name}={value}" for name, value in (options | {"listen_addresses": self.host}).items()),
        ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.network.inside(*AS_SERVICE_USER, *command) if self.network is not None else command,
                user=None if self.network is not None else _user(),
                cwd=self.folder,
                env=environment_for_servers(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, what="the server answers")

    def stop(self) -> None:
        """End it at once; whoever is in is put out. What it has stays, for `start`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=ENDED_WITHIN_S)
            self.process = None

    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            self.superuser().close()
        except psycopg.OperationalError:
            return False
        return True

    def _write(self, name: str, content: str) -> None:
        file = self.data / name
        file.write_text(content)
        file.chmod(0o600)
        if (user := _user()) is not None:
            shutil.chown(file, user)


@contextmanager
def remote_server(
    *, prepared: bool = True, settings: Mapping[str, str] | None = None, network: Apart | None = None
) -> Iterator[RemoteServer]:
    """A new server, stopped and deleted at the end of the block.

    `prepared`: its superuser has made the platform's roles. Without it there is the administrator alone. The catalogue
    of its databases is as PostgreSQL made it in both cases. `settings` go into postgresql.conf.
    """
    folder = new_folder("ch-remote-")
    server = RemoteServer(folder=folder, port=free_port(), authority=Authority(), network=network)
    try:
        folder.chmod(0o755)
        server.ca_file.write_text(server.ca)
        if (user := _user()) is not None:
            shutil.chown(folder, user)
        _initialise(server, settings or {})
        server.start()
        try:
            _make_admin(server)
            if prepared:
                prepare(server)
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(server: RemoteServer) -> None:
    """Do what its superuser is asked to do so that the platform can use it."""
    with server.superuser() as superuser:
        superuser.execute(sql.SQL(PREPARED).format(admin=sql.Identifier(server.admin)))
    for role in (MIGRATOR, MOVER, BACKUP):
        server.set_password(role)


def _make_admin(server: RemoteServer) -> None:
    with server.superuser() as superuser:
        superuser.execute(sql.SQL(ADMIN_MADE).format(admin=sql.Identifier(server.admin)))
    server.set_password(server.admin)


def _initialise(server: RemoteServer, settings: Mapping[str, str]) -> None:
    program = newest_postgres().program("initdb")
    subprocess.run(
        [program, f"--pgdata={server.data}", f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C.UTF-8", "-N"],
        user=_user(),
        cwd=server.folder,
        env=environment_for_servers(),
        capture_output=True,
        check=True,
    )
    certificate = server.authority.certificate(server.host)
    server._write("pg_hba.conf", server.rules)
    server._write("server.pem", certificate.pem)
    server._write("server.key", certificate.key)
    server._write("postgresql.conf", "".join(f"{name} = '{value}'\n" for name, value in settings.items()))


def _user() -> str | None:
    """Who runs it: PostgreSQL does not run as root."""
    return SERVICE_USER if os.geteuid() == 0 else None
