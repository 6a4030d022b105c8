"""Labels: the words by which ops choose tenants, for the first wave of a migration for example."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy.orm import Session

from control_plane import audit
from control_plane.domain.errors import InvalidError
from control_plane.registry.tables import TenantRow

LABELS_MAX = 20
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_SHOWN = 50
"""Of a word that is no label, this much is repeated."""


class LabelError(InvalidError):
    """A label is 1 to 40 small letters, digits and hyphens, and does not start with a hyphen."""

    code = "label_invalid"


class TooManyLabelsError(InvalidError):
    """A tenant has 20 labels at most."""

    code = "labels_too_many"


class UndecidedLabelError(InvalidError):
    """A label cannot be added and removed at once."""

    code = "label_undecided"


def checked_label(text: str) -> str:
    """`text`, if it may be a label, or LabelError."""
    if not _LABEL.fullmatch(text):
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise LabelError(f"{shown!r} is no label: 1 to 40 small letters, digits and hyphens, the first no hyphen")
    return text


def checked_labels(texts: Iterable[str]) -> list[str]:
    """Each once, in order; LabelError or TooManyLabelsError."""
    labels = sorted({checked_label(text) for text in texts})
    if len(labels) > LABELS_MAX:
        raise TooManyLabelsError(f"a tenant has {LABELS_MAX} labels at most, these are {len(labels)}")
    return labels


def set_labels(session: Session, tenant: TenantRow, labels: Iterable[str], actor: str) -> bool:
    """Give the tenant these labels and no others; False when it has them. Commits with the caller."""
    was, now = sorted(tenant.labels), checked_labels(labels)
    if now == was:
        return False
    tenant.labels = now
    audit.record(session, actor, "tenant.labels", tenant.slug, tenant_id=tenant.id, was=was, now=now)
    return True


def change_labels(
    session: Session, tenant: TenantRow, *, add: Iterable[str] = (), remove: Iterable[str] = (), actor: str
) -> bool:
    """Add some labels and remove others; False when that changes nothing. Commits with the caller.

    Repeating it is fine. Whoever calls this has locked the tenant, or loses what another changes meanwhile.
    """
    added, removed = set(add), {checked_label(text) for text in remove}
    if both := added & removed:
        raise UndecidedLabelError(f"{min(both)!r} cannot be added and removed at once")
    return set_labels(session, tenant, (set(tenant.labels) | added) - removed, actor)
