"""One steady client a tenant, while parts of the platform are gone: what it was promised, and how it was refused."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx

from tests.platform_under_test import NO_TLS, TenantUnderTest
from tests.waiting import until

PAUSE_S = 0.3
PATIENCE_S = 60.0
"""Of a client: a network that says nothing is given up after half of that."""


@dataclass
class Client:
    """Writes again and again, and goes on whatever it is answered."""

    tenant: TenantUnderTest
    promised: set[str] = field(default_factory=set)
    """Ids of conversations that were begun, as the answers say."""
    refused: int = 0
    """How often it was told to come back later."""
    unclean: list[str] = field(default_factory=list)
    """Whatever else it was answered."""

    def run(self, stopping: threading.Event) -> None:
        """Until it is to stop."""
        headers = {"Host": self.tenant.host, "Authorization": f"Bearer {self.tenant.key}"}
        url = self.tenant.platform.url
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S, verify=NO_TLS) as http:
            while not stopping.wait(PAUSE_S):
                self._write(http)

    def _write(self, http: httpx.Client) -> None:
        try:
            answer = http.post("/api/conversations", json={"subject": f"number {len(self.promised)}"})
        except httpx.HTTPError as error:
            self.unclean.append(repr(error))
            return
        if answer.status_code == 201:
            self.promised.add(answer.json()["id"])
        elif answer.status_code == 503 and "Retry-After" in answer.headers:
            self.refused += 1
        else:
            self.unclean.append(f"{answer.status_code} {answer.text}")

    def assert_nothing_lost(self) -> None:
        """What it was promised is there, once; it was refused in no other way than with a word when to come back.

        It may go on writing: what it is promised after the look is not looked for.
        """
        assert self.unclean == []
        promised = self.promised.copy()
        with self.tenant.platform.home_of(self.tenant) as home:
            rows = home.execute("SELECT id::text FROM conversations WHERE tenant_id = %s", [self.tenant.id]).fetchall()
        there = [row for (row,) in rows]
        assert promised - set(there) == set()
        assert len(there) == len(set(there))


@contextmanager
def clients_of(tenants: Sequence[TenantUnderTest]) -> Iterator[list[Client]]:
    """One each, until the block ends; it begins when all of them are served."""
    stopping, clients = threading.Event(), [Client(tenant) for tenant in tenants]
    with ExitStack() as stack:
        stack.callback(stopping.set)
        for client in clients:
            thread = threading.Thread(target=client.run, args=[stopping], daemon=True)
            thread.start()
            stack.callback(thread.join, timeout=PATIENCE_S)
        stack.callback(stopping.set)
        until(lambda: all(client.promised for client in clients), what="all are served")
        yield clients


def assert_served(clients: Iterable[Client]) -> None:
    """Wait until all of them are served again; then nobody is refused any more."""
    all_ = list(clients)
    _wait_for_more(all_, 1)
    refused = [client.refused for client in all_]
    _wait_for_more(all_, 3)
    assert [client.refused for client in all_] == refused


def _wait_for_more(clients: Sequence[Client], times: int) -> None:
    wanted = {client.tenant.slug: len(client.promised) + times for client in clients}

    def waiting() -> list[str]:
        return [client.tenant.slug for client in clients if len(client.promised) < wanted[client.tenant.slug]]

    until(lambda: not waiting(), what="everybody is served", deadline_s=60)
