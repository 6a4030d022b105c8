"""An account that writes down what it was asked."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3

from provisioning.providers.rds.aws import Account


@dataclass(kw_only=True)
class Recorder:
    """Passes calls on, and keeps their names as IAM names them."""

    account: Account
    actions: set[str] = field(default_factory=set)

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        self.actions.add(f"{service}:{_names(service)[operation]}")
        return self.account.call(service, operation, **arguments)


@functools.cache
def _names(service: str) -> Mapping[str, str]:
    names: Mapping[str, str] = boto3.client(service, region_name="eu-central-1").meta.method_to_api_mapping
    return names
