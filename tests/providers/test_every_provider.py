"""What every provider promises, held by each of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from control_plane.doors import Doors
from provisioning.providers.base import Provider, ProviderError, ServerAddress
from provisioning.providers.existing.address import Address
from provisioning.providers.existing.examine import Access
from provisioning.providers.existing.provider import ExistingProvider
from tests.folders import new_folder
from tests.providers.local_hands import call, local_provider
from tests.providers.rds.clouds import Cloud
from tests.providers.rds.conftest import clouds as clouds
from tests.servers.remote import remote_server
from tests.service_user import FailedThereError, as_service_user

pytestmark = pytest.mark.slow

NAME = "acme"
METHODS = ("ensure", "start", "stop", "destroy")


@dataclass(frozen=True)
class Candidate:
    """A provider, and how its methods are called and its server is entered."""

    provider: Provider
    call: Callable[[str, str], Any]
    answers: Callable[[ServerAddress], bool]

    def __call__(self, method: str) -> Any:
        return self.call(method, NAME)


def _directly(provider: Provider) -> Callable[[str, str], Any]:
    return lambda method, name: getattr(provider, method)(name)


def _is_let_in(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def local() -> Iterator[Candidate]:
    folder = new_folder("ch-local-")
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")

    def work(method: str, name: str) -> Any:
        try:
            return as_service_user(folder, call, folder, method, name)
        except FailedThereError as error:
            if "ProviderError" in str(error):
                raise ProviderError(str(error).splitlines()[0]) from error
            raise

    try:
        provider = as_service_user(folder, local_provider, folder)
        yield Candidate(provider, work, lambda at: _is_let_in(at.dsn(database="postgres", user="postgres")))
        work("destroy", NAME)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def existing() -> Iterator[Candidate]:
    folder = new_folder("ch-ca-")
    with remote_server() as server:
        access = Access(
            address=Address(host=server.host, port=server.port, admin=server.admin),
            ca=server.ca,
            password=server.passwords[server.admin],
            doors=Doors(keyring=None, certificates=folder),
        )
        provider = ExistingProvider(servers={NAME: access})
        yield Candidate(provider, _directly(provider), lambda _: _is_let_in(server.dsn()))
    shutil.rmtree(folder)


@contextmanager
def rds(cloud: Cloud) -> Iterator[Candidate]:
    cloud.reset()
    provider = cloud.changed(deletion_protection=False)
    yield Candidate(provider, _directly(provider), lambda _: cloud.instance()["DBInstanceStatus"] == "available")


@pytest.fixture(scope="module", params=["local", "existing", "rds on moto", "rds on our fake"])
def candidate(request: pytest.FixtureRequest, clouds: dict[str, Cloud]) -> Iterator[Candidate]:
    makers: dict[str, Callable[[], Any]] = {
        "local": local,
        "existing": existing,
        "rds on moto": lambda: rds(clouds["moto"]),
        "rds on our fake": lambda: rds(clouds["fake"]),
    }
    with makers[request.param]() as made:
        yield made


def test_what_is_ensured_again_is_the_same(candidate: Candidate) -> None:
    address = candidate("ensure")
    assert isinstance(address, ServerAddress)
    assert (bool(address.host), address.port > 0) == (True, True)
    assert candidate("ensure") == address


def test_what_is_started_answers_however_often_it_is_started(candidate: Candidate) -> None:
    address = candidate("ensure")
    for _ in range(2):
        candidate("start")
        assert candidate.answers(address)


def test_what_is_stopped_answers_no_more_unless_others_run_it(candidate: Candidate) -> None:
    address = candidate("ensure")
    candidate("start")
    for _ in range(2):
        candidate("stop")
        assert candidate.answers(address) is not candidate.provider.ours
    candidate("start")
    assert candidate.answers(address)


@pytest.mark.parametrize("method", METHODS)
def test_a_name_that_it_was_not_told_of_is_refused(candidate: Candidate, method: str) -> None:
    with pytest.raises(ProviderError, match="nobody"):
        candidate.call(method, "nobody")


def test_what_is_destroyed_is_gone_unless_it_is_somebody_elses(candidate: Candidate) -> None:
    address = candidate("ensure")
    candidate("start")
    for _ in range(2):
        candidate("destroy")
    if not candidate.provider.ours:
        assert candidate.answers(address)
        return
    with pytest.raises(ProviderError):
        candidate("start")
