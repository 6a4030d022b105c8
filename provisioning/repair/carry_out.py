"""Carrying out repairs: each under a lock that keeps others from what it is about, and after another look at the roll.

A repair that is not called for any more by then does nothing. Each may be repeated after a crash at any point of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select

from control_plane import audit
from control_plane.domain.errors import ConflictError
from control_plane.domain.names import SHARED_SCHEMA
from control_plane.domain.server import Server
from control_plane.domain.tenant import Status
from control_plane.registry import fleet, servers, tenants, warm, workflow_records
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.tables import DatabaseRow, TargetRow, TenantRow
from control_plane.registry.workflows import PROVISION, DurableWorkflows
from control_plane.tenants import recovering, retrying, service
from migrations.fleet import references
from provisioning import erasing, logins
from provisioning.databases import BUILDING
from provisioning.estate import Estate
from provisioning.repair import dropping, fences, hardening, indexes, stock
from provisioning.repair.facts import Known
from provisioning.repair.known import read_known
from provisioning.repair.orphans import (
    database_of,
    is_of_a_move,
    is_on_the_roll,
    is_orphan_login,
    is_orphan_schema,
    is_unfinished,
    named_after,
)
from provisioning.repair.plan import GRACE
from provisioning.repair.repairs import Kind, Repair

ENDED_SILENTLY = "the engine has ended it without a word: the worker's log says why"


class CalledForNoMoreError(ConflictError):
    """The roll has changed since: this is not called for any more."""

    code = "repair_not_called_for"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What repairs work with; `actor` is who asked for them."""

    estate: Estate
    workflows: DurableWorkflows
    actor: str


def carry_out(tools: Tools, repair: Repair) -> None:
    """Do it, and enter it in the audit log. Raises CopyholdError or psycopg.Error when it could not be done.

    CalledForNoMoreError when the roll has changed since it was planned.
    """
    _DOING[repair.kind](tools, repair)
    with transaction(tools.estate.engine) as session:
        audit.record(
            session,
            tools.actor,
            f"repair.{repair.kind}",
            repair.object or repair.database or repair.server or str(repair.kind),
            server=repair.server,
            database=repair.database,
            done=repair.do,
        )


def _run_dead(tools: Tools, _: Repair) -> None:
    with transaction(tools.estate.engine) as session:
        fleet.close_dead_runs(session)


def _workflow_lost(tools: Tools, repair: Repair) -> None:
    workflow_id = str(repair.object)
    if tools.workflows.going_on([workflow_id]):
        raise CalledForNoMoreError
    with transaction(tools.estate.engine) as session:
        if workflow_records.get(session, workflow_id).ended_at is None:
            workflow_records.ended(session, workflow_id, ENDED_SILENTLY)


def _server_roles(tools: Tools, repair: Repair) -> None:
    hardening.prepare(tools.estate, _server(tools, repair))


def _pooler_drift(tools: Tools, _: Repair) -> None:
    tools.estate.pooler.apply()


def _slot_orphan(tools: Tools, repair: Repair) -> None:
    with _nobody_moves(tools, repair):
        dropping.drop_slot(tools.estate, _server(tools, repair), str(repair.object))


def _publication_orphan(tools: Tools, repair: Repair) -> None:
    with _nobody_moves(tools, repair):
        dropping.drop_publication(tools.estate, _server(tools, repair), str(repair.database), str(repair.object))


def _move_lost(tools: Tools, repair: Repair) -> None:
    assert repair.subject is not None
    with transaction(tools.estate.engine) as session:
        recovering.recover(session, tenants.get(session, repair.subject, lock=True), tools.actor)


def _database_orphan(tools: Tools, repair: Repair) -> None:
    name = str(repair.database)
    with _nobody_chooses(tools) as server_of:
        if is_on_the_roll(_known(tools), str(repair.server), name):
            raise CalledForNoMoreError
        dropping.drop_database(tools.estate, server_of[str(repair.server)], name)


def _schema_orphan(tools: Tools, repair: Repair) -> None:
    schema = str(repair.object)
    with _nobody_chooses(tools) as server_of:
        known = _known(tools)
        database = known.database(str(repair.server), str(repair.database))
        if database is None or not is_orphan_schema(known, database, schema):
            raise CalledForNoMoreError
        erasing.drop_schema(tools.estate.doors, server_of[str(repair.server)], database.name, schema)


def _fence_orphan(tools: Tools, repair: Repair) -> None:
    assert repair.subject is not None
    with _nobody_chooses(tools) as server_of:
        known = _known(tools)
        database = known.database(str(repair.server), str(repair.database))
        if database is None or any(home.database_id == database.id for home in known.homes_of(repair.subject)):
            raise CalledForNoMoreError
        server = server_of[str(repair.server)]
        if repair.dangerous:
            erasing.erase_rows(tools.estate.doors, server, database.name, SHARED_SCHEMA, repair.subject)
        dropping.drop_fence(tools.estate, server, database.name, repair.subject)


def _role_orphan(tools: Tools, repair: Repair) -> None:
    with _nobody_chooses(tools) as server_of:
        known, role = _known(tools), str(repair.object)
        if not is_orphan_login(known, str(repair.server), role):
            raise CalledForNoMoreError
        server = server_of[str(repair.server)]
        database = database_of(role)
        if known.database(server.name, database) is None:
            dropping.refuse_while_there(tools.estate, server, database)
        dropping.drop_role(tools.estate, server, role, with_belongings=repair.dangerous)


def _leftover(tools: Tools, repair: Repair) -> None:
    server, name = _server(tools, repair), str(repair.database)
    if name.startswith(references.PREFIX):
        references.drop_leftovers(tools.estate.doors, server)
    elif name.startswith(BUILDING):
        tools.estate.builder(server).drop_unfinished(name)


