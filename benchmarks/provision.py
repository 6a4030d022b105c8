"""From a wish to the first answered request, by model; whether the thousandth silo is as quick as the first.

Environment: COPYHOLD_BENCH_CREATIONS (20), COPYHOLD_BENCH_SILOS (1000; 0 leaves the steady rate out),
COPYHOLD_BENCH_SILOS_PER_S (2).
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import text

from control_plane.domain.ids import new_id
from control_plane.domain.names import silo_database
from control_plane.domain.tenant import Model
from control_plane.registry import fleet
from control_plane.registry.engine import transaction
from control_plane.staff import service as staff
from control_plane.staff.roles import StaffRole
from tests.platform_under_test import PASSWORD, PlatformUnderTest, running_platform
from tests.provisioning import stock

CREATIONS = int(os.environ.get("COPYHOLD_BENCH_CREATIONS", "20"))
SILOS = int(os.environ.get("COPYHOLD_BENCH_SILOS", "1000"))
SILOS_PER_S = float(os.environ.get("COPYHOLD_BENCH_SILOS_PER_S", "2"))
AT_ONCE = 8
EDGE = min(100, max(1, SILOS // 4))
"""How many of the first silos are held against as many of the last."""
RAW_ROUNDS = 20
ASK_AGAIN_S = 0.003
ASK_AGAIN_SHARE = 0.05
"""Of the time waited so far, if that is more: by so much at most is a figure too large."""
GIVE_UP_S = 60.0
IDLE_S = 2.0
"""The API closes connections over which nobody has asked for 5 s."""
_numbers = count(1)

Create = Callable[["Caller"], None]


def run() -> dict[str, Any]:
    """All figures. Takes a quarter of an hour, most of it for the steady rate."""
    with _bench() as bench:
        bench.warm_up()
        alone, crowd = bench.first_answers()
        figures = {"first_answer_ms": alone, "first_answer_8_ms": crowd, "raw_ratio": bench.raw_ratio()}
    # A platform of its own: a server has room for little more than the thousand.
    with _bench() as bench:
        bench.warm_up()
        return {**figures, **bench.steady()}


@contextmanager
def _bench() -> Iterator[Bench]:
    # On disk, as a platform is when it works: tests have theirs in memory.
    folder = Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))
    with running_platform(folder=folder, warm=0) as platform:
        yield Bench(platform)


@dataclass
class Caller:
    """Somebody with a kept connection, from an address of their own: sign-ups are counted by address."""

    connection: http.client.HTTPConnection
    asked_at: float = field(default=0.0, init=False)

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """Status, JSON and cookie of the answer."""
        if time.monotonic() - self.asked_at > IDLE_S:
            self.connection.close()  # It opens by itself.
        self.asked_at = time.monotonic()
        sent = {"Content-Type": "application/json", **headers}
        self.connection.request(method, path, json.dumps(body) if body is not None else None, sent)
        answer = self.connection.getresponse()
        read = answer.read()
        is_json = (answer.getheader("content-type") or "").startswith("application/")
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        return answer.status, json.loads(read) if is_json and read else {}, cookie

    def until_answered(self, headers: Mapping[str, str]) -> None:
        """Ask a tenant's app who is asking until it says so, ever less often: it takes time from those who work."""
        began = time.monotonic()
        while (status := self.ask("GET", "/api/me", headers)[0]) != 200:
            waited_s = time.monotonic() - began
            if waited_s > GIVE_UP_S:
                raise RuntimeError(f"{headers['Host']} answers {status} after {GIVE_UP_S:.0f} s")
            time.sleep(max(ASK_AGAIN_S, waited_s * ASK_AGAIN_SHARE))


