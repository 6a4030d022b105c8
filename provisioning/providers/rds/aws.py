"""Calls to AWS: bounded, repeated when throttled or unanswered, failing in words. Only here is boto3 imported."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from provisioning.providers.base import ProviderError
from provisioning.providers.rds.pace import Pace

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
SERVER_FAULT = 500
TRY_AGAIN = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "SlowDown",
        "PriorRequestNotComplete",
        "ServiceUnavailable",
        "InternalFailure",
        "InternalServiceError",
    }
)
_NO_RIGHT = "let this role do it (docs/operations/rds.md has the policy)"
_NO_IDENTITY = "give this process valid AWS credentials (a role, a profile, or AWS_ACCESS_KEY_ID)"
ADVICE = {
    "AccessDenied": _NO_RIGHT,
    "AccessDeniedException": _NO_RIGHT,
    "UnauthorizedOperation": _NO_RIGHT,
    "ExpiredToken": _NO_IDENTITY,
    "InvalidClientTokenId": _NO_IDENTITY,
    "SignatureDoesNotMatch": _NO_IDENTITY,
    "UnrecognizedClientException": _NO_IDENTITY,
    "InstanceQuotaExceeded": "ask AWS to raise the quota of DB instances in this region, or use another region",
    "StorageQuotaExceeded": "ask AWS to raise the quota of RDS storage in this region",
    "InsufficientDBInstanceCapacity": "use another instance class or subnet group, or try later",
    "DBSubnetGroupNotFoundFault": "make the DB subnet group, or name another one in subnet_group",
    "KMSKeyNotAccessibleFault": "let this role and RDS use the key, or name another one in kms_key",
}


class AwsError(ProviderError):
    """AWS refused a call, or could not be asked."""

    def __init__(self, message: str, *, reason: str) -> None:
        self.reason = reason
        """AWS's own name of the error; that of the exception when AWS was not reached."""
        super().__init__(message, reason=reason)


class Account(Protocol):
    """What can be asked of AWS in one region."""

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """The answer; AwsError when AWS refuses, or is not reached in a bounded number of tries."""


@dataclass(frozen=True, kw_only=True)
class Aws:
    """The `Account` that boto3 finds: environment, profile, or the machine's role."""

    region: str
    pace: Pace = field(default_factory=Pace)
    endpoint_urls: Mapping[str, str] = field(default_factory=dict)
    """Service name -> URL of something else that speaks its protocol."""

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

        for failures in range(1, self.pace.tries + 1):
            try:
                answer: dict[str, Any] = getattr(self._client(service), operation)(**arguments)
                return answer
            except (ClientError, ConnectionError, HTTPClientError) as error:
                if failures == self.pace.tries or not _passes(error):
                    raise _in_words(operation, error) from error
            except BotoCoreError as error:
                raise _in_words(operation, error) from error
            self.pace.back_off(failures)
        raise AssertionError("the last try returned or raised")

    @functools.cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._connect(service)
        return self._clients[service]

    def _connect(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        _keep_bodies_out_of_logs()
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},  # `call` repeats, under a clock that tests own
        )
        session = boto3.session.Session(region_name=self.region)
        return session.client(service, config=config, endpoint_url=self.endpoint_urls.get(service))


def own_accounts() -> Callable[[str], Account]:
    """One `Aws` a region, made when it is first asked for."""
    return functools.cache(lambda region: Aws(region=region))


def pages(account: Account, service: str, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    """Each of the things that a listing holds, whatever the size of its pages."""
    answer = account.call(service, operation, **arguments)
    yield from answer[key]
    while marker := answer.get("Marker"):
        answer = account.call(service, operation, **arguments, Marker=marker)
        yield from answer[key]


def _keep_bodies_out_of_logs() -> None:
    """At DEBUG botocore logs whole requests: one of them carries the master password. At INFO it is chatty."""
    log = logging.getLogger("botocore")
    if log.level < logging.WARNING:
        log.setLevel(logging.WARNING)


def _passes(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return True  # no answer: refused, cut, timed out
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return _reason(response) in TRY_AGAIN or status >= SERVER_FAULT


def _reason(response: Mapping[str, Any]) -> str:
    return str(response.get("Error", {}).get("Code", ""))


def _in_words(operation: str, error: Exception) -> AwsError:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        reason, said = _reason(response), str(response.get("Error", {}).get("Message", ""))
    else:
        reason, said = type(error).__name__, str(error)
    advice = ADVICE.get(reason, _NO_IDENTITY if "Credentials" in reason else "")
    ending = f"; {advice}" if advice else ""
    return AwsError(f"AWS {operation} failed: {said.strip().rstrip('.')} ({reason}){ending}", reason=reason)
