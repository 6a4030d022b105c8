"""What lint looks at: one revision, read whole; and what it says of it: problems, in the words of a rule."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, ModuleType

from control_plane.domain.errors import CopyholdError
from migrations.fleet.chains import BrokenChainError, Chain, Phase

WHERE_SHOWN = 100
VERSION_ROW = re.compile(r"(?:CREATE TABLE|INSERT INTO|UPDATE|DELETE FROM) (?:\w+\.)?alembic_version\b")
"""How the statements begin that Alembic itself adds."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

Place = tuple[int, int]
"""A statement of a revision's upgrade: the number of its phase, and its own in that."""


class Severity(enum.StrEnum):
    """How bad it is: an error hurts a tenant or stops a run, a warning may."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A name that can be accepted, and what is said of whoever breaks it."""

    name: str
    severity: Severity
    what: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A rule broken in a revision."""

    revision: str
    rule: Rule
    place: Place | None = None
    where: str | None = None
    """The statement, or whatever else it is about."""
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One revision. What cannot be compiled has no phases and says why in `failure`."""

    name: str
    before: str | None
    file: Path
    source: str
    module: ModuleType
    phases: tuple[Phase, ...] = ()
    failure: str | None = None
    way_back: tuple[Phase, ...] = ()
    """Empty where the revision cannot be taken back, or may not."""
    way_back_failure: str | None = None

    @property
    def expands(self) -> bool | None:
        """What it says; None when it does not."""
        said = vars(self.module).get("expands")
        return said if isinstance(said, bool) else None

    @property
    def python(self) -> bool:
        """Whether Alembic runs it, with a connection."""
        return bool(vars(self.module).get("python", False))

    @property
    def accepted(self) -> Mapping[str, str]:
        """By rule, why breaking it is right here."""
        said = vars(self.module).get("accepted", {})
        return MappingProxyType({str(rule): str(why) for rule, why in dict(said).items()})

    @property
    def statements(self) -> Mapping[Place, str]:
        """Its own statements; not those of the version row."""
        return {
            (number, each): statement
            for number, phase in enumerate(self.phases)
            for each, statement in enumerate(phase.statements)
            if not VERSION_ROW.match(statement)
        }

    def outside(self, place: Place) -> bool:
        """Whether that statement runs outside of any transaction."""
        return not self.phases[place[0]].transactional

    def problem(
        self, rule: Rule, *, place: Place | None = None, where: str | None = None, detail: str | None = None
    ) -> Problem:
        """That rule broken here."""
        if where is None and place is not None and place in self.statements:
            where = in_short(self.statements[place])
        return Problem(revision=self.name, rule=rule, place=place, where=where, detail=detail)


def subject(chain: Chain, revision: str) -> Subject:
    """That revision; BrokenChainError when the chain itself cannot be read."""
    script = chain.script(revision)
    before = chain.described(revision).before
    found = Subject(
        name=revision, before=before, file=Path(script.path), source=Path(script.path).read_text(), module=script.module
    )
    try:
        found = replace(found, phases=chain.compiled(before, revision))
    except BrokenChainError as error:
        return replace(found, failure=error.message)
    if before is None or found.python or not hasattr(script.module, "downgrade"):
        return found
    try:
        return replace(found, way_back=chain.compiled(revision, before))
    except BrokenChainError as error:
        return replace(found, way_back_failure=error.message)
    except CopyholdError:  # it says that there is no way back
        return found


def without_comments(statement: str) -> str:
    """The statement; a string that looks like a comment goes as well."""
    return _COMMENT.sub(" ", statement)


def in_short(statement: str) -> str:
    """A statement's beginning, in one line."""
    line = " ".join(without_comments(statement).split())
    return line if len(line) <= WHERE_SHOWN else line[: WHERE_SHOWN - 1] + "…"
