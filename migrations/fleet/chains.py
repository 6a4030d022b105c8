"""Chains, and their revisions as SQL.

A chain's SQL from one revision to another is compiled once and replayed over psycopg wherever it is needed: Alembic's
`op` and `context` are process-wide, so Alembic itself in threads reports success for targets that it never touched.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from control_plane.domain.errors import CopyholdError, InvalidError

_alembic = threading.Lock()


class UnknownRevisionError(InvalidError):
    """There is no such revision."""

    code = "revision_unknown"


class BrokenChainError(CopyholdError):
    """The chain's revisions cannot be read."""

    code = "chain_broken"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Statements sent as one query: all in one transaction, or (`transactional` False) a single one outside of any."""

    transactional: bool
    sql: str


class _Statements:
    """Alembic's output in offline mode: one write a statement, so that no text has to be split."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self._open: list[str] | None = None

    def write(self, text: str) -> None:
        statement = text.strip()
        if statement == "BEGIN;":
            self._open = []
        elif statement == "COMMIT;":
            self._close()
        elif not all(line.lstrip().startswith("--") for line in statement.splitlines()):
            if self._open is None:
                self.phases.append(Phase(transactional=False, sql=statement))
            else:
                # A comment at the end of a statement would swallow the semicolon that Alembic put there.
                self._open.append(f"{statement}\n;" if "--" in statement.splitlines()[-1] else statement)

    def flush(self) -> None:
        """Nothing is held back."""

    def _close(self) -> None:
        if self._open:
            self.phases.append(Phase(transactional=True, sql="\n".join(self._open)))
        self._open = None


@dataclass(frozen=True, kw_only=True)
class Chain:
    """One Alembic chain at `package:folder`; `version_schema` is where its version stands if not beside its tables."""

    name: str
    location: str
    version_schema: str | None = None

    @property
    def head(self) -> str:
        """The newest revision."""
        return _revisions(self.location)[-1]

    @property
    def revisions(self) -> tuple[str, ...]:
        """Every revision, oldest first."""
        return _revisions(self.location)

    def checked(self, revision: str) -> str:
        """`revision` if it is one of the chain's ("head" is the newest), else UnknownRevisionError."""
        if revision == "head":
            return self.head
        if revision not in self.revisions:
            known = ", ".join(self.revisions)
            raise UnknownRevisionError(f"there is no revision {revision!r}; there are {known}", revision=revision)
        return revision

    def up_to(self, revision: str) -> tuple[str, ...]:
        """The revisions up to that one; none when the chain does not know it."""
        known = self.revisions
        return known[: known.index(revision) + 1] if revision in known else ()

    def upgrades(self, current: str | None, wanted: str) -> bool:
        """Whether `wanted` comes after `current`; a revision that this chain does not know is ahead of it."""
        if current is None:
            return True
        return current in self.revisions and self.revisions.index(current) < self.revisions.index(wanted)

    def compiled(self, current: str | None, wanted: str) -> tuple[Phase, ...]:
        """What leads from one revision to a later one, the version row included."""
        return _compiled(self.location, current, wanted)


CONTROL = Chain(name="control", location="migrations:control")
HOME = Chain(name="home", location="migrations:home", version_schema="tenancy")


def tenant_chain(location: str) -> Chain:
    """The chain of a tenant app."""
    return Chain(name="tenant", location=location)


@functools.cache
def _revisions(location: str) -> tuple[str, ...]:
    """Oldest first; BrokenChainError unless they are one line from a first to a last."""
    try:
        script = ScriptDirectory.from_config(_config(location))
        found = [revision.revision for revision in script.walk_revisions()]
        ends = len(script.get_bases()), len(script.get_heads())
        forked = any(revision.is_branch_point for revision in script.walk_revisions())
    except Exception as error:  # a revision is somebody's program, and may fail in any way
        raise BrokenChainError(f"the chain {location} cannot be read: {_first_line(error)}") from error
    if ends != (1, 1) or forked:
        raise BrokenChainError(f"the revisions of {location} are not one line from a first to a last")
    return tuple(reversed(found))


@functools.cache
def _compiled(location: str, current: str | None, wanted: str) -> tuple[Phase, ...]:
    statements = _Statements()
    config = _config(location)
    config.attributes["buffer"] = statements
    with _alembic:
        try:
            command.upgrade(config, f"{current}:{wanted}" if current else wanted, sql=True)
        except CommandError as error:
            raise UnknownRevisionError(str(error)) from error
        except Exception as error:
            raise BrokenChainError(f"{location} cannot be compiled to {wanted}: {_first_line(error)}") from error
    return tuple(statements.phases)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _config(location: str) -> Config:
    config = Config()
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    return config
