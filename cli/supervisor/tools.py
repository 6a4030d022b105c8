"""Finds the programs that a platform is made of, and refuses what is missing or too old before anything starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import SetupError
from provisioning.providers.base import ProviderError
from provisioning.providers.binaries import PostgresBinaries, newest_postgres

BUILT_HERE = Path(__file__).resolve().parents[2] / ".tools" / "bin"
"""Where ./run setup puts what it builds."""
ADMIN_PROGRAMS = Path("/usr/sbin")
"""Where distributions put servers; not on every user's PATH."""
USABLE_PGBOUNCER = (1, 18)
GOOD_PGBOUNCER = (1, 21)
"""From here on it knows prepared statements in transaction pooling."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One program and the version that it says it has."""

    path: Path
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", self.version)[:2])


@dataclass(frozen=True, kw_only=True)
class Tools:
    """All programs of a platform that are not ours."""

    postgres: PostgresBinaries
    pgbouncer: Tool
    redis: Tool


def find_tools() -> Tools:
    """The programs to use, or SetupError that names everything that is missing or too old."""
    missing: list[str] = []
    postgres: PostgresBinaries | None = None
    try:
        postgres = newest_postgres()
    except ProviderError as error:
        missing.append(str(error).removesuffix("; ./run setup installs it"))
    pgbouncer = find_tool("pgbouncer")
    if pgbouncer is None:
        missing.append("PgBouncer is not installed here (pgbouncer)")
    elif pgbouncer.release < USABLE_PGBOUNCER:
        missing.append(
            f"{pgbouncer.path} is PgBouncer {pgbouncer.version}; {_dotted(USABLE_PGBOUNCER)} or newer is needed"
        )
    redis = find_tool("redis-server", "valkey-server")
    if redis is None:
        missing.append("Redis is not installed here (redis-server or valkey-server)")
    if postgres is None or pgbouncer is None or redis is None or missing:
        raise SetupError("; ".join(missing) + "; ./run setup installs what a platform needs")
    return Tools(postgres=postgres, pgbouncer=pgbouncer, redis=redis)


def warnings(tools: Tools) -> list[str]:
    """What works, but not as well as it could."""
    if tools.pgbouncer.release < GOOD_PGBOUNCER:
        return [
            f"{tools.pgbouncer.path} is PgBouncer {tools.pgbouncer.version}: without prepared statements; "
            f"{_dotted(GOOD_PGBOUNCER)} or newer is better, ./run setup builds one"
        ]
    return []


def find_tool(*names: str, folders: Sequence[Path] | None = None) -> Tool | None:
    """The first of these programs in `.tools/bin`, on PATH or in /usr/sbin that can tell its version."""
    usual = [BUILT_HERE, *map(Path, os.get_exec_path()), ADMIN_PROGRAMS]
    search = os.pathsep.join(map(str, usual if folders is None else folders))
    for name in names:
        path = shutil.which(name, path=search)
        if path and (version := _version_of(path)):
            return Tool(path=Path(path), version=version)
    return None


def _version_of(path: str) -> str | None:
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\d+\.\d+(\.\d+)?", answer.stdout)
    return match[0] if match else None


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
