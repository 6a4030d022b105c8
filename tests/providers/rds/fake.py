"""An RDS of our own over HTTP, for what moto lacks: slow, throttling, failing, losing answers and instances as told."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore import xform_name

from tests.providers.rds import query
from tests.providers.rds.fake_world import Refusal, World

GONE = "gone"
"""In a script of states: from now on, the instance is not there."""


@dataclass(kw_only=True)
class FakeRds:
    """What it holds (`world`), what it was asked (`calls`), and how it will misbehave."""

    url: str = ""
    world: World = field(default_factory=World)
    calls: Counter[str] = field(default_factory=Counter)
    """Action -> how often it arrived, refused ones included."""
    script: deque[str] = field(default_factory=deque)
    """What each coming look at an instance finds; the last stays."""
    refusals: dict[str, deque[str]] = field(default_factory=dict)
    """Action -> error codes of its next calls."""
    cuts: Counter[str] = field(default_factory=Counter)
    """Action -> how many of its next answers are lost after it was done."""
    when_made: Callable[[dict[str, Any]], None] = lambda _: None
    """Called with what was asked when an instance is made: a server in its place is given the master login then."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self) -> None:
        """As on the first day."""
        with self.lock:
            self.world = World()
            for each in (self.calls, self.script, self.refusals, self.cuts):
                each.clear()

    def will_be(self, *states: str) -> None:
        """From now on changes take time, and the next looks find these states, one each."""
        self.world.slow = True
        self.script.extend(states)

    def settle(self) -> None:
        """From now on changes take no time, and what was to be found is forgotten."""
        self.world.slow = False
        self.script.clear()

    def will_refuse(self, action: str, code: str, *, times: int = 1) -> None:
        """The next calls of that action fail with that code, and do nothing."""
        self.refusals.setdefault(action, deque()).extend([code] * times)

    def will_lose_the_answer(self, action: str, *, times: int = 1) -> None:
        """The next calls of that action are carried out; then the connection is cut without an answer."""
        self.cuts[action] += times

    def handle(self, body: str) -> tuple[int, str] | None:
        """Status and XML; None when the connection is to be cut."""
        action, arguments = query.read(body)
        with self.lock:
            self.calls[action] += 1
            try:
                self._refuse(action)
                result = self._carry_out(action, arguments)
            except Refusal as refusal:
                return 400, query.refusal(refusal.code, refusal.message)
            if self.cuts[action] > 0:
                self.cuts[action] -= 1
                return None
            return 200, query.answer(action, result)

    def _refuse(self, action: str) -> None:
        waiting = self.refusals.get(action)
        if waiting:
            raise Refusal(waiting.popleft(), "as told")

    def _carry_out(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if action == "DescribeDBInstances":
            self._next_state(arguments["DBInstanceIdentifier"])
        result: dict[str, Any] = getattr(self.world, xform_name(action))(arguments)
        if action == "CreateDBInstance":
            self.when_made(arguments)
        return result

    def _next_state(self, instance: str) -> None:
        if instance not in self.world.instances or not self.script:
            return
        state = self.script.popleft() if len(self.script) > 1 or self.script[0] == GONE else self.script[0]
        if state == GONE:
            del self.world.instances[instance]
        else:
            self.world.become(instance, state)


@contextmanager
def running_fake() -> Iterator[FakeRds]:
    """A fake on a port of loopback, ended with the block."""
    fake = FakeRds()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            answer = fake.handle(body)
            if answer is None:
                self.close_connection = True
                return
            status, text = answer
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
