"""Ids are UUIDv7, and their order is their age."""

from __future__ import annotations

import time

from control_plane.domain.ids import new_id, parse_id


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_are_ordered_as_they_were_made() -> None:
    made = [new_id() for _ in range(2000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_only_the_canonical_text_is_an_id() -> None:
    made = new_id()
    assert parse_id(str(made)) == parse_id(str(made).upper()) == made
    for text in (made.hex, f"{{{made}}}", f"urn:uuid:{made}", f" {made}", "", "x"):
        assert parse_id(text) is None
