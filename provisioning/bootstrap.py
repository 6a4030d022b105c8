"""What a platform of one machine needs before anything can be served: the roll, the roles, the first shared homes.

Safe to repeat; `copyhold up` runs it at every start, between the PostgreSQL servers and the pooler.
"""

from __future__ import annotations

import logging

import psycopg
from dbos import DBOS
from psycopg import sql

from control_plane.domain.errors import SetupError
from control_plane.domain.names import SHARED_SCHEMA, shared_database
from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model
from control_plane.registry import fleet, servers
from control_plane.registry.engine import control_engine, sqlalchemy_url, transaction
from control_plane.registry.fleet import Revisions
from control_plane.routing.seam import load_tenant_app
from control_plane.stores.master_keys import open_keyring
from migrations.fleet import gate
from migrations.fleet.chains import CONTROL, HOME, Chain
from migrations.fleet.replay import bring_to, version
from provisioning import shared
from provisioning.estate import Estate
from provisioning.layout import CONTROL_DATABASE, MAX_CONNECTIONS, Layout
from provisioning.roles import SUPERUSER, connect, database_exists, prepare_server, role_exists

REGION = "local"
RESERVED_CONNECTIONS = 30
"""Of a server's max_connections: for migrations, moves, provisioning and people."""
ROOM = {"alpha": 100_000, "beta": 1_000}
WARM = 2
"""Finished silos that a new platform's server for them keeps ready; `copyhold server warm` changes it."""
MODELS = {"alpha": (Model.POOL, Model.BRIDGE), "beta": (Model.SILO,)}


class NewerControlDatabaseError(SetupError):
    """The control database was brought up to date by a newer Copyhold."""

    code = "newer_control_database"


class NewerFleetError(SetupError):
    """The fleet was migrated by a newer Copyhold."""

    code = "newer_fleet"


def bootstrap(
    layout: Layout, *, pooler_version: tuple[int, int], tenant_revision: str = "head", warm: int = WARM
) -> None:
    """Bring the platform to where it can serve.

    A first start builds at `tenant_revision` and keeps `warm` silos ready, later ones keep theirs.
    """
    _make_control_database(layout)
    settings = layout.settings()
    engine = control_engine(settings.control_dsn, timeout_s=settings.limits.control_timeout_s)
    try:
        estate = Estate(
            settings=settings,
            engine=engine,
            keyring=open_keyring(settings),
            app=load_tenant_app(settings.tenant_app),
        )
        first = Revisions(home=HOME.head, tenant=estate.chain.checked(tenant_revision))
        with transaction(engine) as session:
            gate.publish(session, estate.chain)
            fleet.set_wanted(session, first, replace=False)
            wanted = fleet.wanted(session)
        _refuse_a_newer_fleet(wanted, estate.chain)
        for name in MODELS:
            _prepare(estate, layout, name, wanted, warm)
        estate.pooler.write(pooler_version)
    finally:
        engine.dispose()


def _make_control_database(layout: Layout) -> None:
    address = layout.server("control")
    with connect(address.dsn(database="postgres", user=SUPERUSER)) as admin:
        login = sql.Identifier(CONTROL_DATABASE)
        if not role_exists(admin, CONTROL_DATABASE):
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(login))
        if not database_exists(admin, CONTROL_DATABASE):
            admin.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(login))
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(login))
    dsn = address.dsn(database=CONTROL_DATABASE, user=CONTROL_DATABASE)
    _refuse_newer(dsn)
    with connect(address.dsn(database=CONTROL_DATABASE, user=SUPERUSER)) as admin:
        admin.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(login))
    bring_to(dsn, CONTROL, SHARED_SCHEMA, CONTROL.head, owner=CONTROL_DATABASE)
    # It looks for the database through `postgres`, which our login may not enter, and complains: the database is there.
    logging.getLogger("dbos").setLevel(logging.ERROR)
    DBOS.migrate(sqlalchemy_url(dsn).render_as_string(hide_password=False))


def _refuse_newer(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = version(connection, CONTROL)
    if found is not None and found not in CONTROL.revisions:
        raise NewerControlDatabaseError(
            f"the control database is at revision {found}, which this Copyhold does not know: use the newer version"
        )


def _refuse_a_newer_fleet(wanted: Revisions, chain: Chain) -> None:
    for revision, known in ((wanted.home, HOME), (wanted.tenant, chain)):
        if revision not in known.revisions:
            raise NewerFleetError(
                f"new homes are built at {known.name} revision {revision}, which this Copyhold does not know:"
                " use the newer version"
            )


def _room(estate: Estate, name: str) -> int:
    """What somebody has said that the server takes; `copyhold server room` says it."""
    with transaction(estate.engine) as session:
        return next((server.capacity for server in servers.all_servers(session) if server.name == name), ROOM[name])


def _prepare(estate: Estate, layout: Layout, name: str, wanted: Revisions, warm: int) -> None:
    address = layout.server(name)
    server = Server(
        name=name,
        provider="local",
        region=REGION,
        host=address.host,
        port=address.port,
        models=MODELS[name],
        capacity=_room(estate, name),
        connections=MAX_CONNECTIONS[name] - RESERVED_CONNECTIONS,
        status=ServerStatus.ACTIVE,
    )
    with transaction(estate.engine) as session:
        servers.register(session, server, warm=warm if Model.SILO in server.models else 0)
    builder = estate.builder(server)
    with builder.admin() as admin:
        prepare_server(admin)
    for model in MODELS[name]:
        if model is Model.SILO:
            builder.ensure_template(wanted)
        else:
            with transaction(estate.engine) as session:
                first = servers.ensure_database(session, name, shared_database(str(model), 1), model)
            shared.build(estate, first.id, tell_pooler=False)
