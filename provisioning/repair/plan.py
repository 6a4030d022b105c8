"""Which repairs the roll and what is there ask for: a pure function of both.

Nothing that the roll knows is ever dropped, but what it has given up itself. What is too young, in use or unknown is
planned and held: it shows, and is not done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from control_plane.domain.ids import made_at
from control_plane.domain.tenant import Status
from control_plane.registry.servers import WARM
from control_plane.registry.workflows import REOPEN
from provisioning.doctor.compare import FENCE_OF, LIVED_IN, OF_A_HOME
from provisioning.doctor.findings import Finding
from provisioning.repair.facts import (
    Contents,
    Known,
    KnownTenant,
    Reality,
    SeenDatabase,
    SeenFence,
    SeenRole,
    SeenSchema,
)
from provisioning.repair.orphans import (
    database_of,
    is_of_a_move,
    is_on_the_roll,
    is_orphan_login,
    is_orphan_schema,
    is_unfinished,
    named_after,
)
from provisioning.repair.repairs import MENDED, Kind, Repair

GRACE = timedelta(minutes=10)
"""Nothing younger is dropped: it may be in the making by somebody whose word on the roll cannot be seen yet."""


def plan(
    known: Known, seen: Reality, findings: Iterable[Finding], *, now: datetime | None = None, grace: timedelta = GRACE
) -> list[Repair]:
    """All repairs, in the order in which they are carried out. `findings` are the doctor's."""
    planner = _Planner(known, seen, tuple(findings), now or datetime.now(UTC), grace)
    order = list(Kind)
    found = [repair for repairs in planner.all() for repair in repairs]
    return sorted(found, key=lambda repair: (order.index(repair.kind), repair.place))


