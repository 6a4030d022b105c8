"""Bringing the running pooler in line with the roll, and seeing where it is not."""

from __future__ import annotations

import difflib
import fcntl
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, LiteralString

from sqlalchemy import Engine

from control_plane.domain.budget import share_out
from control_plane.domain.server import Server
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import PooledDatabase
from control_plane.settings import Settings
from control_plane.stores.secrets import Secrets
from provisioning.authorities import bundle
from provisioning.files import write_atomically
from provisioning.pooler.console import Console, console
from provisioning.pooler.errors import PoolerRefusedError
from provisioning.pooler.render import (
    CONSOLE,
    FILES,
    LOGINS_FILE,
    MAIN_FILE,
    PoolerEntry,
    PoolerPlace,
    render,
    without_secrets,
)

SILENCE_S = 5
"""A server that has not ended a statement so long after its time-out does not answer."""
_SHOWN = ("name", "host", "port", "database", "pool_size", "max_connections", "pool_mode", "force_user")
"""The columns of SHOW DATABASES that an entry has as its `shown`."""
_SETTING = re.compile(r"^(\w+) =(.*)$", re.MULTILINE)


_Address = tuple[str, int, bool]
"""A server's host and port, and whether it is reached by TCP."""
_Facts = tuple[PooledDatabase, _Address, int]
"""What an entry is made of: its row, its server's address, the size of its pool."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the roll, the files and the running pooler differ; empty texts where they agree."""

    files: Mapping[str, str]
    """By file, a unified diff from what is there to what the roll asks for, no password in it."""
    missing: tuple[str, ...]
    """Aliases that the roll has and the running pooler does not, or has otherwise."""
    extra: tuple[str, ...]
    """Aliases that only the running pooler has."""
    settings: tuple[str, ...]
    """Settings that the running pooler has otherwise than its file: set by hand, or never read."""

    @property
    def none(self) -> bool:
        """Whether all three agree."""
        return not (any(self.files.values()) or self.missing or self.extra or self.settings)


