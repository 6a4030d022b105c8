"""What the steps do by which a server that is on the roll is made ready for tenants. Every function may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from control_plane import audit
from control_plane.domain.errors import SetupError
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.doors import opened, sealed
from control_plane.registry import placing, servers, warm
from control_plane.registry.engine import transaction
from control_plane.registry.fleet import Revisions
from control_plane.registry.servers import BUILDING, READY
from control_plane.tenants.joining import RDS
from provisioning import catalogues, instances, shared, silos
from provisioning.estate import Estate
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.examine import Access, examine
from provisioning.providers.existing.facts import Facts
from provisioning.providers.existing.findings import connections_for, findings, refusals
from provisioning.providers.existing.privileges import privileges_of
from provisioning.providers.existing.statements import role_passwords, verifiers_of
from provisioning.roles import connect, prepare_server
from provisioning.silos import Enter

ACTOR = "worker"
EXISTING = "existing"


class ServerUnfitError(SetupError):
    """The server cannot be used as it is."""

    code = "server_unfit"


def bring_up(estate: Estate, subject: UUID) -> None:
    """Have the server come to be, where its provider makes it. Afterwards the roll has address, CA and passwords."""
    if (server := _being_added(estate, subject)) is None:
        return
    COMING[server.provider](estate, server)
    with transaction(estate.engine) as session:
        row = servers.server_row(session, server.name)
        if row.sealed_passwords is None:
            raise ServerUnfitError(f"the roll has no password of {server.admin} on {server.name}")
        passwords = opened(estate.keyring, server.name, row.sealed_passwords)
        given = role_passwords(estate.keyring, Address(host=row.host, port=row.port, admin=server.admin))
        servers.set_passwords(session, server.name, sealed(estate.keyring, server.name, {**given, **passwords}))


def examine_server(estate: Estate, subject: UUID) -> None:
    """Look at it as its administrator. ServerUnfitError says what is missing and how to see what would put it right."""
    if (server := _being_added(estate, subject)) is None:
        return
    facts = _look(estate, server)
    if server.connections == 0 and facts.settings:
        with transaction(estate.engine) as session:
            servers.server_row(session, server.name).connections = max(0, connections_for(facts))


def make_roles(estate: Estate, subject: UUID) -> None:
    """Make the platform's roles there, with the passwords on the roll, as far as nobody else has made them."""
    if (server := _being_added(estate, subject)) is None:
        return
    access = access_of(estate, server)
    facts = _look(estate, server)
    missing = privileges_of(facts, verifiers_of(estate.keyring, access.address, access.role_passwords))
    with connect(access.dsn(server.admin, access.password)) as admin:
        for statement in (each for privilege in missing if privilege.by_itself for each in privilege.sql):
            admin.execute(statement.encode())
        prepare_server(admin)
    _look(estate, server, roles_made=True)


def furnish_server(estate: Estate, subject: UUID) -> None:
    """Build what the first tenants of each model need: a template for silos, one pool, one bridge.

    Of the last two none where tenants may not share a database: once they may, the first of them has it built.
    """
    if (server := _being_added(estate, subject)) is None:
        return
    shares = catalogues.is_shared(server) and catalogues.may_share(estate, server)
    for model in server.models:
        if model is Model.SILO:
            silos.at_wanted(estate, lambda wanted: _templated(estate, server, wanted))
        elif shares:
            shared.build(estate, _first_shared(estate, server, model))


def take_in(estate: Estate, subject: UUID) -> None:
    """From now on tenants are placed there."""
    with transaction(estate.engine) as session:
        name = warm.server_of(session, subject)
        if name is None:
            return
        row = servers.server_row(session, name)
        if row.status == ServerStatus.ADDING:
            row.status, row.failure = str(ServerStatus.ACTIVE), None
            audit.record(session, ACTOR, "server.added", name)


def not_added(estate: Estate, subject: UUID, reason: str) -> None:
    """Record why a server is not ready. What was made stays, for a repeat to go on with or `remove` to take back."""
    with transaction(estate.engine) as session:
        name = warm.server_of(session, subject)
        if name is not None:
            servers.server_row(session, name).failure = reason
            audit.record(session, ACTOR, "server.fail", name, reason=reason)


def access_of(estate: Estate, server: Server) -> Access:
    """How its administrator gets in, by what the roll has."""
    assert server.sealed_passwords is not None
    passwords = opened(estate.keyring, server.name, server.sealed_passwords)
    return Access(
        address=Address(host=server.host, port=server.port, admin=server.admin),
        ca=server.ca,
        password=passwords.get(server.admin, ""),
        doors=estate.doors,
        role_passwords=passwords,
    )


def _look(estate: Estate, server: Server, *, roles_made: bool = False) -> Facts:
    """What it is like; ServerUnfitError when it is not as it must be, or when its roles do not get in."""
    access = access_of(estate, server)
    facts = examine(access)
    found = findings(facts, verifiers_of(estate.keyring, access.address, access.role_passwords))
    said = [each.why for each in refusals(found)]
    if roles_made:
        said += [f"{role} does not get in: {why}" for role, why in facts.refused.items()]
    if said:
        how = f"copyhold server check {access.address} says what puts it right"
        raise ServerUnfitError(f"{server.name} cannot be used as it is: {'; '.join(said)}; {how}", server=server.name)
    return facts


def _being_added(estate: Estate, subject: UUID) -> Server | None:
    """The server; None when it is ready, or was taken off the roll meanwhile."""
    with transaction(estate.engine) as session:
        name = warm.server_of(session, subject)
        server = servers.server_named(session, name) if name is not None else None
    return server if server is not None and server.status is ServerStatus.ADDING else None


def _first_shared(estate: Estate, server: Server, model: Model) -> UUID:
    with transaction(estate.engine) as session:
        servers.all_servers(session, lock=True)
        there = [row for row in servers.databases_of(session, server.name, model) if row.state in (READY, BUILDING)]
        return (there[0] if there else placing.add_shared(session, server.name, model)).id


def _templated(estate: Estate, server: Server, wanted: Revisions) -> Enter:
    estate.builder(server).ensure_template(wanted)
    return lambda _: None


def _is_there(_estate: Estate, _server: Server) -> None:
    """Others have made it."""


COMING: Mapping[str, Callable[[Estate, Server], None]] = {EXISTING: _is_there, RDS: instances.enter}
"""By provider, how a server comes to be. A new provider enters its own here, and in `removing.GOING_AWAY`."""
