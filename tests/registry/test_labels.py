"""Labels of tenants: checked, kept once each, found again, and told to the audit log."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane import audit
from control_plane.domain.tenant import Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.tenants.labels import (
    LABELS_MAX,
    LabelError,
    TooManyLabelsError,
    UndecidedLabelError,
    change_labels,
    checked_label,
    checked_labels,
    set_labels,
)
from tests.registry.roll import ACTOR, Roll, wish

ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.fixture
def tenant(roll: Roll) -> UUID:
    return roll.create(wish("acme", labels=("eu", "canary")))


def change(roll: Roll, tenant_id: UUID, *, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> bool:
    with transaction(roll.engine) as session:
        row = tenants.get(session, tenant_id, lock=True)
        return change_labels(session, row, add=add, remove=remove, actor=ACTOR)


def told(roll: Roll, tenant_id: UUID) -> list[dict[str, object]]:
    """What the audit log has of the tenant's labels, newest first."""
    with transaction(roll.engine) as session:
        entries = audit.newest(session, limit=100, tenant_id=tenant_id)
        return [entry.facts for entry in entries if entry.action == "tenant.labels"]


@pytest.mark.parametrize("label", ["a", "7", "canary", "wave-1", "a" * 40, "2024-early"])
def test_a_short_word_is_a_label(label: str) -> None:
    assert checked_label(label) == label


@pytest.mark.parametrize(
    "text", ["", " ", "Canary", "a b", "a_b", "-a", "--", "a\n", "ä", "a" * 41, "x" * 10_000, "a,b", "\x1b[31m", "a\0"]
)
def test_anything_else_is_refused_in_a_short_line(text: str) -> None:
    with pytest.raises(LabelError) as refused:
        checked_label(text)
    assert "1 to 40 small letters, digits and hyphens" in refused.value.message
    assert len(refused.value.message) < 150
    assert refused.value.message.isprintable()


@given(st.text(max_size=60))
def test_a_label_is_made_of_nothing_but_what_is_allowed(text: str) -> None:
    try:
        checked_label(text)
    except LabelError:
        assert not 1 <= len(text) <= 40 or text[0] not in ALLOWED or set(text) - set(ALLOWED + "-")
    else:
        assert set(text) <= set(ALLOWED + "-")


@given(st.lists(st.text(alphabet=ALLOWED, min_size=1, max_size=3), max_size=40))
def test_labels_come_once_each_in_order_and_not_too_many(labels: list[str]) -> None:
    if len(set(labels)) > LABELS_MAX:
        with pytest.raises(TooManyLabelsError, match="20 labels at most"):
            checked_labels(labels)
    else:
        assert checked_labels(labels) == sorted(set(labels))


def test_a_tenant_is_made_with_labels(roll: Roll, tenant: UUID) -> None:
    assert roll.get(tenant).labels == ["canary", "eu"]
    assert roll.get(roll.create(wish("other"))).labels == []


def test_a_bad_label_makes_no_tenant(roll: Roll) -> None:
    with pytest.raises(LabelError):
        roll.create(wish("acme", labels=("Canary",)))
    assert roll.ask("SELECT slug FROM tenants") == []


def test_the_same_wish_with_other_labels_adds_them(roll: Roll, tenant: UUID) -> None:
    assert roll.create(wish("acme", labels=("late",))) == tenant
    assert roll.get(tenant).labels == ["canary", "eu", "late"]
    roll.be(tenant, Status.FAILED)
    assert roll.create(wish("acme")) == tenant
    assert roll.get(tenant).labels == ["canary", "eu", "late"]


def test_labels_are_added_and_removed_and_the_audit_log_is_told(roll: Roll, tenant: UUID) -> None:
    assert change(roll, tenant, add=("late", "eu"), remove=("canary", "never-there"))
    assert roll.get(tenant).labels == ["eu", "late"]
    assert told(roll, tenant) == [{"was": ["canary", "eu"], "now": ["eu", "late"]}]


def test_what_changes_nothing_is_told_to_nobody(roll: Roll, tenant: UUID) -> None:
    assert not change(roll, tenant, add=("eu",), remove=("late",))
    assert told(roll, tenant) == []


def test_labels_are_set_all_at_once(roll: Roll, tenant: UUID) -> None:
    with transaction(roll.engine) as session:
        assert set_labels(session, tenants.get(session, tenant), [], ACTOR)
    assert roll.get(tenant).labels == []


@pytest.mark.parametrize(
    ("add", "remove", "error"),
    [
        (("Bad",), (), LabelError),
        (("fine",), ("Bad",), LabelError),
        (("both",), ("both",), UndecidedLabelError),
        (tuple(f"l{number}" for number in range(LABELS_MAX)), (), TooManyLabelsError),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(
    roll: Roll, tenant: UUID, add: tuple[str, ...], remove: tuple[str, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        change(roll, tenant, add=add, remove=remove)
    assert roll.get(tenant).labels == ["canary", "eu"]
    assert told(roll, tenant) == []


def test_tenants_are_found_by_label(roll: Roll, tenant: UUID) -> None:
    other = roll.create(wish("other", labels=("canary",)))
    roll.create(wish("third", labels=("canary-not",)))
    with transaction(roll.engine) as session:
        assert [row.id for row in tenants.tenants_by_label(session, "canary")] == [tenant, other]
        assert [row.id for row in tenants.search(session, "oth", None, "canary")] == [other]
        assert [row.id for row in tenants.page(session, after=tenant, limit=5, label="canary")] == [other]
        assert tenants.tenants_by_label(session, "can") == []
