"""Asking some tenants whether they are served: through the pooler, with a real token, as requests come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from control_plane.domain.route import Home, Route
from control_plane.domain.tenant import Status
from control_plane.registry import routes
from control_plane.registry.engine import transaction
from control_plane.routing import tokens
from control_plane.routing.tokens import Mode, begin_message, bound_begin
from migrations.fleet.plan import Target
from migrations.fleet.words import in_words
from provisioning.estate import Estate

PROBED = 3
"""Tenants of a wave."""
TIMEOUT_S = 5
NOT_SIGNED_SO = "CH001"


def prober(estate: Estate) -> Callable[[Sequence[Target]], list[str]]:
    """What asks some of the tenants that live in those targets, and says what is wrong. Pools are left out: whom to ask
    there, the targets do not tell.
    """

    def probe(targets: Sequence[Target]) -> list[str]:
        tenants = [target.occupant.id for target in targets if target.occupant is not None][:PROBED]
        with transaction(estate.engine) as session:
            found = [routes.route_of(session, tenant_id) for tenant_id in tenants]
        served = [route for route in found if route is not None and route.status == Status.ACTIVE]
        return [said for route in served if (said := _asked(estate, route)) is not None]

    return probe


def _asked(estate: Estate, route: Route) -> str | None:
    home = route.home
    if home is None:
        return f"{route.slug} has no home"
    try:
        with psycopg.connect(_address(estate, home), autocommit=True, prepare_threshold=None) as connection:
            _enter(connection, estate, home, route)
            seen = connection.execute("SELECT tenancy.current_tenant()").fetchone()
            connection.execute("ROLLBACK")
    except psycopg.Error as error:
        return f"{route.slug} is not served: {in_words(error)}"
    return None if seen == (route.tenant_id,) else f"{route.slug} is not who its home says"


def _enter(connection: psycopg.Connection[Any], estate: Estate, home: Home, route: Route) -> None:
    """By that master key by which the home's is: while it is being changed, one of two."""
    life_s, (*masters, last) = estate.settings.limits.token_life_s, estate.keyring.ids
    for master in (*masters, last):
        token = tokens.minted(estate.keyring, home, route.tenant_id, route.epoch, Mode.SERVE, life_s, master=master)
        try:
            _begin(connection, home, token)
        except psycopg.Error as error:
            if error.sqlstate != NOT_SIGNED_SO or master == last:
                raise
            connection.execute("ROLLBACK")
        else:
            return


def _begin(connection: psycopg.Connection[Any], home: Home, token: str) -> None:
    if home.sealed_password is None:
        connection.execute(begin_message(token, home.schema, TIMEOUT_S).encode())
        return
    with connection.pipeline():
        for statement, values in bound_begin(token, home.schema, TIMEOUT_S):
            connection.execute(statement.encode(), values)


def _address(estate: Estate, home: Home) -> str:
    kept = home.sealed_password
    password = estate.secrets.open(kept, home.database_id) if kept else None
    settings = estate.settings
    return make_conninfo(
        host=settings.pooler_host,
        port=settings.pooler_port,
        dbname=home.alias,
        user=home.login,
        password=password,
        connect_timeout=TIMEOUT_S,
        application_name="copyhold probe",
    )
