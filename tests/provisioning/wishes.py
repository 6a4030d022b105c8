"""Tenants that wait to be provisioned by a test, and not by the worker."""

from __future__ import annotations

from uuid import UUID, uuid4

from control_plane.domain.tenant import Model, Plan
from control_plane.registry.engine import transaction
from control_plane.tenants import service
from tests.platform_under_test import PlatformUnderTest


class NoWorkflows:
    """Starts nothing: the test is the worker."""

    def start(
        self, session: object, name: str, workflow_id: str, subject: UUID, *, lane: str = "", after_s: float = 0
    ) -> None:
        """See Workflows."""

    def close(self) -> None:
        """See Workflows."""


def wished(platform: PlatformUnderTest, model: Model) -> UUID:
    """A tenant on the roll, with an owner, whom nobody makes but the test."""
    slug = f"w{uuid4().hex[:10]}"
    owner = service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner")
    wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, owner=owner)
    with transaction(platform.engine) as session:
        return service.create(session, NoWorkflows(), wish, "tests").id