class _Planner:
    def __init__(
        self, known: Known, seen: Reality, findings: tuple[Finding, ...], now: datetime, grace: timedelta
    ) -> None:
        self._known, self._seen, self._findings, self._now, self._grace = known, seen, findings, now, grace

    def all(self) -> Iterator[Iterator[Repair]]:
        yield self._records()
        yield self._from_findings()
        yield self._moves()
        yield self._lost_moves()
        yield self._databases()
        yield self._schemas()
        yield self._roles()
        yield self._fences()
        yield self._indexes()
        yield self._silos()
        yield self._tenants()

    def _records(self) -> Iterator[Repair]:
        for run_id in self._known.dead_runs:
            yield Repair(
                kind=Kind.RUN_DEAD,
                object=str(run_id),
                what="a run over the fleet is recorded as going on, and its process has ended",
                do="record it as interrupted; `copyhold migrate resume` goes on with it",
                subject=run_id,
            )
        for workflow_id in self._known.lost_workflows:
            yield Repair(
                kind=Kind.WORKFLOW_LOST,
                object=workflow_id,
                what="a workflow is recorded as going on, and the engine has ended it",
                do="record it as failed",
            )

    def _from_findings(self) -> Iterator[Repair]:
        drift = MENDED[Kind.POOLER_DRIFT]
        if any(finding.check in drift for finding in self._findings):
            yield Repair(
                kind=Kind.POOLER_DRIFT,
                what="the pooler's files or the running pooler are not as the roll asks",
                do="write the files, and have the pooler read them",
            )
        for server in sorted({each.server for each in self._of(Kind.SERVER_ROLES) if each.server}):
            yield Repair(
                kind=Kind.SERVER_ROLES,
                server=server,
                what="the platform's roles, or who may connect, are not as they were made",
                do="make missing roles and memberships, take from everybody what only the platform may",
            )
        for server, name in self._places(Kind.UNHARDENED):
            yield Repair(
                kind=Kind.UNHARDENED,
                server=server,
                database=name,
                what="a home is not closed as homes are built now",
                do="harden its catalogue, and give its login anew exactly what it needs",
            )
        for server, name in self._places(Kind.KEY):
            yield Repair(
                kind=Kind.KEY,
                server=server,
                database=name,
                what="a database has no signing key, or another's",
                do="install the one that the master key gives for it",
            )

    def _of(self, kind: Kind) -> Iterator[Finding]:
        return (finding for finding in self._findings if finding.check in MENDED[kind])

    def _places(self, kind: Kind) -> list[tuple[str, str]]:
        """Databases on the roll that findings of that kind are about."""
        places = {(each.server, each.database) for each in self._of(kind) if each.server and each.database}
        return sorted(place for place in places if self._known.database(*place) is not None)

    def _moves(self) -> Iterator[Repair]:
        for slot in self._seen.slots:
            if not is_of_a_move(self._known, slot.name):
                yield Repair(
                    kind=Kind.SLOT_ORPHAN,
                    server=slot.server,
                    database=slot.database,
                    object=slot.name,
                    what="a replication slot of a move that is over: it keeps WAL until the disk is full",
                    do="drop the slot",
                    dangerous=True,
                    held="somebody reads it" if slot.active else None,
                )
        for publication in self._seen.publications:
            if not is_of_a_move(self._known, publication.name):
                yield Repair(
                    kind=Kind.PUBLICATION_ORPHAN,
                    server=publication.server,
                    database=publication.database,
                    object=publication.name,
                    what="a publication of a move that is over",
                    do="drop the publication",
                )

    def _lost_moves(self) -> Iterator[Repair]:
        by_slug = {tenant.slug: tenant for tenant in self._known.tenants.values()}
        for slug in sorted({str(each.object) for each in self._of(Kind.MOVE_LOST)} & by_slug.keys()):
            yield Repair(
                kind=Kind.MOVE_LOST,
                object=slug,
                what="a tenant is on its way, or has left something behind, and its move is not on record any more",
                do="have a worker take it to its end: what the tenant has where its route does not lead goes",
                dangerous=True,
                subject=by_slug[slug].id,
            )

    def _databases(self) -> Iterator[Repair]:
        sessions = {(each.server, each.name): each.sessions for each in self._seen.databases}
        for server, name in sorted(self._seen.leftovers):
            yield _leftover(server, name, sessions.get((server, name), 0))
        for each in self._seen.databases:
            place = (each.server, each.name)
            if place in self._seen.worthless_templates:
                yield Repair(
                    kind=Kind.TEMPLATE_OLD,
                    server=each.server,
                    database=each.name,
                    what="a template of older revisions, which no silo is copied from any more",
                    do="drop it, once there is one of those that are wanted",
                )
            elif OF_A_HOME.fullmatch(each.name) and not is_on_the_roll(self._known, *place):
                yield self._orphan(each)
        for found in self._of(Kind.TEMPLATE_OPEN):
            if found.check == "template_open":
                yield Repair(
                    kind=Kind.TEMPLATE_OPEN,
                    server=found.server,
                    database=found.object,
                    what="a template can be entered, or holds a signing key",
                    do="take the key out, and close it",
                )

    def _orphan(self, database: SeenDatabase) -> Repair:
        held = self._too_young(database.age, database.name) or _in_use(database.sessions) or _unknown(database.contents)
        return Repair(
            kind=Kind.DATABASE_ORPHAN,
            server=database.server,
            database=database.name,
            what="a database of a home that is not on the roll" + _with(database.contents),
            do="drop it" + _with(database.contents),
            dangerous=True,
            held=held,
        )

    def _schemas(self) -> Iterator[Repair]:
        for each in self._seen.schemas:
            database = self._known.database(each.server, each.database)
            if database is not None and is_orphan_schema(self._known, database, each.name):
                yield self._schema(each)

    def _schema(self, schema: SeenSchema) -> Repair:
        return Repair(
            kind=Kind.SCHEMA_ORPHAN,
            server=schema.server,
            database=schema.database,
            object=schema.name,
            what="a schema of a tenant who has no home there by the roll" + _with(schema.contents),
            do="drop it and all that is in it" + _with(schema.contents),
            dangerous=True,
            held=self._too_young(schema.age, schema.name) or _unknown(schema.contents),
        )

    def _roles(self) -> Iterator[Repair]:
        databases = {(each.server, each.name) for each in self._seen.databases}
        for role in self._seen.roles:
            if is_orphan_login(self._known, role.server, role.name):
                name = database_of(role.name)
                stands = self._known.database(role.server, name) is None and (role.server, name) in databases
                yield self._role(role, its_database_stands=stands)

    def _role(self, role: SeenRole, *, its_database_stands: bool) -> Repair:
        age = made_at(identifier) if (identifier := named_after(role.name)) is not None else None
        return Repair(
            kind=Kind.ROLE_ORPHAN,
            server=role.server,
            object=role.name,
            what="an app login that no database on the roll is reached with" + (", which owns things" * role.owns),
            do="take its grants away and drop it" + (" with all that it owns" * role.owns),
            dangerous=role.owns or its_database_stands,
            held=self._too_young(self._now - age if age else None, "") or _in_use(role.sessions),
        )

    def _fences(self) -> Iterator[Repair]:
        homes = {(home.tenant_id, home.database_id): home for home in self._known.homes if home.state != "left"}
        left = {(home.tenant_id, home.database_id) for home in self._known.homes if home.state == "left"}
        for each in self._seen.fences:
            key = (each.tenant_id, each.database_id)
            tenant = self._known.tenants.get(each.tenant_id)
            home = homes.get(key)
            if home is not None:
                if tenant is not None and home.state == "current":
                    yield from self._fence(each, tenant, home.epoch)
                elif home.state == "kept" and each.fence is not None and each.fence.state == "open":
                    yield _set_fence(each, tenant, "closed", "a home that was left is open still")
            elif each.fence is not None and key in left:
                if each.fence.state == "open":
                    yield _set_fence(each, tenant, "closed", "a home that was left is open still")
            elif each.fence is not None:
                if tenant is not None and tenant.status is Status.CLOSED and each.fence.state == "open":
                    yield _set_fence(each, tenant, "closed", "a closed tenant's fence is open")
                yield self._fence_orphan(each)

    def _fence(self, seen: SeenFence, tenant: KnownTenant, epoch: int | None) -> Iterator[Repair]:
        wanted = FENCE_OF.get(tenant.status)
        if seen.fence is None:
            if tenant.status in LIVED_IN and wanted is not None:
                yield Repair(
                    kind=Kind.FENCE_MISSING,
                    server=seen.server,
                    database=seen.database,
                    object=tenant.slug,
                    what="a home without a fence: every request is refused",
                    do=f"put up the fence of its route's epoch, {wanted}",
                    # The fence of an empty home would have an empty home served: it is not the one that was there.
                    held=None if seen.rows else "nothing of this tenant is there: restore the home from a backup",
                    opens=wanted == "open",
                    subject=tenant.id,
                )
        elif tenant.status is Status.CLOSING and tenant.workflow != REOPEN and seen.fence.state != "closed":
            yield _set_fence(seen, tenant, "closed", f"the tenant is closing, its fence {seen.fence.state}")
        elif wanted is not None and seen.fence.state != wanted and seen.fence.epoch == epoch:
            said = f"the tenant is {tenant.status}, its fence {seen.fence.state}"
            yield _set_fence(seen, tenant, wanted, said)

    def _fence_orphan(self, seen: SeenFence) -> Repair:
        made = made_at(seen.tenant_id)
        with_rows = f" with {seen.rows} rows" if seen.rows else ""
        return Repair(
            kind=Kind.FENCE_ORPHAN,
            server=seen.server,
            database=seen.database,
            object=str(seen.tenant_id),
            what=f"a fence of a tenant{with_rows} who has no home here by the roll",
            do="delete the tenant's rows here, then the fence" if seen.rows else "delete the fence",
            dangerous=bool(seen.rows),
            held=self._too_young(self._now - made if made else None, ""),
            subject=seen.tenant_id,
        )

    def _indexes(self) -> Iterator[Repair]:
        for index in self._seen.indexes:
            yield Repair(
                kind=Kind.INDEX_INVALID,
                server=index.server,
                database=index.database,
                object=f"{index.schema}.{index.name}",
                what="an index that was begun and never finished: it is written to and not used",
                do="build it again if its revision has it, drop it if not; nobody waits for either",
            )

    def _silos(self) -> Iterator[Repair]:
        for each in self._known.databases:
            if each.state == WARM and each.revisions != self._known.wanted and each.age >= self._grace:
                yield Repair(
                    kind=Kind.SILO_OLD,
                    server=each.server,
                    database=each.name,
                    what="a silo that was made beforehand at other revisions than are wanted: nobody is given it",
                    do="give it up; a worker drops it and makes another",
                )
        for server in self._known.ill_stocked:
            yield Repair(
                kind=Kind.SILOS_SHORT,
                server=server,
                what="the server has more or fewer silos made beforehand than it is to have, and nobody sees to that",
                do="have a worker make or drop them",
            )

    def _tenants(self) -> Iterator[Repair]:
        for tenant in self._known.tenants.values():
            if is_unfinished(tenant) and tenant.quiet_for >= self._grace:
                yield Repair(
                    kind=Kind.TENANT_UNFINISHED,
                    object=tenant.slug,
                    what=f"work on a tenant that is {tenant.status} has ended before its end",
                    do="have a worker go on with it, from what was done already",
                    subject=tenant.id,
                )

    def _too_young(self, age: timedelta | None, name: str) -> str | None:
        """By what tells the least: when it was made, or when the id that it is named after was."""
        ages = [] if age is None else [age]
        if (identifier := named_after(name)) is not None and (made := made_at(identifier)) is not None:
            ages.append(self._now - made)
        if ages and min(ages) < self._grace:
            return f"it is younger than {round(self._grace.total_seconds() / 60)} minutes"
        return None


def _leftover(server: str, name: str, sessions: int) -> Repair:
    return Repair(
        kind=Kind.LEFTOVER,
        server=server,
        database=name,
        what="a database or login that somebody needed while building, and who is gone",
        do="drop it",
        held=_in_use(sessions),
    )


def _set_fence(seen: SeenFence, tenant: KnownTenant | None, wanted: str, said: str) -> Repair:
    before, opens = seen.fence.state if seen.fence is not None else "", wanted == "open"
    return Repair(
        kind=Kind.FENCE_STATE,
        server=seen.server,
        database=seen.database,
        object=tenant.slug if tenant is not None else str(seen.tenant_id),
        what=said,
        do=f"set the fence to {wanted}",
        # Who is shut out may be so by a word that the roll has lost: an older backup of it has been restored.
        dangerous=opens and before != "ready",
        opens=opens,
        subject=seen.tenant_id,
    )


def _in_use(sessions: int) -> str | None:
    return f"{sessions} sessions are connected" if sessions else None


def _unknown(contents: Contents | None) -> str | None:
    return None if contents is not None else "it cannot be looked into: nobody knows what it holds"


def _with(contents: Contents | None) -> str:
    return f", with {contents.in_words}" if contents is not None and (contents.tenants or contents.rows) else ""
