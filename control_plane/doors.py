"""The doors to servers: how PostgreSQL is reached past the pooler, by a socket's folder or by TCP.

By a socket nobody has a password. By TCP everybody has one, and is let in by SCRAM over TLS alone, the server's name
checked against its certificate.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import pq
from psycopg.conninfo import make_conninfo

from control_plane.domain.errors import UnavailableError
from control_plane.domain.server import Server
from control_plane.keyring import Keyring, SealError
from control_plane.settings import Settings

SYSTEM = "system"
"""Instead of a file with certificates: the authorities that this machine believes."""
KNOWS_SYSTEM = 160000
"""The libpq that first took SYSTEM and `require_auth`."""
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""A network that is cut without a word is noticed within half a minute; the defaults of systems take hours. By TCP."""


class NoDoorError(UnavailableError):
    """A server cannot be reached: what that takes is not on the roll."""

    code = "no_door"


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The way to every server on the roll. Any thread may use it; passwords are unsealed, files written, once each."""

    keyring: Keyring | None
    certificates: Path | None
    """A folder for the certificates of authorities; made when it is needed."""
    _passwords: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict, repr=False, compare=False)
    _files: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, settings: Settings, keyring: Keyring) -> Doors:
        """Those of one platform."""
        return cls(keyring=keyring, certificates=settings.pooler_dir / "certificates")

    def dsn(self, server: Server, database: str, role: str, password: str | None = None) -> str:
        """How to reach a database past the pooler, for DDL, locks and copies. It holds a password: not for any log.

        `password` is for logins that the platform keeps elsewhere: the apps'. NoDoorError when the roll has none of the
        role, or none that can be opened.
        """
        return make_conninfo(
            host=server.host,
            port=server.port,
            dbname=database,
            user=role,
            connect_timeout=5,
            application_name="copyhold",
            **(self._proofs(server, role, password) if server.by_tcp else {}),
        )

    def password(self, server: Server, role: str) -> str:
        """What that role of the platform's has on a server reached by TCP; NoDoorError when the roll has none."""
        known = self._opened(server)
        if role not in known:
            raise NoDoorError(f"the roll has no password of {role} on the server {server.name}", server=server.name)
        return known[role]

    def _proofs(self, server: Server, role: str, password: str | None) -> dict[str, Any]:
        proofs = {
            "sslmode": "verify-full",
            "sslrootcert": self._authorities(server),
            "password": self.password(server, role) if password is None else password,
            "gssencmode": "disable",
            **ALIVE,
        }
        return proofs | ({"require_auth": "scram-sha-256"} if pq.version() >= KNOWS_SYSTEM else {})

    def _opened(self, server: Server) -> Mapping[str, str]:
        if server.sealed_passwords is None or self.keyring is None:
            return {}
        key = (server.name, server.sealed_passwords)
        if key not in self._passwords:
            try:
                self._passwords[key] = opened(self.keyring, server.name, server.sealed_passwords)
            except SealError as error:
                raise NoDoorError(f"the passwords to the server {server.name} cannot be opened") from error
        return self._passwords[key]

    def _authorities(self, server: Server) -> str:
        if not server.ca:
            if pq.version() < KNOWS_SYSTEM:
                raise NoDoorError(f"this libpq has to be told who signs the certificate of the server {server.name}")
            return SYSTEM
        if server.ca not in self._files:
            if self.certificates is None:
                raise NoDoorError(f"there is no folder for the certificates of the server {server.name}")
            self._files[server.ca] = str(_written(self.certificates, server.name, server.ca))
        return self._files[server.ca]


def believing(ca: str) -> ssl.SSLContext:
    """How TLS is spoken to a server whose certificate those authorities sign (PEM; empty: whom this machine believes).

    ssl.SSLError when there is no certificate in what was given.
    """
    # Comments between certificates may be in any language; `ssl` takes ASCII alone.
    return ssl.create_default_context(cadata=ca.encode("ascii", "ignore").decode() or None)


SOCKETS = Doors(keyring=None, certificates=None)
"""For those who reach servers of this machine alone."""


def sealed(keyring: Keyring, server: str, passwords: Mapping[str, str]) -> str:
    """Passwords by role as the roll keeps them."""
    return keyring.seal(json.dumps(dict(passwords)), belongs_to=server)


def opened(keyring: Keyring, server: str, text: str) -> Mapping[str, str]:
    """What `sealed` has sealed for that server; SealError when it is another's, or of an unknown master key."""
    return dict(json.loads(keyring.unseal(text, belongs_to=server)))


def _written(folder: Path, server: str, ca: str) -> Path:
    """The file with those certificates, whole. Named by them: one that knows an older roll writes another file."""
    path = folder / f"{server}-{hashlib.sha256(ca.encode()).hexdigest()[:16]}.pem"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    with os.fdopen(handle, "w") as file:
        file.write(ca)
        os.fchmod(file.fileno(), 0o644)  # no secret, and whoever may enter the folder needs it
    Path(temporary).replace(path)
    return path
