"""A master key is found wherever the settings say that it is, and followed while it is changed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from control_plane.domain.errors import SetupError
from control_plane.keyring import KEY_BYTES, Keyring, MasterKeyError, SealError
from control_plane.settings import Settings
from control_plane.stores import aws
from control_plane.stores.master_keys import Changeable, KeyFile, KeyVariable, KmsFile, open_keyring

OLD, NEW = bytes(range(KEY_BYTES)), bytes(range(1, KEY_BYTES + 1))


def settings(**given: Any) -> Settings:
    return Settings.from_environment(
        control_dsn="", pooler_host="", pooler_dir=Path(), snapshot_file=Path("roll"), **given
    )


def variable(*keys: bytes) -> str:
    return ",".join(base64.b64encode(key).decode() for key in keys)


@pytest.fixture
def kms_key(on_aws: None) -> str:
    """A key of KMS."""
    return str(aws.call("kms", "create_key")["KeyMetadata"]["KeyId"])


@pytest.fixture(params=["file", "kms"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Changeable:
    """Each source whose keys the platform can change itself, with one key."""
    path = tmp_path / "master"
    if request.param == "file":
        KeyFile(path=path).create()
        return KeyFile(path=path)
    KmsFile(path=path).create(request.getfixturevalue("kms_key"))
    return KmsFile(path=path)


def test_the_same_key_is_the_same_from_every_source(tmp_path: Path, kms_key: str) -> None:
    KeyFile(path=tmp_path / "plain").create([OLD])
    KmsFile(path=tmp_path / "kms").create(kms_key, [OLD])
    keyrings = (
        open_keyring(settings(master_key_file=tmp_path / "plain")),
        open_keyring(settings(master_key=variable(OLD))),
        open_keyring(settings(master_key_kms=tmp_path / "kms")),
    )
    assert {keyring.key("seal") for keyring in keyrings} == {Keyring(OLD).key("seal")}


@pytest.mark.parametrize("given", [{}, {"master_key": variable(OLD), "master_key_file": Path("key")}], ids=["0", "2"])
def test_one_source_is_needed_and_no_more(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_KEY", "MASTER_KEY_FILE", "MASTER_KEY_KMS"):
        monkeypatch.delenv(f"COPYHOLD_{name}", raising=False)
    with pytest.raises(
        SetupError, match=r"COPYHOLD_MASTER_KEY: .*give one of master_key_file, master_key and master_key_kms"
    ):
        settings(**given)


def test_settings_do_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYHOLD_MASTER_KEY", variable(OLD))
    made = settings()
    assert variable(OLD) not in repr(made)
    assert variable(OLD) not in repr(KeyVariable(text=variable(OLD)))
    assert open_keyring(made).ids == Keyring(OLD).ids


@pytest.mark.parametrize("text", ["not base64!", "c2hvcnQ=", "", variable(OLD, OLD), variable(OLD) + ","])
def test_a_variable_without_whole_keys_is_refused(text: str) -> None:
    with pytest.raises(MasterKeyError) as refused:
        Keyring.of(KeyVariable(text=text))
    assert variable(OLD) not in str(refused.value)


def test_a_new_key_is_current_and_the_one_before_still_good(source: Changeable) -> None:
    before = Keyring.of(source)
    sealed, mac = before.seal("correct horse", belongs_to="a"), before.mac("cookie", b"x")
    source.add()
    after = Keyring.of(source)
    assert len(after.ids) == 2
    assert after.ids[1] == before.ids[0]
    assert after.unseal(sealed, belongs_to="a") == "correct horse"
    assert after.vouches("cookie", b"x", mac)
    assert after.mac("cookie", b"x") != mac
    assert (after.is_current(sealed), after.is_current(after.seal("", belongs_to="a"))) == (False, True)


def test_a_forgotten_key_is_worth_nothing(source: Changeable) -> None:
    before = Keyring.of(source)
    sealed, mac = before.seal("correct horse", belongs_to="a"), before.mac("cookie", b"x")
    source.add()
    source.forget()
    after = Keyring.of(source)
    assert len(after.ids) == 1
    assert not after.vouches("cookie", b"x", mac)
    with pytest.raises(SealError):
        after.unseal(sealed, belongs_to="a")


def test_a_keyring_follows_its_source(source: Changeable) -> None:
    following = Keyring.of(source)
    assert not following.refresh()
    source.add()
    sealed = Keyring.of(source).seal("correct horse", belongs_to="a")
    assert following.unseal(sealed, belongs_to="a") == "correct horse"  # looks for itself when it does not know a key
    source.forget()
    assert following.refresh()
    assert following.ids == Keyring.of(source).ids


def test_a_keyring_keeps_its_keys_while_the_source_cannot_be_read(tmp_path: Path) -> None:
    source = KeyFile(path=tmp_path / "key")
    source.create([OLD])
    keyring = Keyring.of(source)
    (tmp_path / "key").unlink()
    assert not keyring.refresh()
    (tmp_path / "key").write_bytes(b"half")
    assert not keyring.refresh()
    assert keyring.ids == Keyring(OLD).ids
    source.create([NEW])
    assert keyring.refresh()
    assert keyring.ids == Keyring(NEW).ids


def test_a_key_file_is_its_owners_alone(source: Changeable) -> None:
    source.add()
    assert isinstance(source, KeyFile | KmsFile)
    assert source.path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in source.path.parent.iterdir()] == [source.path.name]


def test_what_kms_sealed_holds_no_key_as_it_is(tmp_path: Path, kms_key: str) -> None:
    KmsFile(path=tmp_path / "kms").create(kms_key, [OLD])
    content = (tmp_path / "kms").read_text()
    assert variable(OLD) not in content
    assert kms_key in content


def test_what_kms_does_not_open_is_told_in_words(tmp_path: Path, kms_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    KmsFile(path=tmp_path / "kms").create(kms_key)
    with pytest.raises(MasterKeyError, match=r"KMS does not make a key: .*nobody"):
        KmsFile(path=tmp_path / "other").create("nobody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws._client.cache_clear()
    with pytest.raises(
        MasterKeyError, match=f"KMS does not open the master key {tmp_path / 'kms'}: AWS decrypt failed"
    ):
        Keyring.of(KmsFile(path=tmp_path / "kms"))


@pytest.mark.parametrize("content", ["", "{}", '{"kms_key": "a", "keys": [1]}', '{"kms_key": "a", "keys": ["!"]}'])
def test_a_file_that_is_none_of_kms_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "kms").write_text(content)
    with pytest.raises(MasterKeyError, match=f"{tmp_path / 'kms'} is not what"):
        KmsFile(path=tmp_path / "kms").read()
