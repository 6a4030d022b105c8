"""From problems to findings: what PostgreSQL was seen to do has the last word, and a revision may accept a rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from migrations.lint import rules
from migrations.lint.module import left_open, module_problems
from migrations.lint.squawk import statement_problems
from migrations.lint.subject import Place, Problem, Severity, Subject


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule that a revision breaks, and what to do about it. `accepted` is the revision's own reason to do so."""

    file: str
    revision: str
    rule: str
    severity: Severity
    where: str | None
    what: str
    remedy: str
    accepted: str | None = None


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What one revision did to a database."""

    long: Mapping[Place, str | None]
    """Each statement in a transaction that was watched; where others would wait long for it, for what."""
    problems: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found in which revisions, oldest first; errors first within each."""

    revisions: tuple[str, ...]
    findings: tuple[Finding, ...]
    accepted: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many are not."""
        return len(self.findings) - self.errors


def finished(subject: Subject) -> bool:
    """Whether there is a revision to look at: one that can be compiled, with nothing left open."""
    return subject.failure is None and not any(left_open(subject))


def judge(subjects: Sequence[Subject], watched: Mapping[str, Watched] | None = None) -> Report:
    """What is found in those revisions: from their text alone or, with `watched`, as a database saw them."""
    findings: list[Finding] = []
    for subject in subjects:
        problems = _problems(subject, None if watched is None else watched.get(subject.name))
        found = [_finding(subject, problem) for problem in problems]
        if watched is not None and finished(subject):
            found += _needless(subject, problems)
        findings += sorted(dict.fromkeys(found), key=lambda finding: finding.severity is not Severity.ERROR)
    return Report(
        revisions=tuple(subject.name for subject in subjects),
        findings=tuple(finding for finding in findings if finding.accepted is None),
        accepted=tuple(finding for finding in findings if finding.accepted is not None),
    )


def _problems(subject: Subject, watched: Watched | None) -> list[Problem]:
    if subject.failure is not None:
        return [*left_open(subject), subject.problem(rules.FAILS, detail=subject.failure)]
    if not finished(subject):
        return list(left_open(subject))
    found = [*module_problems(subject), *statement_problems(subject)]
    if subject.way_back_failure is not None:
        found.append(subject.problem(rules.DOWNGRADE_FAILS, detail=subject.way_back_failure))
    return found if watched is None else list(_as_seen(subject, found, watched))


def _as_seen(subject: Subject, read: Sequence[Problem], watched: Watched) -> Iterator[Problem]:
    """What was read in the text, corrected by what happened, then what only happened."""
    for problem in read:
        long = watched.long.get(problem.place) if problem.place is not None else None
        harmless = problem.place in watched.long and long is None
        if problem.rule is not rules.UNREADABLE and not (problem.rule.name in rules.LONG and harmless):
            yield replace(problem, detail=long) if problem.rule.name in rules.LONG else problem
    told = {
        problem.place for problem in read if problem.rule.name in rules.LONG or problem.rule is rules.REQUIRED_FIELD
    }
    for place, long in watched.long.items():
        if long is not None and place not in told:
            yield subject.problem(rules.LONG_LOCK, place=place, detail=long)
    broken = {problem.rule.name for problem in read}
    wrong = {problem.place for problem in read if problem.rule.severity is Severity.ERROR and problem.place}
    for problem in watched.problems:
        if problem.rule.name not in broken and not (problem.rule is rules.FAILS and problem.place in wrong):
            yield problem


def _needless(subject: Subject, problems: Iterable[Problem]) -> list[Finding]:
    broken = {problem.rule.name for problem in problems}
    return [
        _finding(subject, subject.problem(rules.ACCEPTANCE_UNNEEDED, where=rule))
        for rule in subject.accepted
        if rule not in broken
    ]


def _finding(subject: Subject, problem: Problem) -> Finding:
    rule = problem.rule
    return Finding(
        file=_shown(subject.file),
        revision=subject.name,
        rule=rule.name,
        severity=rule.severity,
        where=problem.where,
        what=f"{rule.what}: {problem.detail}" if problem.detail else rule.what,
        remedy=rule.remedy,
        accepted=subject.accepted.get(rule.name),
    )


def _shown(file: Path) -> str:
    """As it would be named from here."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)