class Pooler:
    """One PgBouncer. Each call reads the whole roll anew; an entry made of the same facts as before is kept.

    Without `secrets` it can be told of servers that are reached by their sockets alone.
    """

    def __init__(self, settings: Settings, engine: Engine, secrets: Secrets | None = None) -> None:
        self._settings, self._engine, self._secrets = settings, engine, secrets
        self._made: Mapping[str, tuple[_Facts, PoolerEntry]] = {}

    def entries(self) -> list[PoolerEntry]:
        """What the roll asks for; SealError or SecretGoneError for a password that cannot be had."""
        return self._wanted()[0]

    def _wanted(self) -> tuple[list[PoolerEntry], str]:
        """The entries, and the certificates of whoever signs those of their servers."""
        with transaction(self._engine) as session:
            known = {server.name: server for server in servers.all_servers(session)}
            rows = servers.for_pooler(session)
        return self._entries(known, rows), bundle({known[row.server] for row in rows})

    def _entries(self, known: Mapping[str, Server], rows: Sequence[PooledDatabase]) -> list[PoolerEntry]:
        sizes = share_out(known.values(), rows).pool_sizes
        addresses = {name: (server.host, server.port, server.by_tcp) for name, server in known.items()}
        before, made = self._made, {}
        for row in rows:
            facts = (row, addresses[row.server], sizes[row.alias])
            there = before.get(row.alias)
            made[row.alias] = there if there and there[0] == facts else (facts, self._entry(*facts))
        # Replaced as a whole: other threads apply too, and of a database that has gone no password is kept.
        self._made = made
        return [entry for _, entry in made.values()]

    def _entry(self, row: PooledDatabase, address: _Address, pool_size: int) -> PoolerEntry:
        host, port, by_tcp = address
        return PoolerEntry(
            alias=row.alias,
            host=host,
            port=port,
            database=row.name,
            login=row.login,
            other_login=row.other_login,
            pool_size=pool_size,
            **(self._opened(row) if by_tcp else {}),
        )

    def _opened(self, row: PooledDatabase) -> dict[str, str]:
        if self._secrets is None:
            raise PoolerRefusedError(f"{row.alias} is reached by TCP, and there is nobody to open its password")
        kept = {"secret": row.sealed_password, "other_secret": row.other_sealed_password}
        return {name: self._secrets.open(text, row.id) for name, text in kept.items() if text}

    def rendered(
        self, wanted: tuple[Sequence[PoolerEntry], str] | None = None, *, version: tuple[int, int] | None = None
    ) -> Mapping[str, str]:
        """The files for what is wanted, or for the roll as it is: passwords are in them.

        Without a running pooler its `version` has to be given.
        """
        entries, authorities = wanted or self._wanted()
        place = PoolerPlace(
            folder=self._settings.pooler_dir,
            sockets=self._settings.pooler_host,
            port=self._settings.pooler_port,
            version=version or self.version(),
            query_timeout_s=math.ceil(self._settings.limits.statement_timeout_s) + SILENCE_S,
            authorities=authorities,
        )
        return render(place, entries)

    def write(self, version: tuple[int, int]) -> None:
        """Write the files for a pooler that is about to start."""
        with self._one_at_a_time():
            self._write(self.rendered(version=version))

    def apply(self) -> bool:
        """Write what has changed, have the pooler read it, and check that it did; False when nothing had changed.

        Two that apply at once take turns, and the later one renders the roll after the earlier one is done: what the
        earlier one has applied for it costs it a look.
        """
        with self._one_at_a_time(), console(self._settings) as live:
            # Read once: the roll may change while this is at work, and the next one to apply sees to that.
            entries, authorities = self._wanted()
            files = self.rendered((entries, authorities), version=live.version())
            changed = [name for name, text in files.items() if self._on_disk(name) != text]
            if not changed and _drift(live, files, entries).none:
                return False
            self._write(files)
            live.ask("RELOAD")
            drift = _drift(live, files, entries)
            if not drift.none:
                wrong = ", ".join((*drift.missing, *drift.extra, *drift.settings))
                raise PoolerRefusedError(f"the pooler did not take its new configuration ({wrong}); its log says why")
            return True

    def diff(self) -> Drift:
        """Hand edits and drift; changes nothing."""
        entries, authorities = self._wanted()
        with console(self._settings) as live:
            files = self.rendered((entries, authorities), version=live.version())
            drift = _drift(live, files, entries)
        return replace(drift, files={name: _unified(name, self._on_disk(name), text) for name, text in files.items()})

    def status(self) -> list[dict[str, Any]]:
        """SHOW POOLS of the running pooler, its own database left out."""
        return [row for row in self._console("SHOW POOLS") if row["database"] != CONSOLE]

    def at_work(self, alias: str, login: str) -> int:
        """How many clients are in a transaction there with that login, or wait for one. Idle ones do not count."""
        return sum(
            (row["database"], row["user"]) == (alias, login) and (row["link"] != "" or row["state"] == "waiting")
            for row in self._console("SHOW CLIENTS")
        )

    def version(self) -> tuple[int, int]:
        """Major and minor version of the running pooler."""
        with console(self._settings) as live:
            return live.version()

    def _write(self, files: Mapping[str, str]) -> None:
        # The main file last: what it includes is then in place. Nobody waits until they are on disk: a pooler that
        # starts after a crash of the machine is given all of them anew.
        for name in reversed(FILES):
            if self._on_disk(name) != files[name]:
                write_atomically(self._settings.pooler_dir / name, files[name], sync=False)

    def _on_disk(self, name: str) -> str:
        path = self._settings.pooler_dir / name
        return path.read_text() if path.exists() else ""

    def _console(self, command: LiteralString) -> list[dict[str, Any]]:
        with console(self._settings) as live:
            return live.ask(command)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self._settings.pooler_dir / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _drift(live: Console, files: Mapping[str, str], entries: Sequence[PoolerEntry]) -> Drift:
    """How the running pooler differs; the files themselves are not looked at."""
    there = set(live.columns("SHOW DATABASES", *_SHOWN))
    wanted = {entry.shown for entry in entries}
    aliases = {CONSOLE.encode(), *(shown[0] for shown in wanted)}
    return Drift(
        files={},
        missing=tuple(sorted(shown[0].decode() for shown in wanted - there)),
        extra=tuple(sorted(shown[0].decode() for shown in there - wanted if shown[0] not in aliases)),
        settings=_settings_that_differ(live, files[MAIN_FILE]),
    )


def _settings_that_differ(live: Console, text: str) -> tuple[str, ...]:
    there = {
        key.decode(): value.decode()
        for key, value, changeable in live.columns("SHOW CONFIG", "key", "value", "changeable")
        if changeable == b"yes"
    }
    wanted = {name: value.strip() for name, value in _SETTING.findall(text)}
    return tuple(name for name in sorted(there.keys() & wanted.keys()) if there[name] != wanted[name])


def _unified(name: str, there: str, wanted: str) -> str:
    if name == LOGINS_FILE:
        there, wanted = without_secrets(there), without_secrets(wanted, there)
    lines = difflib.unified_diff(
        there.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        f"{name} (on disk)",
        f"{name} (from the roll)",
    )
    return "".join(lines)
