"""The pooler's configuration as text: a pure function of the roll and of where the pooler listens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from control_plane.domain.errors import InvalidError

TEMPLATES = Path(__file__).parents[2] / "templates" / "pgbouncer"
MAIN_FILE = "pgbouncer.ini"
FILES = (MAIN_FILE, "databases.ini", "userlist.txt")
PREPARED_STATEMENTS_SINCE = (1, 21)
CONSOLE = "pgbouncer"
"""The pooler's name for its own database and for who may enter it: nobody else's."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9./_:+@-]{1,255}")
_SECRET = re.compile(r'[^"\x00-\x1f\x7f]*')


class UnwritableEntryError(InvalidError):
    """A name or address cannot be written into the pooler's configuration."""

    code = "pooler_entry"


@dataclass(frozen=True, kw_only=True)
class PoolerEntry:
    """One database at the pooler. `secret` is the login's stored SCRAM secret, or empty where sockets do without.

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

    def __post_init__(self) -> None:
        # Mostly they are all the same name.
        for name in {self.alias, self.database, self.login, self.other_login or self.login}:
            if not _NAME.fullmatch(name) or name == CONSOLE:
                raise UnwritableEntryError(f"{name!r} cannot be a name at the pooler")
        if not (_HOST.fullmatch(self.host) and all(map(_SECRET.fullmatch, (self.secret, self.other_secret)))):
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


def render(place: PoolerPlace, entries: Iterable[PoolerEntry]) -> Mapping[str, str]:
    """The content of each of FILES. The same roll gives the same text, whatever the order it is read in."""
    facts = {
        "folder": place.folder,
        "sockets": place.sockets,
        "port": place.port,
        "max_clients": place.max_clients,
        "query_timeout_s": place.query_timeout_s,
        "prepared_statements": place.version >= PREPARED_STATEMENTS_SINCE,
        "entries": sorted(entries, key=lambda entry: entry.alias),
    }
    return {name: _template(name).render(facts) for name in FILES}


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
