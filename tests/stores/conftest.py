"""AWS as moto plays it: real HTTP on this machine, reached by the variables that boto3 itself reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from control_plane.stores import aws


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """A server that speaks AWS's protocols."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def on_aws(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What asks AWS in this test asks that server."""
    variables = {
        "ENDPOINT_URL": moto_url,
        "DEFAULT_REGION": "eu-central-1",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    aws._client.cache_clear()
    yield
    aws._client.cache_clear()
