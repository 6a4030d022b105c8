"""API processes of a test's own beside the platform's, their control database at the end of a wire."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.platform_under_test import NO_TLS, PlatformUnderTest, TenantUnderTest
from tests.routing.wire import Wire
from tests.waiting import until

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Api:
    """A second API process of the platform, its control database at the end of a wire."""

    platform: PlatformUnderTest
    wire: Wire
    snapshot: Path
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment, beside those that every one has."""

    @property
    def environment(self) -> dict[str, str]:
        """What it is told."""
        settings = self.platform.settings
        return {
            **os.environ,
            "COPYHOLD_CONTROL_DSN": self.wire.dsn,
            "COPYHOLD_POOLER_HOST": settings.pooler_host,
            "COPYHOLD_POOLER_PORT": str(settings.pooler_port),
            "COPYHOLD_POOLER_DIR": str(settings.pooler_dir),
            "COPYHOLD_MASTER_KEY_FILE": str(settings.master_key_file),
            "COPYHOLD_SNAPSHOT_FILE": str(self.snapshot),
            "COPYHOLD_HTTP_PORT": str(self.port),
            "COPYHOLD_LIMITS__FEED_POLL_S": "0.2",
            "COPYHOLD_LIMITS__CONTROL_TIMEOUT_S": "2",
            **self.variables,
        }

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process, ended at the end of the block."""
        command = [sys.executable, "-m", "cli.main", "api"]
        with (self.snapshot.parent / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=self.environment, stdout=log, stderr=log)
        try:
            until(lambda: self._listens(process), what="the API listens")
            yield process
        finally:
            process.terminate()
            process.wait(30)

    def get(self, tenant: TenantUnderTest, path: str = "/api/me") -> httpx.Response:
        """The whole answer to the tenant's owner."""
        return self._request(tenant, "GET", path)

    def answer(
        self, tenant: TenantUnderTest, method: str = "GET", path: str = "/api/me", **body: str
    ) -> tuple[int, str]:
        """Status, and the problem's code if it is one."""
        answer = self._request(tenant, method, path, **body)
        return answer.status_code, "" if answer.status_code < 400 else answer.json()["code"]

    def _request(self, tenant: TenantUnderTest, method: str, path: str, **body: str) -> httpx.Response:
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Host": f"{tenant.slug}.localhost:{self.port}", "Authorization": f"Bearer {tenant.key}"},
            json=body or None,
            timeout=20,
        )

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self.snapshot.parent / "log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", verify=NO_TLS).status_code < 500
        except httpx.TransportError:
            return False
