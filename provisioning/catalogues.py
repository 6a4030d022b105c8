"""Whether PostgreSQL's own catalogue is closed to tenants who share a database, where a superuser alone closes it."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane import audit
from control_plane.domain.placement import open_catalogue
from control_plane.domain.server import Catalogue, Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import servers
from control_plane.registry.engine import transaction
from control_plane.registry.servers import READY
from control_plane.tenants.places import OpenCatalogueError
from provisioning.doctor.catalogue import Visit, catalogue, look_into
from provisioning.doctor.homes import OF_A_SUPERUSER, parameters_of
from provisioning.estate import Estate
from provisioning.roles import Connection, is_superuser

ACTOR = "worker"
EVERYBODY = ("",)
"""In place of logins: what is granted to all."""


def look(estate: Estate, server: Server, *, anew: bool = True) -> Catalogue:
    """Look into its pools and bridges, and, `anew`, into a database that is made and dropped; recorded on the roll.

    psycopg.Error when it does not answer.
    """
    with estate.builder(server).admin() as admin:
        ours_to_close = is_superuser(admin)
    is_open = not ours_to_close and any(_openings(estate, server, anew=anew))
    found = Catalogue.OPEN if is_open else Catalogue.CLOSED
    with transaction(estate.engine) as session:
        if servers.set_catalogue(session, server.name, found):
            audit.record(session, ACTOR, f"server.catalogue_{found}", server.name)
    return found


def look_again(estate: Estate, server: Server) -> None:
    """The same now and then: of one that was closed only into what is there, which costs it nothing."""
    settled = server.status in (ServerStatus.ACTIVE, ServerStatus.DRAINING)
    if server.by_tcp and settled and is_shared(server) and not server.accepts_open_catalogue:
        look(estate, server, anew=server.catalogue is not Catalogue.CLOSED)


def may_share(estate: Estate, server: Server) -> bool:
    """Whether pools and bridges may be built there, as it is at this moment."""
    return not server.by_tcp or look(estate, server) is Catalogue.CLOSED or server.accepts_open_catalogue


def refuse_open(estate: Estate, server: Server) -> None:
    """OpenCatalogueError unless they may."""
    if not may_share(estate, server):
        raise OpenCatalogueError(f"{server.name} {open_catalogue(Catalogue.OPEN)}", server=server.name)


def openings(connection: Connection, server: Server) -> list[str]:
    """What everybody who gets into that database could use there against others; names of functions and views."""
    parameters = parameters_of(server, EVERYBODY, None)
    visit = Visit(connection=connection, server=server.name)
    looked = [each for each in catalogue().of("home") if each.check.name in OF_A_SUPERUSER]
    found = [subject for each in looked for subject, _ in visit.rows(each.check.name, each.query, parameters)]
    return found + [finding.check for finding in visit.findings]


def _openings(estate: Estate, server: Server, *, anew: bool) -> Iterator[str]:
    with transaction(estate.engine) as session:
        rows = [row for row in servers.all_databases(session) if row.server == server.name and row.state == READY]
        names = [row.name for row in rows if row.model != Model.SILO and row.home_revision]
    for name in names:
        with look_into(estate.doors, server, name) as connection:
            yield from openings(connection, server)
    if anew:
        with estate.builder(server).trial() as connection:
            yield from openings(connection, server)


def is_shared(server: Server) -> bool:
    """Whether it is to take tenants of a model that shares databases."""
    return any(model is not Model.SILO for model in server.models)
