"""The demonstration: a platform from nothing, three tenants in three models, and what each can and cannot see."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from control_plane.domain.errors import CopyholdError
from provisioning.commands import as_typed
from provisioning.layout import Layout

FIRST_REVISION = "0001"
START_DEADLINE_S = 120.0
PASSWORD = "a long demo password"  # noqa: S105 - shown to whoever runs the demonstration
COPYHOLD = (sys.executable, "-m", "cli.main")


class DemoError(CopyholdError):
    """The demonstration did not go as it must."""

    code = "demo"


@dataclass(frozen=True, kw_only=True)
class Customer:
    """One tenant of the demonstration."""

    slug: str
    id: str
    model: str
    http: httpx.Client
    key: str


class Demo:
    """Tells what it does as it does it. Everything goes through the public surface: HTTP and the `copyhold` command."""

    def __init__(self, data: Path, port: int, say: Callable[[str], None]) -> None:
        self._data, self._port, self._say = data, port, say
        self._url = f"http://127.0.0.1:{port}"
        self._control = self._client(f"localhost:{port}")

    def run(self) -> None:
        """All chapters, in order. DemoError when something is not as told."""
        self._chapter("A company signs up by itself: the pool")
        acme = self._sign_up("Acme Bakery", "acme")
        self._chapter("Another one gets a schema of its own: the bridge")
        globex = self._create("Globex Print", "globex", "bridge", "professional")
        self._chapter("An enterprise gets a database of its own, on another server: a silo")
        initech = self._create("Initech", "initech", "silo", "enterprise")
        customers = [acme, globex, initech]
        self._chapter("Each talks in its inbox, through the same API")
        conversations = {customer.slug: self._talk(customer) for customer in customers}
        self._chapter("Nobody sees anybody else's rows")
        self._try_to_look(customers, conversations)
        self._chapter("One migration over the whole fleet")
        self._migrate()
        for customer in customers:
            self._read(customer, conversations[customer.slug])
        self._chapter("It is yours")
        self._tell_where_to_go(customers)

    def _sign_up(self, company: str, slug: str) -> Customer:
        started = time.monotonic()
        form = {"company": company, "slug": slug, "email": f"owner@{slug}.example", "password": PASSWORD}
        answer = _ok(self._control.post("/signup", json=form), 201).json()
        took_ms = (time.monotonic() - started) * 1000
        self._say(f"POST /signup -> 201 in {took_ms:.0f} ms; {slug} is {answer['tenant']['status']}")
        browser = self._client(self._host(slug))
        _ok(browser.get("/api/enter", params={"ticket": answer["ticket"]}), 303)
        me = _ok(browser.get("/api/me"), 200).json()
        self._say(f"the ticket leads {me['name']} inside: GET /api/me -> {me['role']}")
        return self._customer(slug, answer["tenant"]["id"], "pool")

    def _create(self, name: str, slug: str, model: str, plan: str) -> Customer:
        command = ["tenant", "create", name, "--slug", slug, "--model", model, "--plan", plan]
        started = time.monotonic()
        made = json.loads(self._copyhold(*command, "--email", f"it@{slug}.example", "--json"))
        took_ms = (time.monotonic() - started) * 1000
        self._say(f"copyhold tenant create {name!r} --model {model} -> {made['status']} in {took_ms:.0f} ms, all told")
        return self._customer(slug, made["id"], model)

    def _customer(self, slug: str, tenant_id: str, model: str) -> Customer:
        key = json.loads(self._copyhold("key", "create", slug, "--role", "owner", "--name", "demo", "--json"))["key"]
        http = self._client(self._host(slug), Authorization=f"Bearer {key}")
        _until(lambda: http.get("/api/me").status_code == 200, f"{slug}'s key is known")
        return Customer(slug=slug, id=tenant_id, model=model, http=http, key=key)

    def _talk(self, customer: Customer) -> str:
        conversation = _ok(customer.http.post("/api/conversations", json={"subject": "Our first order"}), 201).json()
        path = f"/api/conversations/{conversation['id']}/messages"
        for body in (f"Hello, this is {customer.slug}.", "When will it arrive?"):
            _ok(customer.http.post(path, json={"body": body}), 201)
        self._read(customer, conversation["id"])
        return str(conversation["id"])

    def _read(self, customer: Customer, conversation: str) -> None:
        messages = _ok(customer.http.get(f"/api/conversations/{conversation}/messages"), 200).json()["items"]
        self._say(f"{customer.slug:<8} ({customer.model:<6}) reads {len(messages)} messages: {messages[0]['body']!r}")

    def _try_to_look(self, customers: list[Customer], conversations: dict[str, str]) -> None:
        for customer in customers:
            for other in customers:
                if other is customer:
                    continue
                path = f"/api/conversations/{conversations[other.slug]}"
                _ok(customer.http.get(path), 404)
                _ok(customer.http.get(f"{path}/messages"), 404)
                _ok(customer.http.post(f"{path}/messages", json={"body": "let me in"}), 404)
                _ok(self._client(self._host(other.slug), Authorization=f"Bearer {customer.key}").get("/api/me"), 401)
        self._say("each tried the others' conversations, reading and writing: 18 x 404, as if they did not exist")
        self._say("each tried its key at the others' doors: 6 x 401")

    def _migrate(self) -> None:
        self._say(self._copyhold("migrate", "status").rstrip())
        self._say("copyhold migrate up")
        self._say(self._copyhold("migrate", "up").rstrip())

    def _tell_where_to_go(self, customers: list[Customer]) -> None:
        self._say(f"control plane   http://localhost:{self._port}/openapi.json")
        for customer in customers:
            self._say(f"{customer.slug:<15} http://{self._host(customer.slug)}/openapi.json")
        self._say(f"acme signs in with owner@acme.example and the password {PASSWORD!r}")
        key = customers[2].key
        self._say(f"curl -H 'Authorization: Bearer {key}' http://localhost:{self._port}/api/conversations")
        self._say(as_typed(".venv/bin/copyhold tenant list", self._data))

    def _copyhold(self, *arguments: str) -> str:
        command = [*COPYHOLD, *arguments, "--data", str(self._data)]
        done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise DemoError(f"copyhold {arguments[0]} {arguments[1]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _client(self, host: str, **headers: str) -> httpx.Client:
        # Some resolvers do not know *.localhost: the host goes into the header, the connection to the address.
        return httpx.Client(base_url=self._url, headers={"Host": host, **headers}, timeout=30)

    def _host(self, slug: str) -> str:
        return f"{slug}.localhost:{self._port}"

    def _chapter(self, title: str) -> None:
        self._say(f"\n== {title}")


@contextmanager
def platform(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A platform built one revision behind, in the foreground, ended with the block. Yields its process when ready."""
    command = [*COPYHOLD, "up", "--data", str(data), "--port", str(port), "--at", FIRST_REVISION]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        _until(lambda: _ready(process, data, port), "the platform is up", deadline_s=START_DEADLINE_S)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def _ready(process: subprocess.Popen[bytes], data: Path, port: int) -> bool:
    if process.poll() is not None:
        raise DemoError("the platform did not start: see above")
    if not Layout(data=data).worker_ready.exists():
        return False
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", headers={"Host": "localhost"}).status_code == 200
    except httpx.TransportError:
        return False


def _ok(response: httpx.Response, status: int) -> httpx.Response:
    if response.status_code != status:
        request = response.request
        told = f"{request.method} {request.url.path} answered {response.status_code}, not {status}: {response.text}"
        raise DemoError(told)
    return response


def _until(fact: Callable[[], bool], what: str, *, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not fact():
        if time.monotonic() > end:
            raise DemoError(f"waited {deadline_s:.0f} s in vain: {what}")
        time.sleep(0.05)
