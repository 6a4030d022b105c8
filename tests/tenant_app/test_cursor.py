"""Cursors are opaque, good for one list, and a mangled one is told from a good one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_app.cursor import LENGTH, CursorError, read, written

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ids = st.uuids()
lists = st.sampled_from(["users", "conversations", "messages/1/oldest", "messages/1/newest"])


@given(ids, lists)
def test_a_cursor_is_read_as_the_id_it_was_written_for(row_id: UUID, of: str) -> None:
    cursor = written(row_id, of)
    assert read(cursor, of) == row_id
    assert len(cursor) == LENGTH
    assert set(cursor) <= set(ALPHABET)


@given(ids, lists, lists)
def test_a_cursor_of_another_list_is_refused(row_id: UUID, of: str, other: str) -> None:
    if of != other:
        with pytest.raises(CursorError):
            read(written(row_id, of), other)


@given(ids, lists, st.integers(0, LENGTH - 1), st.sampled_from(ALPHABET))
def test_a_cursor_with_another_character_is_refused(row_id: UUID, of: str, position: int, character: str) -> None:
    cursor = written(row_id, of)
    changed = cursor[:position] + character + cursor[position + 1 :]
    if changed != cursor:
        with pytest.raises(CursorError):
            read(changed, of)


@given(st.text(max_size=60), lists)
def test_any_other_text_is_refused(text: str, of: str) -> None:
    with pytest.raises(CursorError):
        read(text, of)
