"""A platform's folder has its master key as it is, or as AWS KMS sealed it."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.errors import SetupError
from control_plane.stores import aws
from control_plane.stores.master_keys import KmsFile, open_keyring
from provisioning.layout import Layout


@pytest.fixture
def kms_key(on_aws: None) -> str:
    """A key of KMS."""
    return str(aws.call("kms", "create_key")["KeyMetadata"]["KeyId"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for a platform."""
    (tmp_path / "data").mkdir(mode=0o700)
    return tmp_path / "data"


def test_a_new_platform_on_kms_has_no_key_as_it_is(place: Path, kms_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYHOLD_MASTER_KEY_FILE", "/elsewhere")
    layout = Layout.create(place, kms=kms_key)
    assert [each.name for each in layout.master_key.parent.iterdir()] == ["master.kms"]
    ids = open_keyring(layout.settings()).ids
    assert ids == open_keyring(Layout.create(place).settings()).ids, "the next start made another key"


def test_a_key_in_a_file_is_taken_along_to_kms(place: Path, kms_key: str) -> None:
    layout = Layout.create(place)
    before = open_keyring(layout.settings())
    with pytest.raises(SetupError, match=r"copyhold master-key new .*master\.kms --kms .* --with-current"):
        Layout.create(place, kms=kms_key)
    KmsFile(path=layout.master_key_kms).create(kms_key, [layout.master_key.read_bytes()])
    assert open_keyring(Layout.create(place, kms=kms_key).settings()).ids == before.ids
    layout.master_key.unlink()
    assert open_keyring(Layout.create(place).settings()).ids == before.ids
