"""Whom wishes name: a typing error is said instead of being nobody, and a pool's tenant means the pool."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from control_plane.domain.errors import NotFoundError, UnknownTenantError
from control_plane.domain.tenant import Model
from control_plane.registry import servers, tenants
from control_plane.registry.tables import HomeRow
from migrations.fleet.wishes import Chosen, Wishes


def named(session: Session, wishes: Wishes) -> Wishes:
    """The same wishes, the tenants of pools named by their databases; NotFoundError for what there is not."""
    for server in wishes.only.servers:
        servers.server_named(session, server)
    for name in (*wishes.only.names, *wishes.canaries.names):
        _refuse_nobody(session, name)
    return by_place(session, wishes)


def by_place(session: Session, wishes: Wishes) -> Wishes:
    """The same of wishes that were good once: who is gone since is left as named."""
    return replace(wishes, only=_places(session, wishes.only), canaries=_places(session, wishes.canaries))


def _places(session: Session, chosen: Chosen) -> Chosen:
    databases = {row.name for row in servers.all_databases(session)} if chosen.names else set()
    names = (name if name in databases else _place(session, name) for name in chosen.names)
    return replace(chosen, names=tuple(dict.fromkeys(names)))


def _place(session: Session, name: str) -> str:
    home = _home(session, name)
    return servers.database(session, home.database_id).name if home and home.model == Model.POOL else name


def _refuse_nobody(session: Session, name: str) -> None:
    if _home(session, name) is None and name not in {row.name for row in servers.all_databases(session)}:
        raise NotFoundError(f"there is no tenant or database {name!r} with a home", name=name)


def _home(session: Session, name: str) -> HomeRow | None:
    try:
        return tenants.current_home(session, tenants.find(session, name).id)
    except UnknownTenantError:
        return None
