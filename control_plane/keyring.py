"""The master key and everything derived from it: signing keys, and the seal on stored credentials."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from control_plane.domain.errors import SetupError

KEY_BYTES = 32
_NONCE_BYTES = 12


class MasterKeyError(SetupError):
    """The master key cannot be used."""


class SealError(SetupError):
    """A sealed credential cannot be opened: it was changed, or sealed under another master key."""


class Keyring:
    """Derives one key a purpose by HKDF-SHA256, so that none of them tells anything of another."""

    def __init__(self, master: bytes) -> None:
        if len(master) != KEY_BYTES:
            raise MasterKeyError(f"the master key has {len(master)} bytes; it needs {KEY_BYTES}")
        self._master = master
        self._derived: dict[str, bytes] = {}

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """The keyring of the key file at `path`; MasterKeyError when it is missing or others may read it."""
        try:
            mode, master = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise MasterKeyError(f"the master key {path} cannot be read: {error.strerror}") from error
        if mode & 0o077:
            raise MasterKeyError(f"others may read the master key {path}: chmod 600 it")
        return cls(master)

    def key(self, purpose: str) -> bytes:
        """32 bytes for `purpose`; the same for the same master key, for ever."""
        if purpose not in self._derived:
            hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"copyhold/{purpose}".encode())
            self._derived[purpose] = hkdf.derive(self._master)
        return self._derived[purpose]

    def context_key(self, database_id: UUID) -> bytes:
        """The key that signs context tokens for one database."""
        return self.key(f"context/{database_id}")

    def mac(self, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA256 of `message` under the key of `purpose`."""
        return hmac.digest(self.key(purpose), message, hashlib.sha256)

    def seal(self, secret: str, *, belongs_to: str) -> str:
        """`secret` under AES-256-GCM, hex; it opens only for the same `belongs_to`."""
        nonce = os.urandom(_NONCE_BYTES)
        return (nonce + AESGCM(self.key("seal")).encrypt(nonce, secret.encode(), belongs_to.encode())).hex()

    def unseal(self, sealed: str, *, belongs_to: str) -> str:
        """The secret inside `sealed`, or SealError."""
        try:
            raw = bytes.fromhex(sealed)
            nonce, box = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return AESGCM(self.key("seal")).decrypt(nonce, box, belongs_to.encode()).decode()
        except (ValueError, InvalidTag) as error:
            raise SealError(belongs_to=belongs_to) from error
