"""Clients that write and read all the time, and remember what they were promised."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import httpx
import pytest

from tests.moves.whole.witness import APP, HEADER
from tests.platform_under_test import NO_TLS, TenantUnderTest
from tests.waiting import until

CLIENTS = 3
PAUSE_S = 0.05
"""Of each client between two writes: a machine that does nothing but answer them has no time for the move."""


@dataclass(frozen=True, kw_only=True, order=True)
class Answer:
    """Who has answered a request, in the order in which it was answered."""

    at: float
    """By the clock of the home's server, before the commit."""
    epoch: int
    home: str
    """Database and schema."""


@dataclass
class Traffic:
    """What several clients of one tenant have been answered so far."""

    promised: set[str] = field(default_factory=set)
    """Ids of conversations that were begun, as the answers say."""
    errors: list[str] = field(default_factory=list)
    """Answers that were no success, and requests without one."""
    log: list[Answer] = field(default_factory=list)
    """Every visit to a home that an answer was made from."""
    longest_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def requests(self) -> int:
        """How many writes were answered well."""
        return len(self.promised)

    def write(self, client: httpx.Client, number: int) -> None:
        """Begin a conversation, and read it again."""
        began = time.monotonic()
        try:
            answer = client.post("/api/conversations", json={"subject": f"number {number}"})
            if answer.status_code != 201:
                self._remember(error=f"{answer.status_code} {answer.text}")
                return
            made = answer.json()["id"]
            self._remember(answer, promised=made, took_s=time.monotonic() - began)
            again = client.get(f"/api/conversations/{made}")
            self._remember(again)
            if again.status_code != 200:
                self._remember(error=f"{again.status_code} for one that was just made")
        except httpx.HTTPError as error:
            self._remember(error=repr(error))

    def _remember(
        self, answer: httpx.Response | None = None, *, promised: str = "", error: str = "", took_s: float = 0.0
    ) -> None:
        with self._lock:
            if answer is not None:
                self.log += [Answer(**visit) for visit in json.loads(answer.headers.get(HEADER, "[]"))]
            self.longest_s = max(self.longest_s, took_s)
            if promised:
                self.promised.add(promised)
            if error:
                self.errors.append(error)


@contextmanager
def witnessed() -> Iterator[None]:
    """The answers of a platform that is started in this block say from which home they come."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COPYHOLD_TENANT_APP", APP)
        yield


@contextmanager
def traffic_of(tenant: TenantUnderTest, clients: int = CLIENTS) -> Iterator[Traffic]:
    """That many clients at once, until the block ends; it begins when all of them are being answered."""
    traffic, stopping = Traffic(), threading.Event()

    def write() -> None:
        headers = {"Host": tenant.host, "Authorization": f"Bearer {tenant.key}"}
        with httpx.Client(base_url=tenant.platform.url, headers=headers, timeout=30, verify=NO_TLS) as client:
            number = 0
            while not stopping.wait(PAUSE_S):
                traffic.write(client, number)
                number += 1

    threads = [threading.Thread(target=write, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: traffic.requests >= 2 * clients or bool(traffic.errors), what="clients are answered")
        yield traffic
    finally:
        stopping.set()
        for thread in threads:
            thread.join(timeout=30)


@contextmanager
def refused_all_along(tenant: TenantUnderTest) -> Iterator[None]:
    """Somebody asks for a suspended tenant until the block ends, and is refused each time; no home has answered."""
    answers: set[tuple[int, str, str]] = set()
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.wait(PAUSE_S):
            answer = tenant.http.get("/api/me")
            answers.add((answer.status_code, answer.json().get("code"), answer.headers.get(HEADER, "[]")))

    refused = (403, "tenant_suspended", "[]")
    until(lambda: tenant.http.get("/api/me").status_code == refused[0], what="it is refused")
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=30)
    assert answers == {refused}


def assert_nothing_lost(tenant: TenantUnderTest, traffic: Traffic) -> None:
    """Whoever was promised something has it, once; nobody was refused; no two homes answered in turns."""
    assert traffic.errors == []
    assert_all_there(tenant, traffic)


def assert_all_there(tenant: TenantUnderTest, traffic: Traffic) -> None:
    """Whoever was promised something has it, once; others were told to come again."""
    assert [error for error in traffic.errors if not error.startswith("503 ")] == []
    assert_one_home_at_a_time(traffic.log)
    with tenant.platform.home_of(tenant) as home:
        rows = home.execute("SELECT id::text FROM conversations WHERE tenant_id = %s", [tenant.id]).fetchall()
    there = [row for (row,) in rows]
    assert traffic.promised - set(there) == set()
    assert len(there) == len(set(there))


def assert_one_home_at_a_time(log: list[Answer]) -> None:
    """Epochs only grow, each is of one home, and from the first answer of a home on none comes from that before it."""
    turns = [turn for turn, _ in groupby((each.epoch, each.home) for each in sorted(log))]
    epochs = [epoch for epoch, _ in turns]
    assert turns, "no home has answered: does the platform serve the witness?"
    assert epochs == sorted(set(epochs)), turns
    assert all(here[1] != there[1] for here, there in pairwise(turns)), turns
