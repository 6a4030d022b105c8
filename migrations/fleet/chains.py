"""Chains, and their revisions as SQL.

A chain's SQL from one revision to another is compiled once and replayed over psycopg wherever it is needed: Alembic's
`op` and `context` are process-wide, so Alembic itself in threads reports success for targets that it never touched.
"""

from __future__ import annotations

import functools
import itertools
import threading
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from control_plane.domain.errors import CopyholdError, InvalidError

_alembic = threading.Lock()


class UnknownRevisionError(InvalidError):
    """There is no such revision."""

    code = "revision_unknown"


class BrokenChainError(CopyholdError):
    """The chain's revisions cannot be read."""

    code = "chain_broken"


class NoWayBackError(InvalidError):
    """A revision on the way cannot be taken back."""

    code = "no_way_back"


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a revision says of itself, by names in its module."""

    name: str
    before: str | None
    message: str
    expands: bool
    """Whether app versions that know only the revision before go on working: `expands`, False when it does not say."""
    python: bool
    """Whether it needs Alembic itself, with a connection: `python`. Nothing of it can be shown or compiled."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Statements sent as one query: all in one transaction, or (`transactional` False) a single one outside of any.

    A phase of a revision in Python has no statements: Alembic runs the revision.
    """

    transactional: bool
    sql: str
    before: str | None
    """The version that a target is at when the phase begins."""
    after: str | None
    """And when it has ended: another only for the last phase of a revision."""
    python: bool = False
    statements: tuple[str, ...] = ()
    """What `sql` is made of: each as one op.execute sent it."""


class _Statements:
    """Alembic's output in offline mode: one write a statement, so that no text has to be split."""

    def __init__(self) -> None:
        self.queries: list[tuple[bool, tuple[str, ...]]] = []
        """Whether it is a transaction, and its statements."""
        self._open: list[str] | None = None

    def write(self, text: str) -> None:
        statement = text.strip()
        if statement in {"BEGIN;", "COMMIT;"}:
            # One of the revision's own would be taken for Alembic's, and what came before it would be lost.
            if (self._open is None) != (statement == "BEGIN;"):
                raise ValueError("a transaction is begun or ended by hand")
            if self._open:
                self.queries.append((True, tuple(self._open)))
            self._open = [] if statement == "BEGIN;" else None
        elif not all(line.lstrip().startswith("--") for line in statement.splitlines()):
            if self._open is None:
                self.queries.append((False, (statement,)))
            else:
                # A comment at the end of a statement would swallow the semicolon that Alembic put there.
                self._open.append(f"{statement}\n;" if "--" in statement.splitlines()[-1] else statement)

    def flush(self) -> None:
        """Nothing is held back."""


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

    def described(self, revision: str) -> Revision:
        """What that revision says of itself."""
        return _described(self.location, revision)

    def script(self, revision: str) -> Script:
        """Alembic's own of that revision: its file and its module."""
        script = _scripts(self.location).get_revision(revision)
        assert script is not None
        return script

    @property
    def folder(self) -> Path:
        """Where its env.py and its versions are."""
        return Path(_scripts(self.location).dir)

    def way(self, current: str | None, wanted: str) -> tuple[tuple[str | None, str], ...]:
        """Each revision left and the one come to, from `current` to an earlier or later `wanted`, one at a time."""
        known = self.revisions
        for revision in (current, wanted):
            if revision is not None and revision not in known:
                raise UnknownRevisionError(f"there is no revision {revision!r}", revision=revision)
        start, end = (-1 if current is None else known.index(current)), known.index(wanted)
        places: list[str | None] = [None, *known]
        path = places[start + 1 : end + 2] if start <= end else places[end + 1 : start + 2][::-1]
        return tuple((left, str(come)) for left, come in itertools.pairwise(path))

    def compiled(self, current: str | None, wanted: str) -> tuple[Phase, ...]:
        """What leads from one revision to another, the version row included. NoWayBackError for some earlier ones."""
        passages = (_passage(self.location, left, come) for left, come in self.way(current, self.checked(wanted)))
        return tuple(itertools.chain.from_iterable(passages))


CONTROL = Chain(name="control", location="migrations:control")
HOME = Chain(name="home", location="migrations:home", version_schema="tenancy")


def tenant_chain(location: str) -> Chain:
    """The chain of a tenant app."""
    return Chain(name="tenant", location=location)


@functools.cache
def _scripts(location: str) -> ScriptDirectory:
    """Read once: every module of the chain is executed for it."""
    return ScriptDirectory.from_config(config_of(location))


@functools.cache
def _revisions(location: str) -> tuple[str, ...]:
    """Oldest first; BrokenChainError unless they are one line from a first to a last."""
    try:
        script = _scripts(location)
        found = [revision.revision for revision in script.walk_revisions()]
        ends = len(script.get_bases()), len(script.get_heads())
        forked = any(revision.is_branch_point for revision in script.walk_revisions())
    except Exception as error:  # a revision is somebody's program, and may fail in any way
        raise BrokenChainError(f"the chain {location} cannot be read: {_first_line(error)}") from error
    if ends != (1, 1) or forked:
        raise BrokenChainError(f"the revisions of {location} are not one line from a first to a last")
    return tuple(reversed(found))


@functools.cache
def _described(location: str, revision: str) -> Revision:
    script = _scripts(location).get_revision(revision)
    assert script is not None
    return Revision(
        name=script.revision,
        before=str(script.down_revision) if script.down_revision else None,
        message=(script.doc or "").partition("\n")[0],
        expands=bool(getattr(script.module, "expands", False)),
        python=bool(getattr(script.module, "python", False)),
    )


@functools.cache
def _passage(location: str, left: str | None, come: str) -> tuple[Phase, ...]:
    """One revision further, or one back."""
    up = left is None or _revisions(location).index(left) < _revisions(location).index(come)
    if _described(location, come if up else str(left)).python:
        return (Phase(transactional=False, sql="", before=left, after=come, python=True),)
    statements = _Statements()
    config = config_of(location)
    config.attributes["buffer"] = statements
    with _alembic:
        try:
            move = command.upgrade if up else command.downgrade
            move(config, f"{left}:{come}" if left else come, sql=True)
        except NotImplementedError as error:
            raise NoWayBackError(f"{left} cannot be taken back: {error}", revision=left) from error
        except Exception as error:
            raise BrokenChainError(f"{location} cannot be compiled to {come}: {_first_line(error)}") from error
    last = len(statements.queries) - 1
    return tuple(
        Phase(
            transactional=transactional,
            sql="\n".join(sent),
            before=left,
            after=come if number == last else left,
            statements=sent,
        )
        for number, (transactional, sent) in enumerate(statements.queries)
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def config_of(location: str) -> Config:
    """Alembic's configuration for the chain there."""
    config = Config()
    config.set_main_option("script_location", location)
    config.set_main_option("path_separator", "os")
    return config
