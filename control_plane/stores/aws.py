"""Calls to AWS: bounded in time, repeated a few times, failing in words. boto3 is imported when it is needed."""

from __future__ import annotations

import functools
import logging
from typing import Any

from control_plane.domain.errors import UnavailableError

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 10
TRIES = 3
MISSING = frozenset({"ResourceNotFoundException", "NotFoundException", "InvalidRequestException"})
"""The last one is what Secrets Manager says of a secret that is about to go."""


class AwsStoreError(UnavailableError):
    """AWS refused a call, or could not be asked."""

    code = "aws"


class AwsMissingError(AwsStoreError):
    """AWS has nothing of that name, or not any more."""

    code = "aws_missing"


@functools.cache
def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    # At DEBUG botocore logs whole requests and answers, and these hold secrets; at INFO it is chatty.
    log = logging.getLogger("botocore")
    log.setLevel(max(log.level, logging.WARNING))
    retries = {"total_max_attempts": TRIES, "mode": "standard"}
    config = Config(connect_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S, retries=retries)
    return boto3.session.Session().client(service, config=config)


def call(service: str, operation: str, **arguments: Any) -> dict[str, Any]:
    """The answer. AwsMissingError for what is not there, AwsStoreError when AWS refuses or does not answer.

    Region, credentials and endpoint are what boto3 finds: AWS_REGION, a role, AWS_ENDPOINT_URL, ….
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = getattr(_client(service), operation)(**arguments)
    except ClientError as error:
        found = error.response.get("Error", {})
        kind = AwsMissingError if found.get("Code") in MISSING else AwsStoreError
        raise kind(f"AWS {operation} failed: {found.get('Message', '')} ({found.get('Code', '')})") from error
    except BotoCoreError as error:
        raise AwsStoreError(f"AWS {operation} failed: {error}") from error
    return answer
