"""Rules on what a revision's module says, and on the shape of its steps."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator

from migrations.fleet.chains import Phase
from migrations.fleet.writing import OPEN
from migrations.lint import rules
from migrations.lint.squawk import loses_data
from migrations.lint.subject import VERSION_ROW, Problem, Subject, in_short, without_comments

_CONNECTION = re.compile(r"\bget_bind\(|\bget_context\(\)\s*\.\s*(?:bind|connection)\b")
_SAYS_WHAT_IS_LOST = re.compile(r"\b(?:los(?:e|es|t|ing)|loss)\b", re.IGNORECASE)
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_MADE_OR_DROPPED = re.compile(r"\s*(?:CREATE|DROP|ALTER\s+TYPE)\b", re.IGNORECASE)
_IF = re.compile(r"\bIF\s+(?:NOT\s+)?EXISTS\b|\bOR\s+REPLACE\b", re.IGNORECASE)
_TRANSACTION = re.compile(r"\s*(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT)\b(?!\s+TO\b)", re.IGNORECASE)
_QUALIFIED = re.compile(r"(?<![\w.\"])\"?public\"?\s*\.\s*[\"\w]", re.IGNORECASE)


def module_problems(subject: Subject) -> Iterator[Problem]:
    """Whatever can be said without a look at what the statements do."""
    rules_of_revisions: tuple[Callable[[Subject], Iterable[Problem]], ...] = (
        _says_expands,
        _needs_its_python,
        _keeps_phases_apart,
        _can_be_repeated,
        _builds_outside,
        _leaves_transactions_alone,
        _names_no_schema,
        _says_what_is_lost,
        _gives_reasons,
    )
    for rule in rules_of_revisions:
        yield from rule(subject)


def left_open(subject: Subject) -> Iterator[Problem]:
    """The lines that `migrate new` left to be filled in."""
    for number, line in enumerate(subject.source.splitlines(), start=1):
        if OPEN in line:
            yield subject.problem(rules.UNFINISHED, where=f"line {number}: {line.strip()}")


def _says_expands(subject: Subject) -> Iterator[Problem]:
    if subject.expands is None:
        yield subject.problem(rules.EXPANDS_UNSAID)


def _needs_its_python(subject: Subject) -> Iterator[Problem]:
    if subject.python and not _CONNECTION.search(subject.source):
        yield subject.problem(rules.PYTHON_UNNEEDED)


def _keeps_phases_apart(subject: Subject) -> Iterator[Problem]:
    outside = [place for place in subject.statements if subject.outside(place)]
    inside = [place for place in subject.statements if not subject.outside(place)]
    if outside and inside:
        yield subject.problem(rules.MIXED_PHASES, place=inside[0])


def _can_be_repeated(subject: Subject) -> Iterator[Problem]:
    for place, statement in subject.statements.items():
        bare = without_comments(statement)
        if subject.outside(place) and _MADE_OR_DROPPED.match(bare) and not _IF.search(bare):
            yield subject.problem(rules.NOT_REPEATABLE, place=place)


def _builds_outside(subject: Subject) -> Iterator[Problem]:
    for place, statement in subject.statements.items():
        bare = without_comments(statement)
        if not subject.outside(place) and _MADE_OR_DROPPED.match(bare) and _CONCURRENTLY.search(bare):
            yield subject.problem(rules.CONCURRENTLY_INSIDE, place=place)


def _leaves_transactions_alone(subject: Subject) -> Iterator[Problem]:
    for place, statement in subject.statements.items():
        if _TRANSACTION.match(without_comments(statement)):
            yield subject.problem(rules.TRANSACTION_BY_HAND, place=place)


def _names_no_schema(subject: Subject) -> Iterator[Problem]:
    for place, statement in subject.statements.items():
        if _QUALIFIED.search(without_comments(statement)):
            yield subject.problem(rules.QUALIFIED_NAME, place=place)
    for text in dict.fromkeys((*_sent(subject.way_back), *_strings(subject))):
        if _QUALIFIED.search(without_comments(text)):
            yield subject.problem(rules.QUALIFIED_NAME, where=in_short(text))


def _says_what_is_lost(subject: Subject) -> Iterator[Problem]:
    said = getattr(getattr(subject.module, "downgrade", None), "__doc__", None) or ""
    if loses_data(subject.way_back) and not _SAYS_WHAT_IS_LOST.search(said):
        yield subject.problem(rules.DOWNGRADE_LOSES_DATA)


def _gives_reasons(subject: Subject) -> Iterator[Problem]:
    for rule, why in subject.accepted.items():
        if not why.strip():
            yield subject.problem(rules.ACCEPTANCE_UNREASONED, where=rule)


def _sent(phases: Iterable[Phase]) -> Iterator[str]:
    for phase in phases:
        yield from (statement for statement in phase.statements if not VERSION_ROW.match(statement))


def _strings(subject: Subject) -> Iterator[str]:
    """What a revision in Python may send: its strings, since it cannot be compiled."""
    if not subject.python:
        return
    tree = ast.parse(subject.source)
    told = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in told:
            yield node.value
