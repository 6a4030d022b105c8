"""Slugs, names, plans and models."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.errors import InvalidError
from control_plane.domain.ids import new_id, parse_id
from control_plane.domain.tenant import (
    RESERVED_SLUGS,
    Model,
    Plan,
    ReservedSlugError,
    SlugError,
    UnknownModelError,
    UnknownPlanError,
    checked_name,
    checked_slug,
    parse_model,
    parse_plan,
    slug_of,
)

DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("slug", ["abc", "a1b", "acme-sons", "a-b-c-d", "x" * 40, "a" + "1" * 39])
def test_good_slugs_are_kept_as_they_are(slug: str) -> None:
    assert checked_slug(slug) == slug


UGLY = ("xn--bcher-kva", "xn-a", "äcme", "acme\n", " acme", "acme ", "acme\0", "ａｃｍｅ")


@pytest.mark.parametrize(
    "slug",
    ["", "a", "ab", "1abc", "-abc", "abc-", "a--b", "Acme", "acme_sons", "acme.sons", "x" * 41, *UGLY],
)
def test_bad_slugs_are_refused(slug: str) -> None:
    with pytest.raises(SlugError):
        checked_slug(slug)


@pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS))
def test_the_platforms_own_names_are_refused(slug: str) -> None:
    with pytest.raises((ReservedSlugError, SlugError)):
        checked_slug(slug)


@pytest.mark.parametrize("slug", ["admin", "api", "www", "localhost", "copyhold", "signup"])
def test_the_most_important_names_are_reserved(slug: str) -> None:
    with pytest.raises(ReservedSlugError):
        checked_slug(slug)


@given(st.text())
def test_whatever_passes_is_one_dns_label(text: str) -> None:
    try:
        slug = checked_slug(text)
    except InvalidError:
        return
    assert DNS_LABEL.fullmatch(slug)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme", "acme"),
        ("Ärzte & Co", "arzte-co"),
        ("  Acme -- Sons, Ltd. ", "acme-sons-ltd"),
        ("日本", ""),
        ("x" * 39 + " y", "x" * 39),
        ("Crème brûlée", "creme-brulee"),
    ],
)
def test_a_slug_is_made_from_a_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@given(st.text())
def test_a_slug_that_was_made_passes_or_is_refused_for_a_reason_that_can_be_told(name: str) -> None:
    made = slug_of(name)
    try:
        assert checked_slug(made) == made
    except SlugError:
        assert len(made) < 3 or not made[0].isalpha() or made.startswith("xn-")
    except ReservedSlugError:
        assert made in RESERVED_SLUGS


def test_a_name_loses_its_surplus_blanks() -> None:
    assert checked_name("  Acme \t &  Sons ") == "Acme & Sons"


@pytest.mark.parametrize("name", ["", " ", "\0", "a\u202eb", "x" * 201])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidError):
        checked_name(name)


def test_plans_and_models_are_found_by_name() -> None:
    assert (parse_plan("enterprise"), parse_model("silo")) == (Plan.ENTERPRISE, Model.SILO)
    with pytest.raises(UnknownPlanError):
        parse_plan("Enterprise")
    with pytest.raises(UnknownModelError):
        parse_model("")


def test_ids_sort_by_age_and_say_their_version() -> None:
    ids = [new_id() for _ in range(3)]
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == 3
    assert UUID(int=ids[0].int >> 80 << 80) <= UUID(int=ids[2].int >> 80 << 80)


@pytest.mark.parametrize("text", ["", "x", "{%s}", "urn:uuid:%s", "%s ", "hex"])
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    each = new_id()
    assert parse_id(str(each)) == parse_id(str(each).upper()) == each
    assert parse_id(each.hex if text == "hex" else text.replace("%s", str(each))) is None
