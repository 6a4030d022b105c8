"""The tables of the control database. `migrations/control` builds them; a test holds the two together.

Who imports one imports all: foreign keys name tables of other subjects.
"""

from control_plane.registry.tables.base import Base
from control_plane.registry.tables.fleet import (
    FleetRow,
    MigrationRunRow,
    MigrationTargetRow,
    ProcessRow,
    RevisionRow,
    ShapeRow,
    TargetRow,
)
from control_plane.registry.tables.moves import DryRunRow, MoveRow, MoveRunRow
from control_plane.registry.tables.people import AuditRow, StaffRow, StaffTokenRow
from control_plane.registry.tables.servers import DatabaseRow, ServerRow
from control_plane.registry.tables.tenants import (
    ApiKeyRow,
    ChangeRow,
    FeedRow,
    HomeRow,
    PendingOwnerRow,
    PlanChangeRow,
    RouteRow,
    TenantRow,
)
from control_plane.registry.tables.work import ExportRow, ProgressRow, WorkflowRow

__all__ = [
    "ApiKeyRow",
    "AuditRow",
    "Base",
    "ChangeRow",
    "DatabaseRow",
    "DryRunRow",
    "ExportRow",
    "FeedRow",
    "FleetRow",
    "HomeRow",
    "MigrationRunRow",
    "MigrationTargetRow",
    "MoveRow",
    "MoveRunRow",
    "PendingOwnerRow",
    "PlanChangeRow",
    "ProcessRow",
    "ProgressRow",
    "RevisionRow",
    "RouteRow",
    "ServerRow",
    "ShapeRow",
    "StaffRow",
    "StaffTokenRow",
    "TargetRow",
    "TenantRow",
    "WorkflowRow",
]
