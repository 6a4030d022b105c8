"""How tenants look in JSON, to newcomers and staff alike."""

from __future__ import annotations

from uuid import UUID

from control_plane.api.inputs import Output
from control_plane.domain.route import Route
from control_plane.domain.tenant import Model, Plan, Status


class TenantOut(Output):
    """A tenant."""

    id: UUID
    slug: str
    name: str
    model: Model
    status: Status
    plan: Plan

    @classmethod
    def of_route(cls, route: Route) -> TenantOut:
        """As the roll knows it."""
        return cls(
            id=route.tenant_id,
            slug=route.slug,
            name=route.name,
            model=route.model,
            status=route.status,
            plan=route.plan,
        )
