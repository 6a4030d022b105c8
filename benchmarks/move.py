"""A tenant that moves while it works: how long it waits at most, what others notice, what is lost, for every pair.

One tenant is sent through all models and between two servers, and back within the window in which that is possible;
each round has a platform of its own. Environment: COPYHOLD_BENCH_MOVE_ROWS (100000,1000000), COPYHOLD_BENCH_MOVE_ROUNDS
(3), COPYHOLD_BENCH_MOVE_RATE (200, the others' is half of it), COPYHOLD_BENCH_MOVE_REST (10 seconds),
COPYHOLD_BENCH_MOVE_CASES (all; names of cases with commas between: a round of a million rows may take an hour).
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.pacing import DROPPED, Paced, paced
from control_plane.domain.moving import ENDED, Phase
from control_plane.domain.tenant import Model
from control_plane.registry import moves, tenants
from control_plane.registry.engine import transaction
from control_plane.tenants import moving
from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform
from tests.provisioning.workers import control

ROWS = tuple(int(rows) for rows in os.environ.get("COPYHOLD_BENCH_MOVE_ROWS", "100000,1000000").split(","))
ROUNDS = int(os.environ.get("COPYHOLD_BENCH_MOVE_ROUNDS", "3"))
RATE = float(os.environ.get("COPYHOLD_BENCH_MOVE_RATE", "200"))
API_PROCESSES = "2"
"""As many as the machine has cores, for one process is at the end of its core with these requests."""
CONNECTIONS = 8
REST_S = float(os.environ.get("COPYHOLD_BENCH_MOVE_REST", "10"))
"""So long is nobody moved before each move, to have something to hold it against."""
SETTLING_S = 2.0
LOOK_S = 0.05
MESSAGES = 9
"""In each conversation of those that are there at the beginning."""
AT_ONCE, HOUR = timedelta(0), timedelta(hours=1)
SERVERS = ("alpha", "beta")
JOURNEY = (
    ("pool -> silo", Model.SILO, "beta", AT_ONCE),
    ("silo -> pool", Model.POOL, "alpha", AT_ONCE),
    ("pool -> bridge", Model.BRIDGE, "alpha", AT_ONCE),
    ("bridge -> silo", Model.SILO, "beta", AT_ONCE),
    ("silo -> bridge", Model.BRIDGE, "alpha", AT_ONCE),
    ("bridge -> pool", Model.POOL, "alpha", AT_ONCE),
    ("", Model.SILO, "alpha", AT_ONCE),
    ("silo on alpha -> silo on beta", Model.SILO, "beta", HOUR),
)
"""Case, and where it leads. Without a name, the way to the next one's beginning."""
BACK = "back within the undo window"
NAMES = [*filter(None, (name for name, *_ in JOURNEY)), BACK]
CASES = os.environ.get("COPYHOLD_BENCH_MOVE_CASES", ",".join(NAMES)).split(",")
FILL = """
WITH owner AS (SELECT id FROM users WHERE tenant_id = %(tenant)s LIMIT 1), made AS (
    INSERT INTO conversations (tenant_id, id, subject, created_by)
    SELECT %(tenant)s, gen_random_uuid(), 'conversation ' || n, owner.id
      FROM owner, generate_series(1, %(conversations)s) AS n
    RETURNING id, created_by
)
INSERT INTO messages (tenant_id, id, conversation_id, author_id, body)
SELECT %(tenant)s, gen_random_uuid(), made.id, made.created_by, 'message ' || n || ' of some length, as people write'
  FROM made, generate_series(1, %(messages)s) AS n
"""
COUNT = """
SELECT (SELECT count(*) FROM conversations WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM messages WHERE tenant_id = %(tenant)s),
       (SELECT count(*) FROM unnest(%(promised)s::uuid[]) AS promised (id)
         WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.tenant_id = %(tenant)s AND c.id = promised.id))
"""
MIDDLE = ("stall_ms", "rest_p99_ms", "rest_max_ms", "frozen_ms", "others_p99_ratio", "total_s")
LOAD = ("late_p99_ms", "load_cpu", "machine_rest", "machine_move")
WORST = ("lost", "doubled", "errors")
Phases = list[tuple[float, Phase]]