def _template_old(tools: Tools, repair: Repair) -> None:
    with transaction(tools.estate.engine) as session:
        wanted = fleet.wanted(session)
    tools.estate.builder(_server(tools, repair)).ensure_template(wanted)


def _template_open(tools: Tools, repair: Repair) -> None:
    dropping.close_template(tools.estate, _server(tools, repair), str(repair.database))


def _unhardened(tools: Tools, repair: Repair) -> None:
    row = _database(tools, repair)
    server = _server(tools, repair)
    hardening.harden(tools.estate, server, row.name, servers.logins(row))
    logins.give_passwords(tools.estate, server, row.id)


def _key(tools: Tools, repair: Repair) -> None:
    row = _database(tools, repair)
    key = tools.estate.keyring.context_key(row.id)
    tools.estate.builder(_server(tools, repair)).install_key(row.name, key)


def _fence(tools: Tools, repair: Repair) -> None:
    assert repair.subject is not None
    done = fences.set_as_the_roll_asks(
        tools.estate, str(repair.server), str(repair.database), repair.subject, may_open=repair.opens
    )
    if not done:
        raise CalledForNoMoreError


def _index_invalid(tools: Tools, repair: Repair) -> None:
    schema = str(repair.object).partition(".")[0]
    with transaction(tools.estate.engine) as session:
        row = _database(tools, repair)
        target = session.get(TargetRow, (row.id, schema))
    known = row.home_revision is not None and target is not None and target.revision is not None
    revisions = Revisions(home=str(row.home_revision), tenant=str(target.revision)) if known and target else None
    indexes.mend(tools.estate, _server(tools, repair), row.name, str(repair.object), revisions)


def _silos_old(tools: Tools, repair: Repair) -> None:
    """Given up on the roll; a worker drops it and makes another in its place."""
    with transaction(tools.estate.engine) as session:
        if not stock.give_up(session, str(repair.server), str(repair.database), fleet.wanted(session)):
            raise CalledForNoMoreError
        warm.replenish(session, tools.workflows, str(repair.server), tools.actor)


def _silos_short(tools: Tools, repair: Repair) -> None:
    with transaction(tools.estate.engine) as session:
        warm.replenish(session, tools.workflows, str(repair.server), tools.actor)


def _tenant_unfinished(tools: Tools, repair: Repair) -> None:
    assert repair.subject is not None
    with transaction(tools.estate.engine) as session:
        row = tenants.get(session, repair.subject, lock=True)
        tenant = _known(tools).tenants[row.id]
        if not is_unfinished(tenant):
            raise CalledForNoMoreError
        if tenant.status is Status.FAILED:
            retrying.retry(session, tools.workflows, row, tools.actor)
        else:
            kind = tenant.workflow if tenant.status is Status.CLOSING else PROVISION
            service.start(session, tools.workflows, row, kind, tools.actor)


_DOING: Mapping[Kind, Callable[[Tools, Repair], None]] = {
    Kind.RUN_DEAD: _run_dead,
    Kind.WORKFLOW_LOST: _workflow_lost,
    Kind.SERVER_ROLES: _server_roles,
    Kind.POOLER_DRIFT: _pooler_drift,
    Kind.SLOT_ORPHAN: _slot_orphan,
    Kind.PUBLICATION_ORPHAN: _publication_orphan,
    Kind.MOVE_LOST: _move_lost,
    Kind.DATABASE_ORPHAN: _database_orphan,
    Kind.SCHEMA_ORPHAN: _schema_orphan,
    Kind.FENCE_ORPHAN: _fence_orphan,
    Kind.ROLE_ORPHAN: _role_orphan,
    Kind.LEFTOVER: _leftover,
    Kind.TEMPLATE_OLD: _template_old,
    Kind.TEMPLATE_OPEN: _template_open,
    Kind.UNHARDENED: _unhardened,
    Kind.KEY: _key,
    Kind.FENCE_MISSING: _fence,
    Kind.FENCE_STATE: _fence,
    Kind.INDEX_INVALID: _index_invalid,
    Kind.SILO_OLD: _silos_old,
    Kind.SILOS_SHORT: _silos_short,
    Kind.TENANT_UNFINISHED: _tenant_unfinished,
}


@contextmanager
def _nobody_chooses(tools: Tools) -> Iterator[Mapping[str, Server]]:
    """The servers by name. For as long as the block lasts nobody enters a home or a silo that was not there before."""
    with transaction(tools.estate.engine) as session:
        yield {server.name: server for server in servers.all_servers(session, lock=True)}


@contextmanager
def _nobody_moves(tools: Tools, repair: Repair) -> Iterator[None]:
    """For as long as the block lasts, the tenant that the thing is named after begins no move."""
    tenant_id = named_after(str(repair.object))
    with transaction(tools.estate.engine) as session:
        if tenant_id is not None:
            session.get(TenantRow, tenant_id, with_for_update=True)
        if is_of_a_move(_known(tools), str(repair.object)):
            raise CalledForNoMoreError
        yield


def _known(tools: Tools) -> Known:
    return read_known(tools.estate, tools.workflows, GRACE)[0]


def _server(tools: Tools, repair: Repair) -> Server:
    with transaction(tools.estate.engine) as session:
        return servers.server_named(session, str(repair.server))


def _database(tools: Tools, repair: Repair) -> DatabaseRow:
    with transaction(tools.estate.engine) as session:
        query = select(DatabaseRow).where(DatabaseRow.server == repair.server, DatabaseRow.name == repair.database)
        row = session.scalars(query).one_or_none()
    if row is None:
        raise CalledForNoMoreError
    return row
