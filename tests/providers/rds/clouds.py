"""AWS as the tests have it: moto's server, or our fake for RDS with moto's server for secrets, over loopback."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from moto.server import ThreadedMotoServer

from control_plane.domain.rds import RdsShape
from provisioning.providers.rds.aws import Aws
from provisioning.providers.rds.pace import Pace
from provisioning.providers.rds.provider import RdsProvider
from tests.providers.rds.fake import FakeRds

REGION = "eu-central-1"
SUBNETS = "tenants"
SHAPE = RdsShape(
    region=REGION,
    instance_class="db.t4g.medium",
    engine_version="16.4",
    storage_gib=100,
    subnet_group=SUBNETS,
    security_groups=("sg-0123456789abcdef0",),
)
NAME = "acme"
INSTANCE = "copyhold-main-acme"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass(kw_only=True)
class Clock:
    """Time that passes only while somebody sleeps."""

    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def now(self) -> float:
        return sum(self.slept)

    def pace(self) -> Pace:
        """Bounds on this clock, with jitter taken away."""
        return Pace(sleep=self.sleep, now=self.now, random=lambda: 1.0)


@dataclass(kw_only=True)
class Cloud:
    """One AWS: what is asked there, and the clock that its callers wait by."""

    clock: Clock
    aws: Aws
    moto: str
    fake: FakeRds | None = None

    def provider(self, shape: RdsShape = SHAPE, **fields: Any) -> RdsProvider:
        """A provider that has just come to life: it remembers nothing."""
        given = {"platform": "main", "shapes": {NAME: shape}, "pace": self.clock.pace(), "accounts": lambda _: self.aws}
        return RdsProvider(**{**given, **fields})

    def changed(self, **fields: Any) -> RdsProvider:
        """A provider with another shape."""
        return self.provider(replace(SHAPE, **fields))

    def rds(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask RDS past the provider."""
        return self.aws.call("rds", operation, **arguments)

    def secrets(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Ask Secrets Manager past the provider."""
        return self.aws.call("secretsmanager", operation, **arguments)

    def instance(self, name: str = INSTANCE) -> dict[str, Any]:
        """RDS's description of the test's instance, without what changes from look to look."""
        found: dict[str, Any] = self.rds("describe_db_instances", DBInstanceIdentifier=name)["DBInstances"][0]
        return {key: value for key, value in found.items() if key != "LatestRestorableTime"}

    def parameters(self) -> dict[str, str]:
        """What the test's parameter group sets."""
        answer = self.rds("describe_db_parameters", DBParameterGroupName=INSTANCE, Source="user")
        return {each["ParameterName"]: each["ParameterValue"] for each in answer["Parameters"]}

    def reset(self) -> None:
        """Forget everything, and lay what the platform does not make: the subnet group."""
        self.clock.slept.clear()
        request = urllib.request.Request(f"{self.moto}/moto-api/reset", method="POST")
        urllib.request.urlopen(request).close()
        if self.fake is None:
            subnets = [each["SubnetId"] for each in self.aws.call("ec2", "describe_subnets")["Subnets"]]
            self.rds(
                "create_db_subnet_group",
                DBSubnetGroupName=SUBNETS,
                DBSubnetGroupDescription="-",
                SubnetIds=subnets[:2],
            )
        else:
            self.fake.reset()


@contextmanager
def running_moto() -> Iterator[str]:
    """The URL of a moto server, ended with the block."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def cloud_of(moto: str, fake: FakeRds | None = None) -> Cloud:
    """All on moto, or RDS on the fake."""
    clock = Clock()
    urls = {"rds": fake.url if fake else moto, "secretsmanager": moto, "ec2": moto}
    aws = Aws(region=REGION, pace=clock.pace(), endpoint_urls=urls)
    return Cloud(clock=clock, aws=aws, moto=moto, fake=fake)


def password_kept(cloud: Cloud) -> str:
    """The master password in Secrets Manager."""
    kept = cloud.secrets("get_secret_value", SecretId="copyhold/main/acme/master")
    password: str = json.loads(kept["SecretString"])["password"]
    return password
