"""What the doctor says: findings, the checks they come from, and the report that holds them together."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field


class Severity(enum.StrEnum):
    """How bad a finding is: an error voids a promise or stops somebody's work, a warning may come to that."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it must be, and what to do about it."""

    severity: Severity
    check: str
    """Stable name; part of the public surface."""
    server: str | None = None
    database: str | None = None
    object: str | None = None
    what: str
    remedy: str

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What makes it the same finding when it is found again."""
        return (self.check, self.server or "", self.database or "", self.object or "")


@dataclass(frozen=True)
class Check:
    """Something that is looked at: its name, and what is said when it is not well.

    `remedy` may name {server}, {database} and {object}.
    """

    name: str
    severity: Severity
    what: str
    remedy: str

    def finding(
        self,
        *,
        server: str | None = None,
        database: str | None = None,
        object: str | None = None,
        detail: str | None = None,
    ) -> Finding:
        """The finding of this check at one place."""
        return Finding(
            severity=self.severity,
            check=self.name,
            server=server,
            database=database,
            object=object,
            what=f"{self.what}: {detail}" if detail else self.what,
            remedy=self.remedy.format(server=server, database=database, object=object),
        )


@dataclass(frozen=True, kw_only=True)
class LookedAt:
    """How much was looked at, so that silence can be told from blindness."""

    servers: int = 0
    databases: int = 0
    tables: int = 0
    tenants: int = 0
    checks: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was found, errors first."""

    findings: tuple[Finding, ...]
    looked_at: LookedAt = field(default_factory=LookedAt)
    duration_ms: int = 0

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity is Severity.ERROR for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by check and place."""
    return tuple(sorted(findings, key=lambda finding: (finding.severity is not Severity.ERROR, finding.place)))


def confirmed(first: Iterable[Finding], again: Iterable[Finding]) -> list[Finding]:
    """Those of `again` that were there the first time too: the rest was work in flight."""
    before = {finding.place for finding in first}
    return [finding for finding in again if finding.place in before]