class Bench:
    """A platform, and staff who onboard tenants on it."""

    def __init__(self, platform: PlatformUnderTest) -> None:
        self.platform = platform
        self._callers = threading.local()
        self._addresses = count(2)
        with transaction(platform.engine) as session:
            member = staff.add(session, email="bench@example.com", role=StaffRole.OPS, actor="bench")
            self.token = staff.issue_token(session, member, actor="bench")
            session.execute(text("UPDATE servers SET capacity = 100000"))

    def host(self, slug: str = "") -> str:
        """What a request for a tenant's app, or for the control plane, says its host is."""
        return f"{slug}.localhost:{self.platform.port}" if slug else f"localhost:{self.platform.port}"

    def caller(self) -> Caller:
        """The calling thread's."""
        if not hasattr(self._callers, "one"):
            address = (f"127.0.0.{next(self._addresses)}", 0)
            connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, source_address=address)
            self._callers.one = Caller(connection)
        caller: Caller = self._callers.one
        return caller

    def warm_up(self) -> None:
        """One of each, so that nothing is loaded or connected for the first time."""
        for create in (self.sign_up, self.bridge, self.silo):
            create(self.caller())

    def sign_up(self, caller: Caller) -> None:
        """A newcomer fills in the form, is let in by the ticket and asks who they are."""
        slug = f"bench-{next(_numbers)}"
        form = {"company": slug, "slug": slug, "email": f"owner@{slug}.example", "password": PASSWORD}
        status, welcome, _ = caller.ask("POST", "/signup", {"Host": self.host()}, form)
        if status != 201:
            raise RuntimeError(f"sign-up was answered {status}: {welcome}")
        at_home = {"Host": self.host(slug)}
        _, _, cookie = caller.ask("GET", f"/api/enter?ticket={welcome['ticket']}", at_home)
        caller.until_answered({**at_home, "Cookie": cookie})

    def bridge(self, caller: Caller) -> None:
        """Staff onboard a bridge tenant."""
        self._onboard(caller, Model.BRIDGE)

    def silo(self, caller: Caller) -> None:
        """Staff onboard a silo tenant."""
        self._onboard(caller, Model.SILO)

    def _onboard(self, caller: Caller, model: Model) -> None:
        slug = f"bench-{next(_numbers)}"
        known = {"Host": self.host(), "Authorization": f"Bearer {self.token}"}
        wish = {"name": slug, "slug": slug, "plan": "enterprise", "model": str(model)}
        status, told, _ = caller.ask("POST", "/admin/tenants", known, wish)
        if status != 202:
            raise RuntimeError(f"the wish was answered {status}: {told}")
        _, key, _ = caller.ask("POST", f"/admin/tenants/{slug}/keys", known, {"name": "bench", "role": "owner"})
        caller.until_answered({"Host": self.host(slug), "Authorization": f"Bearer {key['key']}"})

    def first_answers(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """From wish to first answer in each model: one after the other, and eight at a time."""
        sides: dict[str, tuple[Create, int, int]] = {
            "pool": (self.sign_up, 0, 0),
            "bridge": (self.bridge, 0, 0),
            "silo_cold": (self.silo, 0, 0),
            "silo_warm": (self.silo, 2, AT_ONCE),
        }
        alone, crowd = {}, {}
        for name, (create, ready, ready_for_a_crowd) in sides.items():
            took = [self._timed(create, 1, ready)[0] for _ in range(CREATIONS)]
            alone[name] = _figures(took)
            rounds = max(1, CREATIONS // AT_ONCE)
            took = [each for _ in range(rounds) for each in self._timed(create, AT_ONCE, ready_for_a_crowd)]
            crowd[name] = _figures(took)
            _say(f"{name:<10} 1 at a time: {alone[name]}   {AT_ONCE} at a time: {crowd[name]}")
        return alone, crowd

    def _timed(self, create: Create, at_once: int, ready: int) -> list[float]:
        """Milliseconds each, with so many silos ready at the start."""
        stock.keep(self.platform, ready)
        stock.settled(self.platform)
        begin = threading.Barrier(at_once)

        def one(_: int) -> float:
            caller = self.caller()
            begin.wait()
            started = time.perf_counter()
            create(caller)
            return (time.perf_counter() - started) * 1000

        if at_once == 1:
            return [one(0)]
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(one, range(at_once)))

    def raw_ratio(self) -> float:
        """A silo's database work against a bare copy and a bare role, in turn on the same server."""
        server = self.platform.server("beta")
        builder = self.platform.estate.builder(server)
        with transaction(self.platform.engine) as session:
            wanted = fleet.wanted(session)
        template = sql.Identifier(f"template_{wanted.home}_{wanted.tenant}")
        ours: list[float] = []
        raw: list[float] = []
        with builder.admin() as admin:

            def copy_raw(name: str) -> None:
                made = sql.Identifier(name)
                admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log").format(made, template))
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(made))
                admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {0} TO {0}").format(made))

            def copy_ours(name: str) -> None:
                builder.copy_silo(name, wanted, b"k" * 32)

            for _ in range(RAW_ROUNDS):
                for copy, took in ((copy_raw, raw), (copy_ours, ours)):
                    name = silo_database(new_id())
                    started = time.perf_counter()
                    copy(name)
                    took.append((time.perf_counter() - started) * 1000)
                    builder.drop_silo(name)
        _say(f"database work: raw {statistics.median(raw):.1f} ms, ours {statistics.median(ours):.1f} ms")
        return round(statistics.median(ours) / statistics.median(raw), 3)

    def steady(self) -> dict[str, Any]:
        """Silos at a steady rate, none kept ready: the last ones against the first ones; None without any."""
        if not SILOS:
            return {"silos": 0, "last_to_first_ratio": None}
        stock.keep(self.platform, 0)
        stock.settled(self.platform)
        began = time.monotonic()

        def one(number: int) -> float:
            time.sleep(max(0.0, began + number / SILOS_PER_S - time.monotonic()))
            caller = self.caller()
            started = time.perf_counter()
            self.silo(caller)
            return (time.perf_counter() - started) * 1000

        with ThreadPoolExecutor(AT_ONCE) as pool:
            took = list(pool.map(one, range(SILOS)))
        first, last = statistics.median(took[:EDGE]), statistics.median(took[-EDGE:])
        _say(f"{SILOS} silos at {SILOS_PER_S:g} a second: the first {EDGE} {first:.0f} ms, the last {last:.0f} ms")
        return {"silos": SILOS, "last_to_first_ratio": round(last / first, 3)}


def _figures(took: Sequence[float]) -> dict[str, int]:
    ordered = sorted(took)
    return {
        "p50": round(statistics.median(ordered)),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]),
    }


def _say(line: str) -> None:
    print(line, flush=True)
