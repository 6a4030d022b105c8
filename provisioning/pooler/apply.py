"""Bringing the running pooler in line with the roll, and seeing where it is not."""

from __future__ import annotations

import difflib
import fcntl
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import Engine

from control_plane.domain.budget import Entry, share_out
from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.settings import Settings
from provisioning.files import write_atomically
from provisioning.pooler.errors import PoolerDownError, PoolerRefusedError
from provisioning.pooler.render import CONSOLE, FILES, MAIN_FILE, PoolerEntry, PoolerPlace, render

_SETTING = re.compile(r"^(\w+) =(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How the roll, the files and the running pooler differ; empty texts where they agree."""

    files: Mapping[str, str]
    """By file, a unified diff from what is there to what the roll asks for."""
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
    """One PgBouncer. Nothing is kept between calls: each reads the roll anew."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine

    def entries(self) -> list[PoolerEntry]:
        """What the roll asks for."""
        with transaction(self._engine) as session:
            known = {server.name: server for server in servers.all_servers(session)}
            rows = servers.all_databases(session)
        wanted = [Entry(database_id=row.id, server=row.server, model=Model(row.model)) for row in rows]
        sizes = share_out(known.values(), wanted).pool_sizes
        return [
            PoolerEntry(
                alias=row.alias,
                host=known[row.server].host,
                port=known[row.server].port,
                database=row.name,
                login=row.login,
                pool_size=sizes[row.id],
            )
            for row in rows
        ]

    def rendered(
        self, entries: Sequence[PoolerEntry] | None = None, *, version: tuple[int, int] | None = None
    ) -> Mapping[str, str]:
        """The files for `entries`, or for the roll as it is. Without a running pooler its `version` has to be given."""
        place = PoolerPlace(
            folder=self._settings.pooler_dir,
            sockets=self._settings.pooler_host,
            port=self._settings.pooler_port,
            version=version or self.version(),
        )
        return render(place, self.entries() if entries is None else entries)

    def write(self, version: tuple[int, int]) -> None:
        """Write the files for a pooler that is about to start."""
        with self._one_at_a_time():
            self._write(self.rendered(version=version))

    def apply(self) -> bool:
        """Write what has changed, have the pooler read it, and check that it did; False when nothing had changed.

        Two that apply at once take turns, and the later one renders the roll after the earlier one is done.
        """
        with self._one_at_a_time():
            # Read once: the roll may change while this is at work, and the next one to apply sees to that.
            entries = self.entries()
            files = self.rendered(entries)
            if self._diff(files, entries).none:
                return False
            self._write(files)
            self._console("RELOAD")
            drift = self._diff(files, entries)
            if not drift.none:
                wrong = ", ".join((*drift.missing, *drift.extra, *drift.settings))
                raise PoolerRefusedError(f"the pooler did not take its new configuration ({wrong}); its log says why")
            return True

    def diff(self) -> Drift:
        """Hand edits and drift; changes nothing."""
        entries = self.entries()
        return self._diff(self.rendered(entries), entries)

    def status(self) -> list[dict[str, Any]]:
        """SHOW POOLS of the running pooler, its own database left out."""
        return [row for row in self._console("SHOW POOLS") if row["database"] != CONSOLE]

    def version(self) -> tuple[int, int]:
        """Major and minor version of the running pooler."""
        text = str(self._console("SHOW VERSION")[0]["version"])
        match = re.search(r"(\d+)\.(\d+)", text)
        if match is None:
            raise PoolerDownError(f"the pooler says it is {text!r}")
        return int(match[1]), int(match[2])

    def _diff(self, files: Mapping[str, str], entries: Sequence[PoolerEntry]) -> Drift:
        live = {str(row["name"]): row for row in self._console("SHOW DATABASES") if row["name"] != CONSOLE}
        wanted = {entry.alias: entry for entry in entries}
        return Drift(
            files={name: _unified(name, self._on_disk(name), text) for name, text in files.items()},
            missing=tuple(alias for alias, entry in sorted(wanted.items()) if not _same(live.get(alias), entry)),
            extra=tuple(sorted(live.keys() - wanted.keys())),
            settings=self._settings_that_differ(files[MAIN_FILE]),
        )

    def _settings_that_differ(self, text: str) -> tuple[str, ...]:
        live = {row["key"]: row["value"] for row in self._console("SHOW CONFIG") if row["changeable"] == "yes"}
        wanted = {name: value.strip() for name, value in _SETTING.findall(text)}
        return tuple(name for name in sorted(live.keys() & wanted.keys()) if live[name] != wanted[name])

    def _write(self, files: Mapping[str, str]) -> None:
        # The main file last: what it includes is then in place.
        for name in reversed(FILES):
            if self._on_disk(name) != files[name]:
                write_atomically(self._settings.pooler_dir / name, files[name])

    def _on_disk(self, name: str) -> str:
        path = self._settings.pooler_dir / name
        return path.read_text() if path.exists() else ""

    def _console(self, command: LiteralString) -> list[dict[str, Any]]:
        settings = self._settings
        try:
            with psycopg.connect(
                host=settings.pooler_host,
                port=settings.pooler_port,
                user=CONSOLE,
                dbname=CONSOLE,
                connect_timeout=5,
                autocommit=True,
                row_factory=dict_row,
                prepare_threshold=None,
            ) as connection:
                cursor = connection.execute(command)
                return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError as error:
            raise PoolerDownError from error

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        with (self._settings.pooler_dir / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _same(live: dict[str, Any] | None, entry: PoolerEntry) -> bool:
    if live is None or live["pool_mode"] or live["force_user"]:
        return False
    there = live["host"], int(live["port"]), live["database"], int(live["pool_size"])
    return there == (entry.host, entry.port, entry.database, entry.pool_size)


def _unified(name: str, there: str, wanted: str) -> str:
    lines = difflib.unified_diff(
        there.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        f"{name} (on disk)",
        f"{name} (from the roll)",
    )
    return "".join(lines)
