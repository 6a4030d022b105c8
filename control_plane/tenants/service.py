"""What can be done to a tenant. Each function works inside the caller's transaction and leaves committing to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import ConflictError, InvalidError
from control_plane.domain.ids import new_id
from control_plane.domain.lifecycle import TransitionError
from control_plane.domain.placement import Wish
from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status, checked_name, checked_slug
from control_plane.registry import keys, moves, placing, tenants, workflow_records
from control_plane.registry.tables import ApiKeyRow, PendingOwnerRow, TenantRow
from control_plane.registry.workflows import PROVISION, RESUME, SUSPEND, Workflows
from control_plane.routing.credentials import new_key
from control_plane.tenants.labels import change_labels, checked_labels

SCOPES = frozenset({"read", "write"})


class SlugTakenError(ConflictError):
    """That slug is taken."""

    code = "slug_taken"


class OtherOwnerError(SlugTakenError):
    """That slug is being made for another owner."""


@dataclass(frozen=True, kw_only=True)
class OwnerWish:
    """The first person of a tenant."""

    email: str
    name: str
    password_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class TenantWish:
    """What a new tenant is to be."""

    slug: str
    name: str
    plan: Plan
    model: Model
    server: str | None = None
    region: str | None = None
    owner: OwnerWish | None = None
    labels: tuple[str, ...] = ()


def create(session: Session, workflows: Workflows, wish: TenantWish, actor: str) -> TenantRow:
    """Enter the tenant on the roll and start the making of its home, both when the caller commits.

    The same wish again goes on with a tenant that failed or is still being made, and starts nothing over; labels that
    it has more are added.
    SlugTakenError when the slug belongs to a tenant with a home, or to a different wish; NoServerError when nothing can
    take it.
    """
    slug, name, labels = checked_slug(wish.slug), checked_name(wish.name), checked_labels(wish.labels)
    existing = tenants.by_slug(session, slug, lock=True)
    if existing is None:
        server = _server_with_room(session, placement_of(wish))
        row = TenantRow(
            id=new_id(),
            slug=slug,
            name=name,
            plan=str(wish.plan),
            model=str(wish.model),
            status=str(Status.PROVISIONING),
            wanted_server=wish.server,
            wanted_region=wish.region,
            labels=labels,
        )
        if tenants.add(session, row):
            row = tenants.get(session, row.id)
            _record_new(session, row, wish, actor)
            start(session, workflows, row, PROVISION, actor, server=server)
            return row
        existing = tenants.by_slug(session, slug, lock=True)
    assert existing is not None
    return _go_on(session, workflows, existing, wish, actor)


def suspend(session: Session, workflows: Workflows, tenant: TenantRow, actor: str) -> None:
    """Refuse the tenant everywhere: by route as soon as this commits, by fence when the workflow has run.

    TransitionError for one that cannot be suspended, or is being moved; for a closing one too: it is refused already,
    and would not be erased any more.
    """
    if Status(tenant.status) is Status.CLOSING:
        raise TransitionError("a tenant that is closing cannot be suspended: it is refused already")
    _refuse_on_its_way(session, tenant)
    tenants.change_status(tenant, Status.SUSPENDED)
    audit.record(session, actor, "tenant.suspend", tenant.slug, tenant_id=tenant.id)
    start(session, workflows, tenant, SUSPEND, actor)


def resume(session: Session, workflows: Workflows, tenant: TenantRow, actor: str) -> None:
    """Let a suspended tenant in again: the workflow opens the fence first and the route after it.

    TransitionError for one that is not suspended, or is being moved.
    """
    if Status(tenant.status) is not Status.SUSPENDED:
        raise TransitionError(f"a tenant that is {tenant.status} cannot be resumed")
    _refuse_on_its_way(session, tenant)
    audit.record(session, actor, "tenant.resume", tenant.slug, tenant_id=tenant.id)
    start(session, workflows, tenant, RESUME, actor)


def create_key(
    session: Session, tenant: TenantRow, *, name: str, role: Role, scopes: Sequence[str], actor: str
) -> tuple[ApiKeyRow, str]:
    """A new key and its text, which is told this once and never kept."""
    if Status(tenant.status) in {Status.CLOSING, Status.CLOSED}:
        raise ConflictError("a closed tenant takes no keys")
    if unknown := set(scopes) - SCOPES:
        raise InvalidError(f"there is no scope {sorted(unknown)[0]!r}; choose from {', '.join(sorted(SCOPES))}")
    text, digest = new_key(tenant.id)
    row = keys.add(session, tenant.id, name=checked_name(name), role=role, scopes=scopes, secret_sha256=digest)
    audit.record(session, actor, "key.create", name, tenant_id=tenant.id, key=str(row.id), role=str(role))
    return row, text


def revoke_key(session: Session, key_id: UUID, actor: str) -> ApiKeyRow:
    """Make a key worthless; repeating it is fine."""
    row = keys.revoke(session, key_id)
    audit.record(session, actor, "key.revoke", row.name, tenant_id=row.tenant_id, key=str(key_id))
    return row


def _refuse_on_its_way(session: Session, tenant: TenantRow) -> None:
    """Of one that is served its status says so."""
    if Status(tenant.status) is Status.SUSPENDED and moves.is_on_its_way(session, tenant.id):
        raise TransitionError(
            f"{tenant.slug!r} is being moved, and arrives suspended: wait until it has arrived, or cancel the move"
        )


def _record_new(session: Session, row: TenantRow, wish: TenantWish, actor: str) -> None:
    tenants.record_plan(session, row, wish.plan, actor)
    if wish.owner is not None:
        session.add(
            PendingOwnerRow(
                tenant_id=row.id,
                user_id=new_id(),
                email=wish.owner.email,
                name=wish.owner.name,
                password_hash=wish.owner.password_hash,
            )
        )
    audit.record(session, actor, "tenant.create", row.slug, tenant_id=row.id, model=row.model, plan=row.plan)


def _go_on(session: Session, workflows: Workflows, row: TenantRow, wish: TenantWish, actor: str) -> TenantRow:
    same = (row.name, row.plan, row.model) == (checked_name(wish.name), str(wish.plan), str(wish.model))
    if not same or Status(row.status) not in {Status.FAILED, Status.PROVISIONING}:
        raise SlugTakenError(f"the slug {row.slug!r} is taken", slug=row.slug)
    owner = tenants.pending_owner(session, row.id)
    if (owner.email if owner else None) != (wish.owner.email if wish.owner else None):
        raise OtherOwnerError(f"{row.slug!r} is being made for another owner", slug=row.slug)
    change_labels(session, row, add=wish.labels, actor=actor)
    if Status(row.status) is Status.FAILED:
        make_again(session, workflows, row, wish, actor)
    return row


def placement_of(wish: TenantWish) -> Wish:
    """What is to be placed; LabelError and the like when its labels are none."""
    labels = tuple(checked_labels(wish.labels))
    return Wish(model=wish.model, plan=wish.plan, labels=labels, server=wish.server, region=wish.region)


def make_again(session: Session, workflows: Workflows, row: TenantRow, wish: TenantWish, actor: str) -> None:
    """Go on with the making of a tenant that failed; NoServerError when it has no home yet and nothing can take it."""
    tenants.change_status(row, Status.PROVISIONING)
    row.wanted_server, row.wanted_region = wish.server, wish.region
    without_home = tenants.current_home(session, row.id) is None
    server = _server_with_room(session, placing.wish_of(row)) if without_home else None
    audit.record(session, actor, "tenant.create_again", row.slug, tenant_id=row.id)
    start(session, workflows, row, PROVISION, actor, server=server)


def start(
    session: Session, workflows: Workflows, row: TenantRow, kind: str, actor: str, *, server: str | None = None
) -> None:
    """Start a workflow for the tenant, which is its newest from now on. Commits with the caller.

    `server` is where a tenant without a home is likely to get one.
    """
    session.flush()
    row.workflow_id = workflow_records.start(session, workflows, kind, row.id, actor, server=server)


def _server_with_room(session: Session, wish: Wish) -> str:
    # Which pools are full is asked when the home is chosen: a new one may be made there.
    return placing.choose(session, wish, {}).server.name
