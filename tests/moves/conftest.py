"""Two servers to move between, and homes on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from control_plane.domain.ids import new_id
from control_plane.domain.server import Server
from control_plane.domain.tenant import Model
from migrations.fleet.chains import Chain
from tests.moves.homes import Home, new_home, things_chain
from tests.tenant_app.cluster import running_cluster

NewHome = Callable[..., Home]


@pytest.fixture(scope="package")
def one() -> Iterator[Server]:
    """A server that can be moved from."""
    with running_cluster(wal_level="logical", max_replication_slots="60", max_wal_senders="30") as server:
        yield server


@pytest.fixture(scope="package")
def other() -> Iterator[Server]:
    """Another one."""
    with running_cluster(wal_level="logical", max_replication_slots="60", max_wal_senders="30") as server:
        yield server


@pytest.fixture(scope="package")
def things(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The chain of an app with all sorts of tables."""
    return things_chain(tmp_path_factory.mktemp("chain") / "things")


@pytest.fixture
def tenant() -> UUID:
    """Who is moved."""
    return new_id()


@pytest.fixture
def home(one: Server, tenant: UUID, things: Chain) -> NewHome:
    """Makes homes of the tenant: of a model, and on a server that is `one` unless told."""

    def make(model: Model, server: Server = one) -> Home:
        return new_home(server, model, tenant, things)

    return make
