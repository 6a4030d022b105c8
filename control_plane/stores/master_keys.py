"""Where the master key comes from: a file, a variable, or a file that AWS KMS has to open."""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from control_plane.keyring import KEY_BYTES, Keyring, MasterKeyError, MasterKeySource, read_key_file
from control_plane.settings import Settings
from control_plane.stores import aws

CONTEXT = {"copyhold": "master key"}
"""Bound to what KMS seals for us: nothing else that it sealed can be passed off as a master key."""


class Changeable(MasterKeySource, Protocol):
    """A source whose keys this platform itself can change. What reads it has the old keys or the new ones, never half.

    Nobody else may change them meanwhile.
    """

    def add(self) -> None:
        """Make a new key, which is the current one from now on; those that were there are still good."""

    def forget(self) -> None:
        """Take all keys away but the current one."""


@dataclass(frozen=True, kw_only=True)
class KeyFile:
    """Keys as they are, 32 bytes each, in a file that only its owner may touch."""

    path: Path

    def read(self) -> tuple[bytes, ...]:
        """See MasterKeySource."""
        return read_key_file(self.path)

    def mark(self) -> object:
        """See MasterKeySource."""
        return _mark(self.path)

    def create(self, keys: Sequence[bytes] = ()) -> None:
        """Make the file: with those keys, or with a new one."""
        _replace(self.path, b"".join(keys) or secrets.token_bytes(KEY_BYTES))

    def add(self) -> None:
        """See Changeable."""
        _replace(self.path, b"".join((secrets.token_bytes(KEY_BYTES), *self.read())))

    def forget(self) -> None:
        """See Changeable."""
        _replace(self.path, self.read()[0])


@dataclass(frozen=True, kw_only=True)
class KeyVariable:
    """Keys in base64, the current one first, with commas between them. They change with a new start."""

    text: str = field(repr=False)

    def read(self) -> tuple[bytes, ...]:
        """See MasterKeySource."""
        try:
            return tuple(base64.b64decode(part.strip(), validate=True) for part in self.text.split(","))
        except binascii.Error as error:
            raise MasterKeyError("COPYHOLD_MASTER_KEY is not base64") from error

    def mark(self) -> object:
        """See MasterKeySource."""
        return None


@dataclass(frozen=True, kw_only=True)
class KmsFile:
    """Keys that AWS KMS made and sealed (data keys), in a file; KMS opens them when a process starts."""

    path: Path

    def read(self) -> tuple[bytes, ...]:
        """See MasterKeySource."""
        return tuple(self._opened(blob) for blob in self._content()[1])

    def mark(self) -> object:
        """See MasterKeySource."""
        return _mark(self.path)

    def add(self) -> None:
        """See Changeable. The key of KMS is the one that has been used for this file."""
        kms_key, blobs = self._content()
        self._write(kms_key, [_data_key(kms_key), *blobs])

    def forget(self) -> None:
        """See Changeable."""
        kms_key, blobs = self._content()
        self._write(kms_key, blobs[:1])

    def create(self, kms_key: str, keys: Sequence[bytes] = ()) -> None:
        """Make the file under that key of KMS (an id, an ARN or an alias): with those keys, or with a new one."""
        self._write(kms_key, [_sealed(kms_key, each) for each in keys] or [_data_key(kms_key)])

    def _opened(self, blob: bytes) -> bytes:
        try:
            key: bytes = aws.call("kms", "decrypt", CiphertextBlob=blob, EncryptionContext=CONTEXT)["Plaintext"]
        except aws.AwsStoreError as error:
            raise MasterKeyError(f"KMS does not open the master key {self.path}: {error.message}") from error
        return key

    def _content(self) -> tuple[str, list[bytes]]:
        try:
            content = json.loads(self.path.read_text())
            return content["kms_key"], [base64.b64decode(each, validate=True) for each in content["keys"]]
        except OSError as error:
            raise MasterKeyError(f"the master key {self.path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise MasterKeyError(f"{self.path} is not what `copyhold master-key new --kms` writes") from error

    def _write(self, kms_key: str, blobs: list[bytes]) -> None:
        content = {"kms_key": kms_key, "keys": [base64.b64encode(each).decode() for each in blobs]}
        _replace(self.path, json.dumps(content, indent=2).encode() + b"\n")


def source_of(settings: Settings) -> MasterKeySource:
    """Where these settings say that the master key is."""
    if settings.master_key is not None:
        return KeyVariable(text=settings.master_key.get_secret_value())
    if settings.master_key_kms is not None:
        return KmsFile(path=settings.master_key_kms)
    assert settings.master_key_file is not None  # the settings have one of the three
    return KeyFile(path=settings.master_key_file)


def open_keyring(settings: Settings) -> Keyring:
    """The keyring of the master keys that these settings name; MasterKeyError when they cannot be used."""
    return Keyring.of(source_of(settings))


def _data_key(kms_key: str) -> bytes:
    try:
        blob: bytes = aws.call(
            "kms", "generate_data_key_without_plaintext", KeyId=kms_key, KeySpec="AES_256", EncryptionContext=CONTEXT
        )["CiphertextBlob"]
    except aws.AwsStoreError as error:
        raise MasterKeyError(f"KMS does not make a key: {error.message}") from error
    return blob


def _sealed(kms_key: str, key: bytes) -> bytes:
    try:
        answer = aws.call("kms", "encrypt", KeyId=kms_key, Plaintext=key, EncryptionContext=CONTEXT)
    except aws.AwsStoreError as error:
        raise MasterKeyError(f"KMS does not seal a key: {error.message}") from error
    blob: bytes = answer["CiphertextBlob"]
    return blob


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _replace(path: Path, content: bytes) -> None:
    """As the owner that the file has, for the owner alone; on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        if path.exists() and os.geteuid() == 0:
            os.fchown(handle, path.stat().st_uid, path.stat().st_gid)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
