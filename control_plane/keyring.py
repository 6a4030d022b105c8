"""The master key and everything derived from it: signing keys, and the seal on stored credentials.

While one master key takes another's place a keyring has both. What is made is made under the current one; what was made
under another that it has is still good.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from control_plane.domain.errors import SetupError

KEY_BYTES = 32
ID_BYTES = 4
_NONCE_BYTES = 12


class MasterKeyError(SetupError):
    """The master key cannot be used."""


class SealError(SetupError):
    """A sealed credential cannot be opened: it was changed, or sealed under another master key."""


class MasterKeySource(Protocol):
    """Where master keys come from: a file, a variable, a key service."""

    def read(self) -> tuple[bytes, ...]:
        """The keys, the current one first, others that are still good after it; MasterKeyError without any."""

    def mark(self) -> object:
        """Another value once `read` may tell something else. Quick, and never fails."""


class _Master:
    """One master key, and what has been derived from it."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise MasterKeyError(f"the master key has {len(key)} bytes; it needs {KEY_BYTES}")
        self._key = key
        self._derived: dict[str, bytes] = {}
        self.id = self.derived("id")[:ID_BYTES].hex()

    def derived(self, purpose: str) -> bytes:
        if purpose not in self._derived:
            hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"copyhold/{purpose}".encode())
            self._derived[purpose] = hkdf.derive(self._key)
        return self._derived[purpose]

    def mac(self, purpose: str, message: bytes) -> bytes:
        return hmac.digest(self.derived(purpose), message, hashlib.sha256)


class Keyring:
    """Derives one key a purpose by HKDF-SHA256, so that none of them tells anything of another.

    Any thread may use it. One that was opened from a source follows it by `refresh`.
    """

    def __init__(self, current: bytes, *others: bytes) -> None:
        self._masters = _masters((current, *others))
        self._source: MasterKeySource | None = None
        self._mark: object = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, source: MasterKeySource) -> Keyring:
        """The keyring of what the source has; MasterKeyError when that cannot be used."""
        mark = source.mark()
        keyring = cls(*source.read())
        keyring._source, keyring._mark = source, mark
        return keyring

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """The keyring of the key file at `path`; MasterKeyError when it is missing or others may read it."""
        return cls(*read_key_file(path))

    def refresh(self) -> bool:
        """Look whether the source has other keys by now; whether this keyring has. One that cannot be read counts as
        unchanged."""
        source = self._source
        if source is None or source.mark() == self._mark:
            return False
        with self._lock:
            mark = source.mark()
            try:
                masters = _masters(source.read())
            except MasterKeyError:
                return False
            changed = [each.id for each in masters] != [each.id for each in self._masters]
            self._mark = mark
            if changed:
                self._masters = masters
            return changed

    @property
    def ids(self) -> tuple[str, ...]:
        """What the master keys are called, the current one first. A name tells nothing of its key."""
        return tuple(each.id for each in self._masters)

    def key(self, purpose: str) -> bytes:
        """32 bytes for `purpose`; the same for the same master key, for ever."""
        return self._masters[0].derived(purpose)

    def context_key(self, database_id: UUID, master: str | None = None) -> bytes:
        """The key that signs context tokens for one database, by the current master key or by that of another id.

        An id that is not known any more counts as the current one's.
        """
        masters = self._masters
        chosen = next((each for each in masters if each.id == master), masters[0])
        return chosen.derived(f"context/{database_id}")

    def mac(self, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA256 of `message` under the key of `purpose`."""
        return self._masters[0].mac(purpose, message)

    def vouches(self, purpose: str, message: bytes, mac: bytes) -> bool:
        """Whether that is the mac of `message`, by any of the master keys."""
        return any(hmac.compare_digest(mac, each.mac(purpose, message)) for each in self._masters)

    def seal(self, secret: str, *, belongs_to: str) -> str:
        """`secret` under AES-256-GCM, hex, with the master key's id before it; it opens only for the same
        `belongs_to`."""
        master, nonce = self._masters[0], os.urandom(_NONCE_BYTES)
        box = AESGCM(master.derived("seal")).encrypt(nonce, secret.encode(), belongs_to.encode())
        return master.id + (nonce + box).hex()

    def unseal(self, sealed: str, *, belongs_to: str) -> str:
        """The secret inside `sealed`, or SealError."""
        try:
            raw = bytes.fromhex(sealed[2 * ID_BYTES :])
            master = self._master(sealed[: 2 * ID_BYTES])
            nonce, box = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            return AESGCM(master.derived("seal")).decrypt(nonce, box, belongs_to.encode()).decode()
        except (LookupError, ValueError, InvalidTag) as error:
            raise SealError(belongs_to=belongs_to) from error

    def is_current(self, sealed: str) -> bool:
        """Whether that was sealed under the current master key."""
        return sealed.startswith(self._masters[0].id)

    def _master(self, wanted: str) -> _Master:
        found = next((each for each in self._masters if each.id == wanted), None)
        if found is None and self.refresh():
            found = next((each for each in self._masters if each.id == wanted), None)
        if found is None:
            raise LookupError(wanted)
        return found


def read_key_file(path: Path) -> tuple[bytes, ...]:
    """The keys in the file at `path`, 32 bytes each; MasterKeyError when it is missing or others may read it."""
    try:
        mode, content = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise MasterKeyError(f"the master key {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise MasterKeyError(f"others may read the master key {path}: chmod 600 it")
    return tuple(content[start : start + KEY_BYTES] for start in range(0, max(len(content), 1), KEY_BYTES))


def _masters(keys: Sequence[bytes]) -> tuple[_Master, ...]:
    masters = tuple(map(_Master, keys))
    if len({each.id for each in masters}) < len(masters):
        raise MasterKeyError("a master key is there twice")
    return masters
