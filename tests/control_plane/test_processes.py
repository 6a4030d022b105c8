"""The platform's own processes, as staff see them."""

from __future__ import annotations

from datetime import UTC, datetime

from control_plane.domain.ids import new_id
from control_plane.registry import processes
from control_plane.registry.engine import transaction
from control_plane.registry.processes import Process
from control_plane.staff.roles import StaffRole
from tests.control_plane.house import ControlPlane


async def test_staff_see_which_processes_are_alive_and_what_they_work_with(fresh: ControlPlane) -> None:
    told = Process(
        id=new_id(),
        kind="api",
        place="host/1",
        code_version="1.0",
        revisions=("0001", "0002"),
        started_at=datetime.now(UTC),
    )
    support = fresh.staff(StaffRole.SUPPORT)
    assert (await support.get("/admin/processes")).json() == {"items": []}
    with transaction(fresh.engine) as session:
        processes.announce(session, told)
    (shown,) = (await support.get("/admin/processes")).json()["items"]
    assert shown["id"] == str(told.id)
    assert (shown["kind"], shown["place"], shown["code_version"]) == ("api", "host/1", "1.0")
    assert shown["revisions"] == ["0001", "0002"]
    with transaction(fresh.engine) as session:
        processes.leave(session, told.id)
    assert (await support.get("/admin/processes")).json() == {"items": []}
