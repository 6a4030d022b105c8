"""The master key is guarded, and what is derived from it or sealed under it serves one purpose and one owner."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.keyring import KEY_BYTES, Keyring, MasterKeyError, SealError

MASTER = bytes(range(KEY_BYTES))
keyring = Keyring(MASTER)


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """A key file."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_file_is_read(tmp_path: Path) -> None:
    assert Keyring.load(written(tmp_path / "key", MASTER)).key("a") == keyring.key("a")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601, 0o777], ids=oct)
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(MasterKeyError, match="chmod 600"):
        Keyring.load(written(tmp_path / "key", MASTER, mode))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700], ids=oct)
def test_a_key_file_that_only_its_owner_may_touch_is_taken(tmp_path: Path, mode: int) -> None:
    Keyring.load(written(tmp_path / "key", MASTER, mode))


@pytest.mark.parametrize("size", [0, 1, KEY_BYTES - 1, KEY_BYTES + 1, 2 * KEY_BYTES - 1])
def test_a_key_of_another_size_is_refused_without_being_shown(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    with pytest.raises(MasterKeyError, match=f"has {size % KEY_BYTES} bytes; it needs {KEY_BYTES}") as refused:
        Keyring.load(written(tmp_path / "key", content))
    assert not content or content.hex() not in str(refused.value)


def test_a_key_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(MasterKeyError, match=str(path)):
            Keyring.load(path)


def test_a_keyring_shows_nothing_of_its_keys() -> None:
    shown = repr(keyring) + str(keyring)
    assert MASTER.hex() not in shown
    assert repr(MASTER) not in shown


def test_keys_are_the_same_for_ever() -> None:
    """A change here would make every signature, seal and session of every platform worthless."""
    assert keyring.key("seal").hex() == "a2ecaad7a6ce1c355117268a7c5dba8f47aeea212fbeb4efdb7c1562c2078d3d"
    assert keyring.context_key(UUID(int=1)) == keyring.key("context/00000000-0000-0000-0000-000000000001")


@given(st.text(), st.text(), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_every_purpose_and_every_master_has_a_key_of_its_own(one: str, other: str, master: bytes) -> None:
    assert len(keyring.key(one)) == KEY_BYTES
    assert keyring.key(one) == Keyring(MASTER).key(one)
    assert (keyring.key(one) == keyring.key(other)) == (one == other)
    assert (Keyring(master).key(one) == keyring.key(one)) == (master == MASTER)


@given(st.uuids(), st.uuids())
def test_every_database_has_a_key_of_its_own(one: UUID, other: UUID) -> None:
    assert (keyring.context_key(one) == keyring.context_key(other)) == (one == other)


def test_a_mac_is_bound_to_purpose_and_message() -> None:
    macs = {keyring.mac(purpose, message) for purpose in ("a", "b") for message in (b"", b"x", b"y")}
    assert len(macs) == 6


@given(st.text(), st.text())
def test_what_was_sealed_opens_for_its_owner(secret: str, owner: str) -> None:
    assert keyring.unseal(keyring.seal(secret, belongs_to=owner), belongs_to=owner) == secret


@given(st.text(min_size=1), st.text(), st.text())
def test_it_opens_for_nobody_else(secret: str, owner: str, other: str) -> None:
    sealed = keyring.seal(secret, belongs_to=owner)
    if other != owner:
        with pytest.raises(SealError):
            keyring.unseal(sealed, belongs_to=other)
    with pytest.raises(SealError):
        Keyring(bytes(KEY_BYTES)).unseal(sealed, belongs_to=owner)


@given(st.text(max_size=20), st.data())
def test_it_does_not_open_once_a_bit_of_it_was_changed(secret: str, data: st.DataObject) -> None:
    sealed = bytearray.fromhex(keyring.seal(secret, belongs_to="a"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        keyring.unseal(sealed.hex(), belongs_to="a")


@given(st.one_of(st.text(max_size=80), st.binary(max_size=40).map(bytes.hex)))
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealError) as refused:
        keyring.unseal(text, belongs_to="a")
    assert refused.value.facts == {"belongs_to": "a"}


def test_sealing_twice_gives_two_texts_that_tell_nothing() -> None:
    one, other = (keyring.seal("correct horse", belongs_to="a") for _ in range(2))
    assert one != other
    assert b"correct horse".hex() not in one


OTHER = bytes(range(1, KEY_BYTES + 1))


def test_while_the_master_key_is_changed_both_are_good_and_one_is_used() -> None:
    old, both = Keyring(MASTER), Keyring(OTHER, MASTER)
    assert both.ids == (*Keyring(OTHER).ids, *old.ids)
    assert both.key("a") == Keyring(OTHER).key("a")
    assert both.unseal(old.seal("correct horse", belongs_to="a"), belongs_to="a") == "correct horse"
    assert both.vouches("a", b"x", old.mac("a", b"x"))
    assert both.vouches("a", b"x", both.mac("a", b"x"))
    assert not old.vouches("a", b"x", both.mac("a", b"x"))
    assert both.context_key(UUID(int=1), old.ids[0]) == old.context_key(UUID(int=1))
    assert both.context_key(UUID(int=1)) == Keyring(OTHER).context_key(UUID(int=1))


def test_an_id_that_is_forgotten_counts_as_the_current_ones() -> None:
    assert keyring.context_key(UUID(int=1), "00000000") == keyring.context_key(UUID(int=1))


def test_an_id_tells_nothing_of_its_key() -> None:
    (name,) = keyring.ids
    assert len(name) == 8
    assert name not in MASTER.hex()


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(MasterKeyError, match="twice"):
        Keyring(MASTER, MASTER)


def test_a_file_with_two_keys_is_read_the_current_one_first(tmp_path: Path) -> None:
    assert Keyring.load(written(tmp_path / "key", OTHER + MASTER)).ids == Keyring(OTHER, MASTER).ids
