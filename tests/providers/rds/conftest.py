"""One moto and one fake for all tests of this folder, emptied before each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.providers.rds.clouds import CREDENTIALS, Cloud, cloud_of, running_moto
from tests.providers.rds.fake import FakeRds, running_fake


@pytest.fixture(scope="package")
def clouds() -> Iterator[dict[str, Cloud]]:
    """By name: moto, fake."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as environment, running_moto() as moto, running_fake() as fake:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
            environment.delenv(name, raising=False)
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield {"moto": cloud_of(moto), "fake": cloud_of(moto, fake)}


@pytest.fixture(params=[pytest.param("moto", marks=pytest.mark.slow), "fake"])
def cloud(request: pytest.FixtureRequest, clouds: dict[str, Cloud]) -> Cloud:
    """An empty AWS: the same test runs on each."""
    chosen = clouds[request.param]
    chosen.reset()
    return chosen


@pytest.fixture
def slow_cloud(clouds: dict[str, Cloud]) -> Cloud:
    """An empty AWS whose RDS is the fake: for what moto cannot do."""
    clouds["fake"].reset()
    return clouds["fake"]


@pytest.fixture
def fake(slow_cloud: Cloud) -> FakeRds:
    """The fake of `slow_cloud`."""
    assert slow_cloud.fake is not None
    return slow_cloud.fake