def run() -> dict[str, Any]:
    """Medians of the rounds, a case each pair and size. Takes hours, and of 100,000 rows a quarter of one."""
    if unknown := set(CASES) - set(NAMES):
        raise SystemExit(f"there are no such cases: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for rows in ROWS:
        for number in range(ROUNDS):
            _say(f"{rows:,} rows, round {number + 1} of {ROUNDS}")
            # On disk, as a platform is when it works: tests have theirs in memory.
            folder = Path(tempfile.mkdtemp(prefix="ch-bench-", dir="/tmp"))
            with running_platform("--api-processes", API_PROCESSES, folder=folder) as platform:
                with control(platform) as connection:
                    connection.execute("UPDATE servers SET models = '{pool,bridge,silo}'")
                for figures in _journey(platform, rows):
                    _say(json.dumps(figures))
                    found.setdefault((figures["case"], rows), []).append(figures)
    return {"cases": [_median(each) for each in found.values()]}


@dataclass(kw_only=True)
class Traveller:
    """A tenant on its journey, another one that stays, and what the first must have wherever it lives."""

    tenant: TenantUnderTest
    other: TenantUnderTest
    rows: int
    conversations: int = 0
    messages: int = 0
    """That it had before anybody wrote."""
    promised: list[str] = field(default_factory=list)
    unanswered: int = 0

    def fill(self) -> None:
        """Give it its rows, by its server itself."""
        began = time.monotonic()
        conversations = self.rows // (1 + MESSAGES)
        asked = {"tenant": self.tenant.id, "conversations": conversations, "messages": MESSAGES}
        with self.tenant.platform.home_of(self.tenant) as home:
            home.execute(FILL, asked)
        self.conversations, self.messages, _ = self._count()
        _say(f"filled in {time.monotonic() - began:.1f} s")

    def lost_and_doubled(self) -> tuple[int, int]:
        """Of all that it was promised so far and had in the beginning; an answer that did not come promised nothing."""
        conversations, messages, lost = self._count()
        more = conversations - self.conversations - len(self.promised) + lost
        more_messages = messages - self.messages
        lost += max(0, -more) + max(0, -more_messages)
        return lost, max(0, more - self.unanswered) + max(0, more_messages)

    def _count(self) -> tuple[int, int, int]:
        """Its conversations, its messages, and how many of the promised ones are not there."""
        with self.tenant.platform.home_of(self.tenant) as home:
            asked = {"tenant": self.tenant.id, "promised": self.promised}
            ((conversations, messages, missing),) = home.execute(COUNT, asked).fetchall()
        return conversations, messages, missing


def settle(platform: PlatformUnderTest) -> None:
    """Have what was filled in or deleted be over and done with, which the servers would see to in the next minutes."""
    for server in SERVERS:
        with platform.superuser(server, "postgres") as admin:
            names = [name for (name,) in admin.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()]
        for name in names:
            with platform.superuser(server, name) as connection:
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")


def _journey(platform: PlatformUnderTest, rows: int) -> Iterator[dict[str, Any]]:
    """Where a case that is left out lies between, another tenant begins at the next one's beginning."""
    other, traveller, place = platform.tenant(Model.POOL), None, (Model.POOL, "alpha")
    for number, (name, model, server, window) in enumerate(JOURNEY):
        is_asked, leads_back = name in CASES, number == len(JOURNEY) - 1 and BACK in CASES
        if is_asked or leads_back or (not name and traveller is not None):
            traveller = traveller or _traveller(platform, other, rows, *place)
            go = partial(_go, traveller.tenant, model, server, window)
            if is_asked:
                yield _case(name, traveller, go)
            else:
                go()
            if leads_back:
                yield _case(BACK, traveller, partial(_back, traveller.tenant))
        else:
            traveller = None
        place = model, server


def _traveller(platform: PlatformUnderTest, other: TenantUnderTest, rows: int, model: Model, server: str) -> Traveller:
    traveller = Traveller(tenant=platform.tenant(model, server=server), other=other, rows=rows)
    traveller.fill()
    return traveller


def _case(name: str, traveller: Traveller, go: Callable[[], Phases]) -> dict[str, Any]:
    tenant = traveller.tenant
    settle(tenant.platform)
    with (
        paced(tenant, RATE, CONNECTIONS) as mine,
        paced(traveller.other, RATE / 2, CONNECTIONS // 2) as theirs,
    ):
        started = time.monotonic()
        time.sleep(SETTLING_S)
        settled, settled_cpu = time.monotonic(), _machine()
        time.sleep(REST_S)
        began, began_cpu = time.monotonic(), _machine()
        phases = go()
        ended, ended_cpu = time.monotonic(), _machine()
        time.sleep(SETTLING_S)
    traveller.promised += mine.promised
    traveller.unanswered += mine.errors.get(DROPPED, 0)
    lost, doubled = traveller.lost_and_doubled()
    due, stall_s = mine.longest(began, ended + SETTLING_S)
    with transaction(tenant.platform.engine) as session:
        frozen_ms = moves.of_tenant(session, tenant.id, 1)[0].stall_ms
    lasted_s = time.monotonic() - started
    return {
        "case": name,
        "rows": traveller.rows,
        "stall_ms": _ms(stall_s),
        "stall_in": str(_phase_of(phases, due, due + stall_s)),
        "frozen_ms": round(frozen_ms or 0.0, 1),
        "rest_p99_ms": _ms(_p99(mine.between(settled, began))),
        "rest_max_ms": _ms(max(mine.between(settled, began))),
        "others_p99_ratio": round(_p99(theirs.between(began, ended)) / _p99(theirs.between(settled, began)), 2),
        "total_s": round(ended - began, 2),
        "lost": lost,
        "doubled": doubled,
        "errors": sum(mine.errors.values()) + sum(theirs.errors.values()),
        "late_p99_ms": _ms(_p99(_late(mine, theirs, began, ended))),
        "load_cpu": round((mine.cpu_s + theirs.cpu_s) / lasted_s, 2),
        "machine_rest": _share(settled_cpu, began_cpu),
        "machine_move": _share(began_cpu, ended_cpu),
    }


def _go(tenant: TenantUnderTest, model: Model, server: str, window: timedelta) -> Phases:
    platform = tenant.platform
    with transaction(platform.engine) as session:
        row = tenants.get(session, tenant.id, lock=True)
        move = moving.request(session, platform.workflows, row, "bench", model=model, server=server, undo_window=window)
    return _followed(tenant, move.id, {Phase.KEPT} if window else ENDED)


def _back(tenant: TenantUnderTest) -> Phases:
    with transaction(tenant.platform.engine) as session:
        move = moving.back(session, tenant.platform.workflows, tenants.get(session, tenant.id, lock=True), "bench")
    return _followed(tenant, move.id, ENDED)


def _followed(tenant: TenantUnderTest, move_id: UUID, last: Collection[Phase]) -> Phases:
    """When it came to each phase, as far as we have seen; returns at one of the last."""
    phases: Phases = []
    while True:
        with transaction(tenant.platform.engine) as session:
            row = moves.get(session, move_id)
        phase = Phase(row.phase)
        if not phases or phases[-1][1] is not phase:
            phases.append((time.monotonic(), phase))
        if phase is Phase.CALLED_OFF:
            raise RuntimeError(f"called off: {row.reason}")
        if phase in last:
            return phases
        time.sleep(LOOK_S)


def _phase_of(phases: Phases, begin: float, end: float) -> Phase:
    """In which most of that time lies. What is quicker than our looks is not seen, nor told."""
    ends = [at for at, _ in phases[1:]] + [float("inf")]
    inside = {phase: min(end, until) - max(begin, at) for (at, phase), until in zip(phases, ends, strict=True)}
    return max(inside, key=lambda phase: inside[phase])


def _late(mine: Paced, theirs: Paced, begin: float, end: float) -> list[float]:
    return mine.late_between(begin, end) + theirs.late_between(begin, end)


def _machine() -> tuple[int, int]:
    """Ticks of all processors so far: those that were used, and all."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    return round((after[0] - before[0]) / max(1, after[1] - before[1]), 2)


def _p99(took: Sequence[float]) -> float:
    return sorted(took)[len(took) * 99 // 100] if took else 0.0


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _median(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure on its own; what must be nothing is the worst, and the phases are those of every round."""
    middle = {name: round(statistics.median(each[name] for each in rounds), 2) for name in (*MIDDLE, *LOAD)}
    worst = {name: max(each[name] for each in rounds) for name in WORST}
    return {**rounds[0], **middle, **worst, "stall_in": [each["stall_in"] for each in rounds]}


def _say(line: str) -> None:
    print(line, flush=True)
