"""Finds the PostgreSQL programs of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.server import OLDEST_MAJOR
from provisioning.providers.base import ProviderError

DISTRIBUTION_FOLDERS = Path("/usr/lib/postgresql")
NEEDED = ("initdb", "pg_ctl", "postgres")


@dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """One installed PostgreSQL: the folder of its programs, and its version."""

    folder: Path
    version: str
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)


def newest_postgres() -> PostgresBinaries:
    """The newest PostgreSQL on this machine, or ProviderError when there is none that is new enough."""
    found = installed_postgres()
    if not found:
        raise ProviderError("PostgreSQL is not installed here (initdb, pg_ctl, postgres); ./run setup installs it")
    newest = max(found, key=lambda each: each.major)
    if newest.major < OLDEST_MAJOR:
        raise ProviderError(
            f"PostgreSQL {newest.version} in {newest.folder} is too old: {OLDEST_MAJOR} or newer is needed; "
            "./run setup installs it"
        )
    return newest


def postgres_of(data: Path) -> PostgresBinaries:
    """The programs that fit an existing data folder: those of the major version that made it."""
    major = int((data / "PG_VERSION").read_text().strip())
    for each in installed_postgres():
        if each.major == major:
            return each
    raise ProviderError(f"{data} was made by PostgreSQL {major}, which is not installed here; install it again")


def installed_postgres(candidates: Iterable[Path] | None = None) -> list[PostgresBinaries]:
    """Every complete PostgreSQL among the candidate folders (by default: the distribution's, then PATH)."""
    folders = dict.fromkeys(_usual_folders() if candidates is None else candidates)
    return [binaries for folder in folders if (binaries := _look_into(folder)) is not None]


def environment_for_servers() -> dict[str, str]:
    """The caller's environment without libpq's variables, which would point our programs at other servers."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def _usual_folders() -> Iterator[Path]:
    yield from sorted(DISTRIBUTION_FOLDERS.glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent


def _look_into(folder: Path) -> PostgresBinaries | None:
    if not all(os.access(folder / name, os.X_OK) for name in NEEDED):
        return None
    answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\(PostgreSQL\) ((\d+)\S*)", answer.stdout)
    if match is None:
        return None
    return PostgresBinaries(folder=folder, version=match[1], major=int(match[2]))
