"""Every kind of workflow as tests have it: how one comes to be wished, and what there is when it has done its work."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from control_plane.domain import names
from control_plane.domain.lifecycle import TransitionError
from control_plane.domain.moving import Phase
from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import dry_runs, exports, placing, servers, tenants, warm, workflow_records
from control_plane.registry import workflows as kinds
from control_plane.registry.engine import transaction
from control_plane.registry.servers import READY
from control_plane.registry.tables import WorkflowRow
from control_plane.tenants import exporting, foretelling, moving, retrying, rotating, service
from migrations.fleet.chains import HOME
from provisioning.exports import manifest
from tests.moves.whole import journeys
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest
from tests.provisioning import stock
from tests.provisioning.erased import AT_ONCE, close, fence_of, left_of, place_of, reopen, row_of, tombstone
from tests.provisioning.homes import everything_of
from tests.provisioning.workers import Workers
from tests.waiting import until

HALTED_WITHIN_S = 300.0
"""A hundred workflows, on a machine that has other things to do."""
AGAIN = {("audit", "tenant.fail"), ("audit", "tenant.create_again")}
"""What tells that a tenant was not made at the first try."""
_NUMBERED = re.compile(r"\b(pool|bridge)_\d+\b")


class Life:
    """One workflow of a kind that is about to be wished."""

    kind: ClassVar[str]
    models: ClassVar[tuple[Model, ...]] = (Model.POOL,)
    of_a_tenant: ClassVar[bool] = True
    """Whether it needs a tenant that is made."""
    alone: ClassVar[bool] = False
    """Whether there is but one at a time, since all would have the same subject."""

    def __init__(self, platform: PlatformUnderTest, model: Model) -> None:
        self.platform = platform
        self.model = model
        self.workflow_id = ""
        if self.of_a_tenant:
            self.tenant = newcomer(platform, model)

    def prepare(self) -> None:
        """What has to be done to the tenant, by a workflow, before this can be wished."""

    def wish(self) -> UUID:
        """Have it start; its subject."""
        raise NotImplementedError

    def halted(self) -> None:
        """Called when it has halted somewhere, and its worker is still alive."""

    def killed(self) -> None:
        """Called when its worker is dead, and no other has come yet."""

    def check(self, undisturbed: TenantUnderTest) -> None:
        """Fails unless all is as it is to be; `undisturbed` is another tenant of the same model."""
        raise NotImplementedError

    def begin(self) -> str:
        """Have it start; its id."""
        self.workflow_id = newest(self.platform, self.kind, self.wish())
        return self.workflow_id

    def again(self) -> None:
        """Have it start again once it has failed."""
        with transaction(self.platform.engine) as session:
            self.workflow_id = retrying.retry_workflow(session, self.platform.workflows, self.workflow_id, "tests")


class _OfATenant(Life):
    """Whose wish is an action on the tenant."""

    status: ClassVar[Status]
    fence: ClassVar[str]

    def act(self) -> None:
        raise NotImplementedError

    def wish(self) -> UUID:
        self.act()
        return self.tenant.id

    def check(self, undisturbed: TenantUnderTest) -> None:
        assert (row_of(self.tenant).status, fence_of(self.tenant)) == (self.status, self.fence)


class Provision(Life):
    kind, models, of_a_tenant = kinds.PROVISION, tuple(Model), False

    def wish(self) -> UUID:
        self.tenant = newcomer(self.platform, self.model)
        return self.tenant.id

    def halted(self) -> None:
        """One that is being made is not closed."""
        if self.platform.status(self.tenant.id)[0] is Status.PROVISIONING:
            with pytest.raises(TransitionError, match="is still being made; close it once it is"):
                close(self.tenant, self.platform.workflows, grace=AT_ONCE)

    def check(self, undisturbed: TenantUnderTest) -> None:
        assert [row for row in shape_of(self.tenant) if row[:2] not in AGAIN] == shape_of(undisturbed)
        self.tenant.key = self.platform.new_key(self.tenant.id, Role.OWNER)
        until(lambda: self.tenant.http.get("/api/me").status_code == 200, what="it is served")


class ProvisionAndClose(Provision):
    """Once made it is closed for good, though its making has not come to its end."""

    def halted(self) -> None:
        self.place = place_of(self.tenant)
        close(self.tenant, self.platform.workflows, grace=AT_ONCE)
        wait_until_done(self.platform, newest(self.platform, kinds.ERASE, self.tenant.id))

    def check(self, undisturbed: TenantUnderTest) -> None:
        assert left_of(self.platform, self.tenant.id, self.model, self.place) == tombstone(self.model)


class Suspend(_OfATenant):
    kind, status, fence = kinds.SUSPEND, Status.SUSPENDED, "suspended"

    def act(self) -> None:
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id, lock=True)
            service.suspend(session, self.platform.workflows, row, "tests")


class Resume(_OfATenant):
    kind, models, status, fence = kinds.RESUME, (Model.SILO,), Status.ACTIVE, "open"

    def prepare(self) -> None:
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id, lock=True)
            service.suspend(session, self.platform.workflows, row, "tests")
        wait_until_done(self.platform, newest(self.platform, kinds.SUSPEND, self.tenant.id))

    def act(self) -> None:
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id, lock=True)
            service.resume(session, self.platform.workflows, row, "tests")


class Close(_OfATenant):
    kind, models, status, fence = kinds.CLOSE, (Model.BRIDGE,), Status.CLOSING, "closed"

    def act(self) -> None:
        close(self.tenant, self.platform.workflows)


class Reopen(_OfATenant):
    kind, status, fence = kinds.REOPEN, Status.ACTIVE, "open"

    def prepare(self) -> None:
        close(self.tenant, self.platform.workflows)
        wait_until_done(self.platform, newest(self.platform, kinds.CLOSE, self.tenant.id))

    def act(self) -> None:
        reopen(self.tenant, self.platform.workflows)


class Erase(_OfATenant):
    kind, models = kinds.ERASE, tuple(Model)

    def act(self) -> None:
        self.place = place_of(self.tenant)
        close(self.tenant, self.platform.workflows, grace=AT_ONCE, export=True)

    def check(self, undisturbed: TenantUnderTest) -> None:
        assert left_of(self.platform, self.tenant.id, self.model, self.place) == tombstone(self.model)
        with transaction(self.platform.engine) as session:
            (last,) = exports.of_tenant(session, self.tenant.id, 2)
        manifest.verify(Path(str(last.path)))


class Export(Life):
    kind, models = kinds.EXPORT, (Model.BRIDGE,)

    def wish(self) -> UUID:
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id, lock=True)
            settings, workflows = self.platform.settings, self.platform.workflows
            return exporting.request(session, workflows, settings, row, "tests")[0].id

    def check(self, undisturbed: TenantUnderTest) -> None:
        with transaction(self.platform.engine) as session:
            (export,) = exports.of_tenant(session, self.tenant.id, 2)
        assert export.state == exports.DONE
        folder = Path(str(export.path))
        manifest.verify(folder)
        assert [path.name for path in folder.parent.glob(f"*{folder.name}*")] == [folder.name]


class Rotate(Life):
    kind, models = kinds.ROTATE, (Model.SILO,)

    def wish(self) -> UUID:
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id, lock=True)
            rotating.rotate(session, self.platform.workflows, row, "tests", shared=False)
        return place_of(self.tenant).database_id

    def killed(self) -> None:
        """Half changed, nothing is wrong with it."""
        self.tenant.key = self.platform.new_key(self.tenant.id, Role.OWNER)
        until(lambda: self.tenant.http.get("/api/me").status_code == 200, what="its tenant is served")

    def check(self, undisturbed: TenantUnderTest) -> None:
        place = place_of(self.tenant)
        assert place.login == names.other_login(place.database, place.database)
        with self.platform.superuser(place.server, place.database) as home:
            assert home.execute("SELECT name FROM tenancy.logins").fetchall() == [(place.login,)]
            like = f"{place.database}%"
            assert home.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", [like]).fetchall() == [
                (place.login,)
            ]


class Grow(Life):
    kind, models, of_a_tenant = kinds.GROW, (Model.POOL, Model.BRIDGE), False

    def wish(self) -> UUID:
        with transaction(self.platform.engine) as session:
            servers.all_servers(session, lock=True)
            self.database_id = placing.add_shared(session, "alpha", self.model).id
            workflow_records.start(session, self.platform.workflows, self.kind, self.database_id, "tests")
        return self.database_id

    def check(self, undisturbed: TenantUnderTest) -> None:
        with transaction(self.platform.engine) as session:
            row = servers.database(session, self.database_id)
        assert (row.state, row.home_revision) == (READY, HOME.head)


class Replenish(Life):
    """One more than so far, so that there is something to do."""

    kind, models, of_a_tenant, alone = kinds.REPLENISH, (Model.SILO,), False, True

    def wish(self) -> UUID:
        with transaction(self.platform.engine) as session:
            self.number = warm.kept(session)["beta"] + 1
            warm.keep(session, self.platform.workflows, "beta", self.number, "tests")
        return warm.subject_of("beta")

    def check(self, undisturbed: TenantUnderTest) -> None:
        stock.settled(self.platform)
        assert len(stock.ready(self.platform)) >= self.number
        known = stock.on_the_roll(self.platform)
        assert stock.on_the_server(self.platform)[0] == known


class Move(_OfATenant):
    """From the pool into a schema, or out of one."""

    kind, status, fence = kinds.MOVE, Status.ACTIVE, "open"
    models: ClassVar[tuple[Model, ...]] = (Model.POOL, Model.BRIDGE)

    def wish(self) -> UUID:
        until(lambda: not _at_work(self.platform, self.tenant.id), what="nothing else is done to it")
        return journeys.begin(self.tenant, Model.BRIDGE if self.model is Model.POOL else Model.POOL)

    def check(self, undisturbed: TenantUnderTest) -> None:
        super().check(undisturbed)
        assert journeys.home_of(self.tenant)[0] is not self.model
        assert self.tenant.route.epoch == 2

    def again(self) -> None:
        self.begin()  # One that has failed ends where it began, and is not gone on with.


class MoveBack(Move):
    """What has been done is undone."""

    kind, models = kinds.MOVE_BACK, (Model.POOL,)

    def prepare(self) -> None:
        move_id = super().wish()
        journeys.wait_for(self.platform, move_id, Phase.KEPT)

    def wish(self) -> UUID:
        until(lambda: not _at_work(self.platform, self.tenant.id), what="nothing else is done to it")
        return journeys.begin_back(self.tenant)

    def check(self, undisturbed: TenantUnderTest) -> None:
        _OfATenant.check(self, undisturbed)
        assert journeys.home_of(self.tenant)[0] is self.model
        assert self.tenant.route.epoch == 3


class TidyMove(MoveBack):
    """What was left is given up."""

    kind = kinds.TIDY_MOVE
    move_id: UUID

    def wish(self) -> UUID:
        self.move_id = journeys.settle(self.tenant)
        with transaction(self.platform.engine) as session:
            moving.tidy_due(session, self.platform.workflows, "tests")
        # A worker that looks at the same moment begins with it instead, and is not done beginning yet.
        until(lambda: bool(started(self.platform, self.kind, self.move_id)), what="somebody begins with it")
        return self.move_id

    def again(self) -> None:
        failed = self.workflow_id
        until(lambda: newest(self.platform, self.kind, self.move_id) != failed, what="a worker begins with it again")
        self.workflow_id = newest(self.platform, self.kind, self.move_id)

    def check(self, undisturbed: TenantUnderTest) -> None:
        journeys.assert_one_home(self.tenant, Model.BRIDGE, 2, served=False)


class Foretell(Life):
    """What a move would do is found out; nothing is done."""

    kind = kinds.FORETELL

    def wish(self) -> UUID:
        settings = self.platform.settings
        with transaction(self.platform.engine) as session:
            row = tenants.get(session, self.tenant.id)
            self.dry_run_id = foretelling.ask(
                session,
                self.platform.workflows,
                row,
                "tests",
                model=Model.SILO,
                server=None,
                database=None,
                undo_window=timedelta(hours=1),
                allow_freeze=False,
                full_at=settings.limits.full_at,
            )
        return self.dry_run_id

    def check(self, undisturbed: TenantUnderTest) -> None:
        with transaction(self.platform.engine) as session:
            told = dry_runs.get(session, self.dry_run_id).told
        assert told is not None
        assert (told["to"], told["objections"]) == ("silo on beta", [])


LIVES: Mapping[str, type[Life]] = {
    life.kind: life
    for life in (
        Provision,
        Suspend,
        Resume,
        Close,
        Reopen,
        Erase,
        Export,
        Rotate,
        Grow,
        Replenish,
        Move,
        MoveBack,
        TidyMove,
        Foretell,
    )
}
"""By kind."""


def newcomer(platform: PlatformUnderTest, model: Model) -> TenantUnderTest:
    """A tenant with an owner, whom a worker is about to make; without a key."""
    slug = f"t{uuid4().hex[:10]}"
    owner = service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner")
    wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, owner=owner)
    with transaction(platform.engine) as session:
        tenant_id = service.create(session, platform.workflows, wish, "tests").id
    return TenantUnderTest(platform=platform, id=tenant_id, slug=slug, model=model, key="")


def _at_work(platform: PlatformUnderTest, tenant_id: UUID) -> bool:
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant_id)
        assert row.workflow_id is not None
        return workflow_records.get(session, row.workflow_id).state in workflow_records.UNENDED


def started(platform: PlatformUnderTest, kind: str, subject: UUID) -> Sequence[str]:
    """The ids of the workflows of that kind that were started for it, newest first."""
    query = select(WorkflowRow.id).where(WorkflowRow.kind == kind, WorkflowRow.subject == subject)
    with transaction(platform.engine) as session:
        return session.scalars(query.order_by(WorkflowRow.started_at.desc(), WorkflowRow.id.desc())).all()


def newest(platform: PlatformUnderTest, kind: str, subject: UUID) -> str:
    """The id of the one that was started last."""
    return started(platform, kind, subject)[0]


def state_of(platform: PlatformUnderTest, workflow_id: str) -> tuple[str, str | None]:
    """How it is on record, and why it failed."""
    with transaction(platform.engine) as session:
        record = workflow_records.get(session, workflow_id)
    return record.state, record.error


def wait_until_ended(platform: PlatformUnderTest, workflow_id: str, deadline_s: float = 60) -> str:
    """How it is on record then."""
    until(
        lambda: state_of(platform, workflow_id)[0] not in workflow_records.UNENDED,
        what=f"{workflow_id} has ended",
        deadline_s=deadline_s,
    )
    return state_of(platform, workflow_id)[0]


def wait_until_done(platform: PlatformUnderTest, workflow_id: str) -> None:
    """Fails when it has failed instead."""
    assert wait_until_ended(platform, workflow_id) == workflow_records.DONE, state_of(platform, workflow_id)


def halt_all(workers: Workers, name: str, where: Mapping[str, str]) -> None:
    """Start a worker in which those workflows halt there; returns when all of them have."""
    platform = workers.platform
    plan, file = platform.data / f"{name}.json", platform.data / f"{name}.halted"
    plan.write_text(json.dumps(where))
    program = (sys.executable, "-m", "tests.provisioning.halting", platform.data, plan, file)
    workers.start(name, *map(str, program))

    def all_have() -> bool:
        missing = set(where) - set(file.read_text().splitlines() if file.exists() else ())
        states = {where[each]: state_of(platform, each) for each in missing}
        assert not [state for state, _ in states.values() if state == workflow_records.FAILED], states
        return not missing

    until(all_have, what="all have halted", deadline_s=HALTED_WITHIN_S)


def shape_of(tenant: TenantUnderTest) -> list[tuple[Any, ...]]:
    """All that there is of it, whichever pool or bridge it is in: the same for any two of a model, just made."""
    found = everything_of(tenant.platform, tenant.id, tenant.model)
    return sorted(
        (tuple(_NUMBERED.sub(r"\1_*", part) if isinstance(part, str) else part for part in row) for row in found),
        key=repr,
    )
