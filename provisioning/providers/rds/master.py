"""The master login of an instance: made here, kept in Secrets Manager, shown to nobody."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from control_plane.domain.rds import MASTER
from provisioning.providers.base import ProviderError
from provisioning.providers.rds.aws import Account, AwsError
from provisioning.providers.rds.names import Names

PASSWORD_BYTES = 32
INSTANCE_TAG = "copyhold:instance"
"""On the secret: the instance that was made with it. Absent as long as none was."""
RECOVERY_DAYS = 30
SERVICE = "secretsmanager"


@dataclass(frozen=True, kw_only=True)
class MasterLogin:
    """Who may do everything on an instance. It stays out of logs, arguments of workflows and their results."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class MasterSecret:
    """One server's secret."""

    names: Names
    account: Account

    def ensure(self, kms_key: str | None) -> MasterLogin:
        """The login for a new instance: the same one however often this is repeated."""
        found = self._described()
        if found is None:
            self._create(kms_key)
        elif "DeletedDate" in found:
            self.account.call(SERVICE, "restore_secret", SecretId=self.names.secret)
        return self.read()

    def read(self) -> MasterLogin:
        """What the secret holds; ProviderError when it is gone."""
        try:
            kept = self.account.call(SERVICE, "get_secret_value", SecretId=self.names.secret)
        except AwsError as error:
            if error.reason not in {"ResourceNotFoundException", "InvalidRequestException"}:
                raise
            raise ProviderError(
                f"the secret {self.names.secret} is gone, or about to be deleted; restore it, or set a new master "
                f"password on {self.names.instance} and keep it there as JSON (username, password)"
            ) from error
        content = json.loads(kept["SecretString"])
        return MasterLogin(user=content["username"], password=content["password"])

    def instance_made(self) -> str | None:
        """The resource id of the instance made with this secret, unless that one was destroyed here."""
        found = self._described()
        tags = {} if found is None else {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        return None if found is None or "DeletedDate" in found else tags.get(INSTANCE_TAG)

    def remember(self, resource_id: str) -> None:
        """Note which instance was made with the login, and take back a deletion that is scheduled."""
        found = self._described()
        if found is None:
            self.read()  # says what to do
            return
        if "DeletedDate" in found:
            self.account.call(SERVICE, "restore_secret", SecretId=self.names.secret)
        tag = {"Key": INSTANCE_TAG, "Value": resource_id}
        if tag not in found.get("Tags", []):
            self.account.call(SERVICE, "tag_resource", SecretId=self.names.secret, Tags=[tag])

    def delete(self) -> None:
        """Schedule the deletion; for 30 days it can be restored, for a snapshot that needs it."""
        if self._is_deleted():
            return
        secret = {"SecretId": self.names.secret}
        try:
            self.account.call(SERVICE, "untag_resource", TagKeys=[INSTANCE_TAG], **secret)
            self.account.call(SERVICE, "delete_secret", RecoveryWindowInDays=RECOVERY_DAYS, **secret)
        except AwsError:
            if not self._is_deleted():  # by somebody else, or by an earlier try, whose answer was lost
                raise

    def _is_deleted(self) -> bool:
        found = self._described()
        return found is None or "DeletedDate" in found

    def _create(self, kms_key: str | None) -> None:
        login = {"username": MASTER, "password": secrets.token_urlsafe(PASSWORD_BYTES)}
        try:
            self.account.call(
                SERVICE,
                "create_secret",
                Name=self.names.secret,
                Description=f"Master login of the RDS instance {self.names.instance}",
                SecretString=json.dumps(login),
                Tags=self.names.tags,
                **({"KmsKeyId": kms_key} if kms_key else {}),
            )
        except AwsError as error:
            if error.reason != "ResourceExistsException":  # somebody was quicker: theirs is read
                raise

    def _described(self) -> dict[str, Any] | None:
        try:
            found = self.account.call(SERVICE, "describe_secret", SecretId=self.names.secret)
        except AwsError as error:
            if error.reason == "ResourceNotFoundException":
                return None
            raise
        self.names.claim(f"the secret {self.names.secret}", found.get("Tags", []))
        return found
