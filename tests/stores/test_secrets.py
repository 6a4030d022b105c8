"""Every store of secrets keeps the same promises."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import pytest

from control_plane.domain.errors import CopyholdError
from control_plane.domain.ids import new_id
from control_plane.keyring import Keyring
from control_plane.settings import Settings
from control_plane.stores import aws
from control_plane.stores.aws import AwsStoreError
from control_plane.stores.secrets import AwsSecrets, SealedSecrets, SecretGoneError, Secrets, SecretStore

KEYRING = Keyring(os.urandom(32))
OWNER = UUID(int=7)


def settings(secret_store: str) -> Settings:
    return Settings(
        control_dsn="",
        pooler_host="",
        pooler_dir=Path(),
        snapshot_file=Path(),
        master_key_file=Path("key"),
        secret_store=secret_store,  # type: ignore[arg-type]
    )


@pytest.fixture(params=["sealed", "aws", "sealed by settings", "aws by settings"])
def store(request: pytest.FixtureRequest, on_aws: None) -> SecretStore:
    """Each store, alone and as the settings choose it."""
    match request.param:
        case "sealed":
            return SealedSecrets(KEYRING)
        case "aws":
            return AwsSecrets()
        case chosen:
            return Secrets(settings(str(chosen).partition(" ")[0]), KEYRING)


def test_what_was_kept_is_had_back(store: SecretStore) -> None:
    for secret in ("correct horse", "", "ünïcode \U0001f40e", "x" * 4000):
        if secret:
            assert store.open(store.keep(secret, OWNER), OWNER) == secret


def test_what_the_roll_has_tells_nothing(store: SecretStore) -> None:
    kept = store.keep("correct horse", OWNER)
    assert "correct horse" not in kept
    assert b"correct horse".hex() not in kept


def test_each_is_another_also_for_the_same_owner(store: SecretStore) -> None:
    one, other = store.keep("one", OWNER), store.keep("other", OWNER)
    assert one != other
    assert (store.open(one, OWNER), store.open(other, OWNER)) == ("one", "other")


def test_a_secret_opens_for_its_owner_alone(store: SecretStore) -> None:
    kept = store.keep("correct horse", OWNER)
    with pytest.raises(CopyholdError) as refused:
        store.open(kept, UUID(int=8))
    assert "correct horse" not in str(refused.value)


def test_forgetting_may_be_repeated(store: SecretStore) -> None:
    kept, other = store.keep("one", OWNER), store.keep("other", OWNER)
    store.forget(kept)
    store.forget(kept)
    assert store.open(other, OWNER) == "other"


def test_what_was_forgotten_is_gone_from_aws(on_aws: None) -> None:
    kept = AwsSecrets().keep("one", OWNER)
    AwsSecrets().forget(kept)
    with pytest.raises(CopyholdError):
        AwsSecrets().open(kept, OWNER)


def test_what_never_was_there_is_gone(on_aws: None) -> None:
    with pytest.raises(SecretGoneError):
        AwsSecrets().open(f"aws:copyhold/{OWNER}/{new_id()}", OWNER)


@pytest.mark.parametrize("before", ["sealed", "aws"])
def test_a_change_of_stores_leaves_what_is_kept_in_reach(on_aws: None, before: str) -> None:
    after = {"sealed": "aws", "aws": "sealed"}[before]
    kept = Secrets(settings(before), KEYRING).keep("correct horse", OWNER)
    assert Secrets(settings(after), KEYRING).open(kept, OWNER) == "correct horse"


def test_aws_is_asked_once_for_each_secret(on_aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store = AwsSecrets()
    kept = store.keep("correct horse", OWNER)
    assert store.open(kept, OWNER) == "correct horse"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws._client.cache_clear()
    assert store.open(kept, OWNER) == "correct horse"
    with pytest.raises(AwsStoreError, match="get_secret_value failed"):
        AwsSecrets().open(kept, OWNER)
