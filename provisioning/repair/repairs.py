"""The kinds of repairs, and one repair: what is wrong where, and what would be done about it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from provisioning.doctor import compare, parts
from provisioning.doctor.findings import Check, Finding, Severity


class Kind(enum.StrEnum):
    """What is mended; the names are part of the public surface. They are carried out in this order."""

    RUN_DEAD = "run_dead"
    WORKFLOW_LOST = "workflow_lost"
    SERVER_ROLES = "server_roles"
    POOLER_DRIFT = "pooler_drift"
    SLOT_ORPHAN = "slot_orphan"
    PUBLICATION_ORPHAN = "publication_orphan"
    MOVE_LOST = "move_lost"
    DATABASE_ORPHAN = "database_orphan"
    SCHEMA_ORPHAN = "schema_orphan"
    FENCE_MISSING = "fence_missing"
    FENCE_STATE = "fence_state"
    FENCE_ORPHAN = "fence_orphan"
    ROLE_ORPHAN = "role_orphan"
    LEFTOVER = "leftover"
    TEMPLATE_OLD = "template_old"
    TEMPLATE_OPEN = "template_open"
    UNHARDENED = "unhardened"
    KEY = "key"
    INDEX_INVALID = "index_invalid"
    SILO_OLD = "silo_old"
    SILOS_SHORT = "silos_short"
    TENANT_UNFINISHED = "tenant_unfinished"


LOGIN_CHECKS = frozenset({
    "login_missing", "login_attributes", "login_membership", "login_settings", "login_privileges",
    "login_platform_table", "login_function", "login_schema", "login_database", "login_parameter", "taken_function",
    "taken_view", "language_usage", "leakproof_function", "public_schema", "public_table", "public_function",
    "default_privileges",
})  # fmt: skip
"""What a home is hardened anew for: an older version built it, or somebody has granted something since."""

MENDED: Mapping[Kind, frozenset[str]] = {
    Kind.SERVER_ROLES: frozenset({"platform_role", "public_database"}),
    Kind.POOLER_DRIFT: frozenset({parts.POOLER_DRIFT.name}),
    Kind.MOVE_LOST: frozenset({compare.MOVE_LOST.name}),
    Kind.DATABASE_ORPHAN: frozenset({compare.DATABASE_ORPHAN.name}),
    Kind.SCHEMA_ORPHAN: frozenset({compare.SCHEMA_ORPHAN.name}),
    Kind.FENCE_ORPHAN: frozenset({compare.FENCE_ORPHAN.name}),
    Kind.ROLE_ORPHAN: frozenset({compare.ROLE_ORPHAN.name}),
    Kind.TEMPLATE_OPEN: frozenset({"template_open", "template_key"}),
    Kind.UNHARDENED: LOGIN_CHECKS,
    Kind.KEY: frozenset({compare.KEY_MISSING.name, compare.KEY_COPIED.name}),
    Kind.FENCE_MISSING: frozenset({compare.FENCE_MISSING.name}),
    Kind.FENCE_STATE: frozenset({compare.FENCE_STATE.name}),
    Kind.INDEX_INVALID: frozenset({"index_invalid"}),
    Kind.TENANT_UNFINISHED: frozenset({compare.TENANT_STUCK.name, compare.TENANT_FAILED.name}),
}
"""By kind, the doctor's checks that it answers. Kinds that are missing here are found by the plan alone."""
WHOLE_DATABASE = frozenset({Kind.UNHARDENED, Kind.KEY, Kind.INDEX_INVALID, Kind.TEMPLATE_OPEN})
WHOLE_SERVER = frozenset({Kind.SERVER_ROLES})


@dataclass(frozen=True, kw_only=True)
class Repair:
    """One thing to mend."""

    kind: Kind
    server: str | None = None
    database: str | None = None
    object: str | None = None
    what: str
    """What is wrong, in words."""
    do: str
    """What will be done, in words."""
    dangerous: bool = False
    """Whether data is dropped or somebody is let in: only with a yes."""
    held: str | None = None
    """Why it is not done now, whoever says yes; None when it may be."""
    opens: bool = False
    """Whether it opens a fence."""
    subject: UUID | None = None
    """The tenant or run that it is about."""

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What makes it the same repair when it is planned again."""
        return (self.kind, self.server or "", self.database or "", self.object or "")

    def mends(self, finding: Finding) -> bool:
        """Whether that finding is gone once this is done."""
        if finding.check not in MENDED.get(self.kind, ()):
            return False
        if self.kind is Kind.POOLER_DRIFT:
            return True
        if self.kind is Kind.TEMPLATE_OPEN:
            return finding.server == self.server and self.database in {finding.database, finding.object}
        if self.kind in WHOLE_SERVER:
            return finding.server == self.server
        there = (finding.server, finding.database) == (self.server, self.database)
        return there and (self.kind in WHOLE_DATABASE or finding.object == self.object)

    @property
    def finding(self) -> Finding:
        """As the doctor's report has it, where none of its own checks has found it."""
        check = Check(self.kind, Severity.WARNING, self.what, "`copyhold doctor --repair`: " + _escaped(self.do))
        return check.finding(server=self.server, database=self.database, object=self.object)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
