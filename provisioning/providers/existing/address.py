"""Where a server listens and who administers it, as somebody writes it: HOST[:PORT]/ADMIN, or a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from control_plane.domain.errors import InvalidError

PORT = 5432
_SCHEMES = ("postgresql", "postgres")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:.]+")
_ROLE = re.compile(r"[A-Za-z0-9_.@-]{1,63}")
_FORM = "write HOST:PORT/ADMIN, or postgresql://ADMIN@HOST:PORT"


class AddressError(InvalidError):
    """That is not the address of a server."""

    code = "server_address"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A server reached by TCP, and the login that makes databases and roles there."""

    host: str
    port: int
    admin: str

    def __post_init__(self) -> None:
        if self.host.startswith("/"):
            raise AddressError("a socket is of this machine alone: give the server's host name")
        if not _HOST.fullmatch(self.host):
            raise AddressError(f"{self.host!r} is no host name; {_FORM}")
        if not 0 < self.port < 65536:
            raise AddressError(f"{self.port} is no port; {_FORM}")
        if not _ROLE.fullmatch(self.admin):
            raise AddressError(f"{self.admin!r} is no login's name; {_FORM}")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.admin}"


def parse_address(text: str) -> Address:
    """The address in what somebody wrote, or AddressError; one with a password in it is refused and not repeated."""
    if "://" in text:
        return _of_url(text)
    if "@" in text.partition("/")[0] or "=" in text:
        raise AddressError(f"that is not the address of a server; {_FORM}")  # not shown: a password may be in it
    place, slash, admin = text.rpartition("/")
    if not slash:
        raise AddressError(f"the administrator's login is missing; {_FORM}")
    return _of_url(f"postgresql://{admin}@{place}")


def _of_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AddressError(f"that is not the address of a server; {_FORM}") from error
    if parts.password is not None or "password" in parts.query:
        raise AddressError(
            "everybody on this machine can read a password in an address: change it, then give the new one "
            "in a file (--password-file), in the variable COPYHOLD_ADMIN_PASSWORD or when asked"
        )
    if parts.scheme not in _SCHEMES or parts.query or parts.fragment or parts.path not in ("", "/", "/postgres"):
        raise AddressError(f"that is not the address of a server; {_FORM}")
    if not host or not parts.username:
        raise AddressError(f"host and administrator's login are both needed; {_FORM}")
    return Address(host=host, port=PORT if port is None else port, admin=unquote(parts.username))
