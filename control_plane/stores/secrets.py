"""Where passwords to homes are kept. What the roll has of one opens it, and tells nothing by itself.

`SealedSecrets` keeps them on the roll itself, sealed: all that a process needs to serve is then in its snapshot.
`AwsSecrets` keeps them in AWS Secrets Manager, and the roll has their names: a process asks once for each, and one that
starts while AWS does not answer reaches no home that has a password.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol
from uuid import UUID

from control_plane.domain.errors import UnavailableError
from control_plane.domain.ids import new_id
from control_plane.keyring import Keyring
from control_plane.settings import Settings
from control_plane.stores import aws

PREFIX = "aws:"
SERVICE = "secretsmanager"
RECOVERY_DAYS = 7


class SecretGoneError(UnavailableError):
    """A secret that the roll names is not where it was kept."""

    code = "secret_gone"


class SecretStore(Protocol):
    """Keeps secrets of databases. Any thread may use it; it may wait for a network."""

    def keep(self, secret: str, owner: UUID) -> str:
        """Keep the secret; what the roll is to have of it. Each call keeps another one, also for the same owner."""

    def open(self, kept: str, owner: UUID) -> str:
        """The secret; SealError or SecretGoneError when it cannot be had, for another owner too."""

    def forget(self, kept: str) -> None:
        """Nobody needs it any more; repeating it is fine."""


class SealedSecrets:
    """Secrets that the roll itself has, sealed under the master key."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def keep(self, secret: str, owner: UUID) -> str:
        """See SecretStore."""
        return self._keyring.seal(secret, belongs_to=str(owner))

    def open(self, kept: str, owner: UUID) -> str:
        """See SecretStore."""
        return self._keyring.unseal(kept, belongs_to=str(owner))

    def forget(self, kept: str) -> None:
        """See SecretStore: it goes with the text."""


class AwsSecrets:
    """Secrets in AWS Secrets Manager, as they are. Each has a name of its own, which never stands for another one."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def keep(self, secret: str, owner: UUID) -> str:
        """See SecretStore."""
        name = f"copyhold/{owner}/{new_id()}"
        aws.call(SERVICE, "create_secret", Name=name, SecretString=secret, Description="A login of a tenants' database")
        return PREFIX + name

    def open(self, kept: str, owner: UUID) -> str:
        """See SecretStore. Asked of AWS once."""
        if not kept.startswith(f"{PREFIX}copyhold/{owner}/"):
            raise SecretGoneError("what the roll names is not a secret of this database", database_id=str(owner))
        if kept not in self._known:
            try:
                answer = aws.call(SERVICE, "get_secret_value", SecretId=kept.removeprefix(PREFIX))
            except aws.AwsMissingError as error:
                raise SecretGoneError(database_id=str(owner)) from error
            self._known[kept] = answer["SecretString"]
        return self._known[kept]

    def forget(self, kept: str) -> None:
        """See SecretStore. AWS can have it back for a week."""
        self._known.pop(kept, None)
        with suppress(aws.AwsMissingError):
            aws.call(SERVICE, "delete_secret", SecretId=kept.removeprefix(PREFIX), RecoveryWindowInDays=RECOVERY_DAYS)


class Secrets:
    """New secrets go where the settings say; those that are kept elsewhere are found there all the same."""

    def __init__(self, settings: Settings, keyring: Keyring) -> None:
        self._sealed, self._aws = SealedSecrets(keyring), AwsSecrets()
        stores: dict[str, SecretStore] = {"sealed": self._sealed, "aws": self._aws}
        self._chosen = stores[settings.secret_store]

    def keep(self, secret: str, owner: UUID) -> str:
        """See SecretStore."""
        return self._chosen.keep(secret, owner)

    def open(self, kept: str, owner: UUID) -> str:
        """See SecretStore."""
        return self._holder(kept).open(kept, owner)

    def forget(self, kept: str) -> None:
        """See SecretStore."""
        self._holder(kept).forget(kept)

    def _holder(self, kept: str) -> SecretStore:
        return self._aws if kept.startswith(PREFIX) else self._sealed
