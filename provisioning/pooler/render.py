"""The pooler's configuration as text: a pure function of the roll and of where the pooler listens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from control_plane.domain.errors import InvalidError

TEMPLATES = Path(__file__).parents[2] / "templates" / "pgbouncer"
MAIN_FILE, DATABASES_FILE = "pgbouncer.ini", "databases.ini"
LOGINS_FILE, AUTHORITIES_FILE = "userlist.txt", "servers.pem"
FILES = (MAIN_FILE, DATABASES_FILE, LOGINS_FILE, AUTHORITIES_FILE)
PREPARED_STATEMENTS_SINCE = (1, 21)
CONSOLE = "pgbouncer"
"""The pooler's name for its own database and for who may enter it: nobody else's."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9./_:+@-]{1,255}")
_SECRET = re.compile(r'[^"\x00-\x1f\x7f]*')
_LOGIN_LINE = re.compile(r'^"([^"]*)" "([^"]*)"', re.MULTILINE)
CONCEALED = "***"


class UnwritableEntryError(InvalidError):
    """A name or address cannot be written into the pooler's configuration."""

    code = "pooler_entry"


@dataclass(frozen=True, kw_only=True)
class PoolerEntry:
    """One database at the pooler. `secret` is the login's password, or empty where sockets do without.

    `other_login` is the one that works as well while the one takes the other's place; empty at all other times.
    """

    alias: str
    host: str
    port: int
    database: str
    login: str
    pool_size: int
    secret: str = field(default="", repr=False)
    other_login: str = ""
    other_secret: str = field(default="", repr=False)

    @property
    def by_tcp(self) -> bool:
        """Whether it is reached by TCP, and so by TLS; otherwise by a socket."""
        return not self.host.startswith("/")

    @cached_property
    def database_line(self) -> str:
        """What databases.ini says of it."""
        return _template("database").render(entry=self)

    @cached_property
    def login_lines(self) -> str:
        """What the list of logins says of it."""
        return _template("logins").render(entry=self)

    @cached_property
    def shown(self) -> tuple[bytes, ...]:
        """What SHOW DATABASES has of it: alias, host, port, database, pool size, most connections, pool mode, user."""
        size = b"%d" % self.pool_size
        address = (self.host.encode(), b"%d" % self.port, self.database.encode())
        # Two logins have a pool each: together they get no more than the one.
        return (self.alias.encode(), *address, size, size, b"", b"")

    def __post_init__(self) -> None:
        # Mostly they are all the same name, and many entries have one host: thousands are made for every apply.
        for name in {self.alias, self.database, self.login, self.other_login or self.login}:
            if not _NAME.fullmatch(name) or name == CONSOLE:
                raise UnwritableEntryError(f"{name!r} cannot be a name at the pooler")
        secrets = self.secret + self.other_secret
        if not _is_host(self.host) or (secrets and not _SECRET.fullmatch(secrets)):
            raise UnwritableEntryError(f"the entry {self.alias} has an address or secret that cannot be written")


@dataclass(frozen=True, kw_only=True)
class PoolerPlace:
    """Where the pooler listens, keeps its files, and what it can do."""

    folder: Path
    sockets: str
    port: int
    version: tuple[int, int]
    max_clients: int = 2000
    query_timeout_s: int = 20
    """After so long a statement's server counts as gone: longer than any statement may run."""
    authorities: str = ""
    """The certificates, PEM, of whoever signs those of servers reached by TCP."""


@lru_cache
def _is_host(text: str) -> bool:
    return _HOST.fullmatch(text) is not None


def render(place: PoolerPlace, entries: Iterable[PoolerEntry]) -> Mapping[str, str]:
    """The content of each of FILES. The same roll gives the same text, whatever the order it is read in."""
    wanted = sorted(entries, key=lambda entry: entry.alias)
    facts = {
        "folder": place.folder,
        "sockets": place.sockets,
        "port": place.port,
        "max_clients": place.max_clients,
        "query_timeout_s": place.query_timeout_s,
        "prepared_statements": place.version >= PREPARED_STATEMENTS_SINCE,
        "by_tcp": any(entry.by_tcp for entry in wanted),
        "authorities": place.authorities,
        "databases": "".join([entry.database_line for entry in wanted]),
        "logins": "".join([entry.login_lines for entry in wanted]),
    }
    return {name: _template(name).render(facts) for name in FILES}


def without_secrets(logins: str, other: str | None = None) -> str:
    """The list of logins for a person to see. Beside the other one, a secret that differs is told to differ."""
    others = dict(_LOGIN_LINE.findall(other or ""))

    def concealed(line: re.Match[str]) -> str:
        login, secret = line.groups()
        another = secret and others.get(login, "") not in ("", secret)
        return f'"{login}" "{secret and CONCEALED}{" (another)" if another else ""}"'

    return _LOGIN_LINE.sub(concealed, logins)


@cache
def _template(name: str) -> Template:
    """Compiled once a process: reading and compiling takes longer than a thousand entries."""
    environment = Environment(  # noqa: S701 - configuration, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.j2")
