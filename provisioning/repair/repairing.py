"""The one way in: what could be repaired, and doing it, one repair after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg

from control_plane.domain.errors import CopyholdError
from control_plane.registry.engine import ControlDatabaseError
from control_plane.registry.workflows import DurableWorkflows
from migrations.fleet.words import in_words
from provisioning.doctor.examine import SETTLE_S, examine
from provisioning.doctor.findings import Finding, Report, in_order
from provisioning.estate import Estate
from provisioning.repair.carry_out import Tools, carry_out
from provisioning.repair.known import read_known
from provisioning.repair.look import look
from provisioning.repair.plan import GRACE, plan
from provisioning.repair.repairs import Repair

NEEDS_YES = "it is dangerous: only with --yes"


def _settle() -> None:
    time.sleep(SETTLE_S)


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong, and what could be done about it. Each repair that no check has found is a finding as well."""

    report: Report
    repairs: tuple[Repair, ...]

    def repair_of(self, finding: Finding) -> Repair | None:
        """The repair after which that finding is gone."""
        return next((each for each in self.repairs if each.mends(finding) or each.finding == finding), None)

    @property
    def well(self) -> bool:
        """Whether there is no error, and nothing that could be repaired."""
        return not self.report.errors and not self.repairs


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a repair. Without words it was done."""

    repair: Repair
    left: str | None = None
    """Why it was not done."""


def diagnose(
    estate: Estate,
    workflows: DurableWorkflows,
    *,
    settle: Callable[[], None] = _settle,
    grace: timedelta = GRACE,
) -> Diagnosis:
    """Examine everything, and plan its repair; changes nothing. With the control database down nothing is planned.

    What only one of two looks asks for is work in flight, and no repair.
    """
    report = examine(estate, settle=settle)
    try:
        repairs = _planned(estate, workflows, report.findings, grace)
        if any(not any(each.mends(finding) for finding in report.findings) for each in repairs):
            settle()
            again = {each.place: each for each in _planned(estate, workflows, report.findings, grace)}
            repairs = [again[each.place] for each in repairs if each.place in again]
    except ControlDatabaseError:
        repairs = []
    unfound = [each.finding for each in repairs if not any(each.mends(finding) for finding in report.findings)]
    findings = in_order({*report.findings, *unfound})
    return Diagnosis(report=replace(report, findings=findings), repairs=tuple(repairs))


def repair(tools: Tools, repairs: Sequence[Repair], *, yes: bool) -> Iterator[Outcome]:
    """Carry them out in their order, telling of each as it is done; dangerous ones only with `yes`.

    One that fails is told of, and the others go on.
    """
    for each in repairs:
        if each.held is not None:
            yield Outcome(repair=each, left=each.held)
        elif each.dangerous and not yes:
            yield Outcome(repair=each, left=NEEDS_YES)
        else:
            yield _done(tools, each)


def _done(tools: Tools, each: Repair) -> Outcome:
    try:
        carry_out(tools, each)
    except (CopyholdError, psycopg.Error) as error:
        return Outcome(repair=each, left=in_words(error))
    return Outcome(repair=each)


def _planned(
    estate: Estate, workflows: DurableWorkflows, findings: Sequence[Finding], grace: timedelta
) -> list[Repair]:
    known, roll = read_known(estate, workflows, grace)
    return plan(known, look(estate, known, roll), findings, grace=grace)
