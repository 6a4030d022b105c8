"""What single statements lock, rewrite and break, as squawk sees it: a linter that parses SQL and needs no database.

Only those of its rules count that `rules` names. The others are about taste, or about what a run sees to by itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from control_plane.domain.errors import SetupError
from migrations.fleet.chains import Phase
from migrations.lint.rules import BREAKING, BRIEF, EXPAND_BREAKS, LONG, LOSING, UNREADABLE
from migrations.lint.subject import Place, Problem, Subject

PG_VERSION = "15"
"""The oldest that homes run on."""
SYNTAX_ERROR = "syntax-error"
OF_CONSTRAINTS = "constraint-missing-not-valid"
"""Said of every constraint, and again by the rules on foreign and unique keys."""
OPT_IN = "ban-drop-view,ban-drop-function,ban-drop-type,ban-set-schema,renaming-object"
COMMAND = (
    f"--pg-version={PG_VERSION}",
    "--reporter=json",
    f"--include={OPT_IN},require-concurrent-partition-detach",
    "--config=/dev/null",  # otherwise one in any folder above would count
)


class SquawkError(SetupError):
    """The program squawk, of the Python package squawk-cli, is missing or failed."""

    code = "squawk"


@dataclass(frozen=True)
class Said:
    """One of squawk's rules, broken by one statement."""

    rule: str
    place: Place


def statement_problems(subject: Subject) -> Iterator[Problem]:
    """What its upgrade's statements do to tables that were there before it."""
    said = look(subject.phases, subject.statements)
    readable = [each for each in said if each.rule != SYNTAX_ERROR]
    for place in dict.fromkeys(each.place for each in said if each.rule == SYNTAX_ERROR):
        yield subject.problem(UNREADABLE, place=place)
    told = {each.place for each in readable if each.rule in LONG and each.rule != OF_CONSTRAINTS}
    for each in dict.fromkeys(readable):
        rule = LONG.get(each.rule) or BRIEF.get(each.rule)
        if rule is not None and not (each.rule == OF_CONSTRAINTS and each.place in told):
            yield subject.problem(rule, place=each.place)
        elif each.rule in BREAKING and subject.expands:
            yield subject.problem(EXPAND_BREAKS, place=each.place)


def loses_data(phases: Iterable[Phase]) -> bool:
    """Whether these statements drop a column or a table that they did not make."""
    return any(each.rule in LOSING for each in look(tuple(phases)))


def look(phases: tuple[Phase, ...], only: Collection[Place] | None = None) -> list[Said]:
    """What squawk says, in the statements' order; of a statement that it cannot read, nothing but that."""
    places = {
        (number, each): statement
        for number, phase in enumerate(phases)
        for each, statement in enumerate(phase.statements)
        if only is None or (number, each) in only
    }
    said = _ask(phases, places)
    unreadable = [each for each in said if each.rule == SYNTAX_ERROR]
    if not unreadable:
        return said
    # One statement that it cannot read keeps it from looking at all the others.
    rest = {place: text for place, text in places.items() if place not in {each.place for each in unreadable}}
    return sorted({*unreadable, *_ask(phases, rest)}, key=lambda each: (each.place, each.rule))


def _ask(phases: tuple[Phase, ...], statements: dict[Place, str]) -> list[Said]:
    lines: list[Place | None] = []
    script: list[str] = []

    def write(text: str, place: Place | None) -> None:
        # Nobody accepts anything in a comment: that is done in the revision, with a reason.
        script.append(text.replace("squawk-ignore", "squawk ignore"))
        lines.extend([place] * (text.count("\n") + 1))

    for number, phase in enumerate(phases):
        mine = [(place, text) for place, text in statements.items() if place[0] == number]
        for text, place in [("BEGIN;", None), *((text, place) for place, text in mine), ("COMMIT;", None)]:
            if place is not None or phase.transactional:
                write(text, place)
    # An end of the script that it did not expect is on the line after the last.
    found = ((rule, lines[min(line, len(lines) - 1)]) for rule, line in _run("\n".join(script)))
    return [Said(rule, place) for rule, place in found if place is not None]


def _run(script: str) -> list[tuple[str, int]]:
    """The rules that it says are broken, each with its line."""
    done = subprocess.run([_program(), *COMMAND], input=script, capture_output=True, text=True, check=False)
    try:
        return [(finding["rule_name"], finding["line"]) for finding in json.loads(done.stdout)]
    except ValueError as error:
        raise SquawkError(f"squawk failed: {done.stderr.strip() or done.stdout.strip()}") from error


def _program() -> str:
    beside = Path(sys.executable).with_name("squawk")
    found = str(beside) if beside.exists() else shutil.which("squawk")
    if found is None:
        raise SquawkError("the program squawk is not installed: it comes with the Python package squawk-cli")
    return found
