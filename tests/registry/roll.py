"""A roll under test: two servers, tenants that nobody provisions, and what its feed and its engine say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from control_plane.domain.server import Server, ServerStatus
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import fleet, routes, servers, tenants
from control_plane.registry.engine import transaction
from control_plane.registry.tables import TenantRow
from control_plane.registry.workflows import DurableWorkflows
from control_plane.tenants import service

ACTOR = "tests"


def server(name: str, *models: Model, capacity: int = 100) -> Server:
    """A server that exists on the roll alone."""
    return Server(
        name=name,
        provider="local",
        region="here",
        host="/nonexistent",
        port=1,
        models=models,
        capacity=capacity,
        connections=100,
        status=ServerStatus.ACTIVE,
    )


def settle(session: Session) -> None:
    """Two servers, a pool and a bridge database."""
    servers.register(session, server("alpha", Model.POOL, Model.BRIDGE))
    servers.register(session, server("beta", Model.SILO))
    fleet.set_wanted(session, fleet.Revisions(home="h0001", tenant="0001"), replace=True)
    for model in (Model.POOL, Model.BRIDGE):
        database = servers.ensure_database(session, "alpha", f"{model}_1", model)
        if model is Model.POOL:
            tenants.ensure_target(session, database.id, "public", "0001")


def wish(slug: str = "acme", **other: Any) -> service.TenantWish:
    """A wish for a pool tenant, unless told otherwise."""
    facts = {"name": f"{slug} Inc", "plan": Plan.STARTER, "model": Model.POOL, **other}
    return service.TenantWish(slug=slug, **facts)


@dataclass(frozen=True, kw_only=True)
class Roll:
    """One control database; every call is a transaction of its own."""

    engine: Engine
    workflows: DurableWorkflows

    def create(self, wanted: service.TenantWish | None = None) -> UUID:
        """Wish for a tenant."""
        with transaction(self.engine) as session:
            return service.create(session, self.workflows, wanted or wish(), ACTOR).id

    def settled(self, slug: str = "acme", model: Model = Model.POOL) -> UUID:
        """An active tenant, as the worker would leave it on the roll."""
        tenant_id = self.create(wish(slug, model=model))
        with transaction(self.engine) as session:
            (database,) = servers.databases_of(session, "alpha", model)
            schema = "public" if model is Model.POOL else f"t_{tenant_id.hex}"
            tenants.ensure_home(session, tenant_id, database.id, schema, model)
            tenants.ensure_target(session, database.id, schema, "0001")
            tenants.change_status(tenants.get(session, tenant_id, lock=True), Status.ACTIVE)
        return tenant_id

    def be(self, tenant_id: UUID, status: Status) -> None:
        """Give a tenant a status, past the table of transitions."""
        with transaction(self.engine) as session:
            tenants.get(session, tenant_id).status = str(status)

    def get(self, tenant_id: UUID) -> TenantRow:
        """The tenant as it is now."""
        with transaction(self.engine) as session:
            return tenants.get(session, tenant_id)

    @property
    def version(self) -> int:
        """The feed's version."""
        with transaction(self.engine) as session:
            return routes.version(session)

    def changed(self, since: int) -> set[UUID]:
        """Whose route changed after that version."""
        return {route.tenant_id for route in routes.news(self.engine, since)[1]}

    def ask(self, query: str, **values: object) -> list[Any]:
        """The first column of what comes back."""
        with transaction(self.engine) as session:
            return list(session.execute(text(query), values).scalars())

    def started(self) -> list[str]:
        """The names of the workflows that have been started."""
        return self.ask("SELECT name FROM dbos.workflow_status ORDER BY created_at")
