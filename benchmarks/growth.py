"""What a platform takes as it grows: memory, disk, connections, the time of each fleet command, what a tenant costs.

Nine tenants in ten are in the pool; one in twenty has a schema, one in twenty a database of its own. Each has what a
new tenant begins with, no more. Environment: COPYHOLD_BENCH_SIZES (10,100,1000), COPYHOLD_BENCH_PRICE_MEMORY (5) and
COPYHOLD_BENCH_PRICE_DISK (0.10).
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.footprint import POOLED, Counter, Disk, Memory, counting, disk, memory
from benchmarks.load import Request, get, measure
from control_plane.domain.route import Role
from control_plane.domain.tenant import Model, Plan, Status
from control_plane.registry import tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import service
from provisioning.bootstrap import MODELS
from tests.platform_under_test import PlatformUnderTest, copyhold_anew, running_platform
from tests.waiting import until

SIZES = tuple(sorted(int(size) for size in os.environ.get("COPYHOLD_BENCH_SIZES", "10,100,1000").split(",")))
SHARE_APART = 0.05
"""Of the tenants, those in a bridge, and as many in silos."""
CLIENTS = 8
GROW_WITHIN_S = 1800.0
SLOW_S = 10.0
"""A command that takes longer is run once, any other three times."""
COMMAND_TIMEOUT_S = 900.0
REST_WITHIN_S = 120.0
"""The pooler closes what nobody has used for 30 s."""
COMMANDS = (
    "migrate status",
    "migrate plan",
    "migrate up",
    "migrate up --verify",
    "migrate check",
    "pooler diff",
    "doctor",
    "tenant list",
    "server list",
)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of a month, in any currency. They are assumptions: whoever uses the estimate puts their own."""

    memory_gib: float = float(os.environ.get("COPYHOLD_BENCH_PRICE_MEMORY", "5"))
    """With the share of a processor that comes with it."""
    disk_gib: float = float(os.environ.get("COPYHOLD_BENCH_PRICE_DISK", "0.10"))

    def of(self, memory_mb: float, disk_mb: float) -> float:
        """Of so much memory and disk."""
        return (memory_mb * self.memory_gib + disk_mb * self.disk_gib) / 1024


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one tenant and month."""

    own: float
    """Of its share in the databases of its model, and in the sessions there."""
    whole: float
    """With its share in the rest of its server, and in what all tenants use."""


def run() -> dict[str, Any]:
    """All figures. Takes some eight minutes, most of them for a thousand tenants."""
    steps = growth(SIZES)
    # On disk, as a platform is when it works: tests have theirs in memory.
    folder = Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))
    with running_platform(folder=folder) as platform, counting(folder) as counter:
        result = Bench(platform, counter).figures(steps)
    print(markdown(result), flush=True)
    return result


def growth(sizes: Sequence[int]) -> list[dict[Model, int]]:
    """The mix at each size; ValueError where a model would have fewer tenants than at the size before."""
    steps = [mix(size) for size in sizes]
    for fewer, more in pairwise(steps):
        if any(fewer[model] > more[model] for model in Model):
            raise ValueError(f"from {sum(fewer.values())} to {sum(more.values())} tenants, some would have to go")
    return steps


def mix(tenants: int) -> dict[Model, int]:
    """How many of so many tenants are in each model; at least one, so there must be three."""
    if tenants < len(Model):
        raise ValueError(f"{tenants} tenants are too few for one in each model")
    apart = max(1, int(tenants * SHARE_APART))
    return {Model.POOL: tenants - 2 * apart, Model.BRIDGE: apart, Model.SILO: apart}


def costs(counts: Mapping[Model, int], used: Memory, stored: Disk, prices: Prices) -> dict[Model, Cost]:
    """What one tenant of each model costs; those of all tenants add up to the whole platform."""

    def of(parts: Sequence[str]) -> float:
        return prices.of(*(sum(each.get(part, 0.0) for part in parts) for each in (used.parts_mb, stored.servers_mb)))

    shared = of([part for part in {*used.parts_mb, *stored.servers_mb} if part not in MODELS]) / sum(counts.values())
    found = {}
    for server, models in MODELS.items():
        own = {model: prices.of(used.serving_mb[model], stored.homes_mb[model]) for model in models}
        rest = (of([server]) - sum(own.values())) / sum(counts[model] for model in models)
        for model in models:
            mine = own[model] / counts[model]
            found[model] = Cost(own=mine, whole=mine + rest + shared)
    return found


@dataclass(frozen=True, kw_only=True)
class Filled:
    """How many tenants there are in each model, and what their databases hold."""

    counts: Mapping[Model, int]
    homes_mb: Mapping[Model, float]

    def each_since(self, before: Filled) -> dict[str, float | None]:
        """What each further tenant of a model added, in MB; None where there was none."""
        found: dict[str, float | None] = {}
        for model in Model:
            more = self.counts[model] - before.counts[model]
            found[str(model)] = round((self.homes_mb[model] - before.homes_mb[model]) / more, 4) if more else None
        return found


class Bench:
    """A platform that grows."""

    def __init__(self, platform: PlatformUnderTest, counter: Counter) -> None:
        self.platform = platform
        self.counter = counter
        self.requests: list[Request] = []
        self.filled = Filled(counts=dict.fromkeys(Model, 0), homes_mb=disk(platform.layout).homes_mb)
        self.prices = Prices()

    def figures(self, steps: Sequence[Mapping[Model, int]]) -> dict[str, Any]:
        """Of each size in turn."""
        found = []
        for counts in steps:
            made_per_s = self._grow(counts)
            found.append({**self._look(counts), "made_per_s": round(made_per_s, 1)})
            _say(json.dumps(found[-1]))
        return {"sizes": found, "prices": asdict(self.prices)}

    def _grow(self, counts: Mapping[Model, int]) -> float:
        """More tenants, all wished for at once, until there are so many and all are served; how many a second."""
        more = [model for model, count in counts.items() for _ in range(count - self.filled.counts[model])]
        random.Random(7).shuffle(more)
        _say(f"making {len(more)} tenants")
        started = time.monotonic()
        made = [self._wished(model) for model in more]
        until(self._all_active, what="all are active", deadline_s=GROW_WITHIN_S)
        took_s = time.monotonic() - started
        for host, key in made:
            until(partial(self._answers, host, key), what=f"{host} answers")
        self.requests += [get("/api/conversations", host, key) for host, key in made]
        _say(f"made them in {took_s:.0f} s")
        return len(more) / took_s

    def _wished(self, model: Model) -> tuple[str, str]:
        """Host and key of a tenant to be."""
        slug = f"g{uuid4().hex[:10]}"
        owner = service.OwnerWish(email=f"owner@{slug}.example", name="Olive Owner")
        wish = service.TenantWish(slug=slug, name=slug, plan=Plan.STARTER, model=model, owner=owner)
        with transaction(self.platform.engine) as session:
            row = service.create(session, self.platform.workflows, wish, "bench")
            _, key = service.create_key(session, row, name="bench", role=Role.OWNER, scopes=(), actor="bench")
        return f"{slug}.localhost:{self.platform.port}", key

    def _all_active(self) -> bool:
        with transaction(self.platform.engine) as session:
            found = {status for _, status in tenants.counts(session)}
        if str(Status.FAILED) in found:
            raise RuntimeError("some could not be made: `copyhold tenant list` says why")
        return found == {str(Status.ACTIVE)}

    def _answers(self, host: str, key: str) -> bool:
        headers = {"Host": host, "Authorization": f"Bearer {key}"}
        return self.platform.control.get("/api/me", headers=headers).status_code == 200

    def _look(self, counts: Mapping[Model, int]) -> dict[str, Any]:
        """All figures of this size."""
        until(lambda: not self.counter.now()[POOLED], what="the pooler is at rest", deadline_s=REST_WITHIN_S)
        stored, idle, rest = disk(self.platform.layout), memory(self.platform.layout), self.counter.now()
        order = random.Random(7).sample(self.requests, len(self.requests))
        self.counter.watch()
        measure(self.platform.port, order.__getitem__, requests=len(order), clients=CLIENTS)
        load, busy = self.counter.most(), memory(self.platform.layout)
        before, self.filled = self.filled, Filled(counts=counts, homes_mb=stored.homes_mb)
        each = costs(counts, busy, stored, self.prices)
        return {
            "tenants": sum(counts.values()),
            **{str(model): count for model, count in counts.items()},
            "memory_mb": _rounded(idle.parts_mb),
            "memory_load_mb": _rounded(busy.parts_mb),
            "serving_mb": _rounded(busy.serving_mb),
            "disk_mb": _rounded(stored.servers_mb),
            "wal_mb": _rounded(stored.wal_mb),
            "disk_per_tenant_mb": self.filled.each_since(before),
            "connections": {"rest": rest, "load": load},
            "commands_s": {command: self._timed(command) for command in COMMANDS},
            "cost_per_tenant": {str(model): round(cost.whole, 4) for model, cost in each.items()},
            "cost_of_own": {str(model): round(cost.own, 4) for model, cost in each.items()},
        }

    def _timed(self, command: str) -> float:
        """Seconds from the start of the process to its end: the median of three, or the first if it was slow."""
        whole = [*command.split(), "--data", str(self.platform.data)]
        took: list[float] = []
        while not took or (len(took) < 3 and took[0] <= SLOW_S):
            started = time.perf_counter()
            done = copyhold_anew(*whole, check=False, timeout_s=COMMAND_TIMEOUT_S)
            took.append(time.perf_counter() - started)
            if done.returncode != 0:
                raise RuntimeError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return round(statistics.median(took), 2)


def markdown(result: Mapping[str, Any]) -> str:
    """The table for docs/benchmarks.md: a row a figure, a column a size."""
    sizes, prices = result["sizes"], result["prices"]
    lines = [_row("tenants", [f"{size['tenants']:,}" for size in sizes]), "|---" * (len(sizes) + 1) + "|"]
    lines.append(_row("in pool / bridge / silo", [" / ".join(f"{size[model]:,}" for model in Model) for size in sizes]))
    lines.append(_row("onboarded a second", [_told(size["made_per_s"], 1) for size in sizes]))
    for title, paths, digits in BLOCKS:
        blocks = [[_at(size, path) for path in paths] for size in sizes]
        for name in dict.fromkeys(name for block in blocks for part in block for name in part):
            cells = [" / ".join(_told(part.get(name), digits) for part in block) for block in blocks]
            lines.append(_row(f"{title}: {name.replace('_', ' ')}", cells))
    memory_price, disk_price = (f"{prices[name]:.2f}" for name in ("memory_gib", "disk_gib"))
    lines.append(f"\nPrices assumed: {memory_price} a month for a GiB of memory, {disk_price} for one of disk.")
    return "\n".join(lines)


BLOCKS = (
    ("memory, MB, at rest / under load", ("memory_mb", "memory_load_mb"), 0),
    ("disk, MB, all / of it the log", ("disk_mb", "wal_mb"), 0),
    ("disk of one more tenant, MB", ("disk_per_tenant_mb",), 3),
    ("connections, at rest / most under load", ("connections.rest", "connections.load"), 0),
    ("command, s", ("commands_s",), 1),
    ("a tenant's cost a month, whole / of it its own", ("cost_per_tenant", "cost_of_own"), 4),
)
"""Title, places and digits of what is in the table; of several places, one cell."""


def _at(size: Mapping[str, Any], path: str) -> Mapping[str, float | None]:
    found: Any = size
    for name in path.split("."):
        found = found[name]
    return found  # type: ignore[no-any-return]


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join((title, *cells))} |"


def _told(number: float | None, digits: int) -> str:
    return "–" if number is None else f"{number:,.{digits}f}"


def _rounded(figures: Mapping[str, float] | Mapping[Model, float]) -> dict[str, float]:
    return {str(name): round(figure, 1) for name, figure in sorted(figures.items())}


def _say(line: str) -> None:
    print(line, flush=True)
