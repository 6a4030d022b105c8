"""What this process tells Prometheus. All of it is in memory, but for the moves: for these the control database is
asked, and while it does not answer they are left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from control_plane.api.control import ControlParts, TheControl
from control_plane.domain.moving import ENDED, Phase
from control_plane.registry.move_figures import Figures, figures

router = APIRouter(tags=["probes"])
OURS = str(os.getpid())


class PlatformCollector(Collector):
    """The roll and the road's connections as gauges. Tenants are counted, never named."""

    def __init__(self, parts: ControlParts, moves: Figures | None) -> None:
        self._parts, self._moves = parts, moves

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See Collector."""
        roll = self._parts.roll
        yield _ours("copyhold_roll_age_seconds", "Since the roll was last known complete.", roll.age_s)
        yield _ours("copyhold_roll_version", "The version of the roll.", roll.snapshot.version)
        yield self._tenants()
        if self._moves is not None:
            yield from _of_moves(self._moves)
        if self._parts.source is not None:
            state = self._parts.source.state
            connections = GaugeMetricFamily(
                "copyhold_connections", "Connections of this process to the pooler.", labels=["process", "state"]
            )
            connections.add_metric([OURS, "idle"], state.idle)
            connections.add_metric([OURS, "lent"], state.lent)
            yield connections
            yield _ours("copyhold_connection_waiters", "Requests waiting for one.", state.waiting)
            yield _ours("copyhold_connections_most", "The most there ever were.", state.most)

    def _tenants(self) -> GaugeMetricFamily:
        tenants = GaugeMetricFamily("copyhold_tenants", "Tenants on the roll.", labels=["model", "status"])
        counted = Counter((route.model, route.status) for route in self._parts.roll.snapshot.by_id.values())
        for (model, status), count in sorted(counted.items()):
            tenants.add_metric([model, status], count)
        return tenants


def _ours(name: str, what: str, value: float) -> GaugeMetricFamily:
    """Of this process alone: whoever asks on a port of several may be answered by another the next time."""
    gauge = GaugeMetricFamily(name, what, labels=["process"])
    gauge.add_metric([OURS], value)
    return gauge


def _of_moves(moves: Figures) -> Iterator[GaugeMetricFamily]:
    count = GaugeMetricFamily("copyhold_moves", "Moves that have not ended.", labels=["phase"])
    oldest = GaugeMetricFamily(
        "copyhold_move_oldest_seconds", "Since the oldest of them was asked for.", labels=["phase"]
    )
    for phase in sorted(set(Phase) - ENDED):
        found = moves.phases.get(phase)
        count.add_metric([phase], found.count if found else 0)
        oldest.add_metric([phase], found.oldest_s if found else 0)
    yield from (count, oldest)
    yield GaugeMetricFamily("copyhold_homes_kept", "Homes that were left and are kept.", moves.kept_homes)
    slots = GaugeMetricFamily("copyhold_move_slots", "Replication slots of moves.", labels=["server"])
    wal = GaugeMetricFamily(
        "copyhold_move_slot_wal_bytes", "What the server keeps of its log for the slowest of them.", labels=["server"]
    )
    for server, there in sorted(moves.slots.items()):
        slots.add_metric([server], there.count)
        wal.add_metric([server], there.wal_bytes)
    yield from (slots, wal)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text."}},
)
async def get_metrics(control: TheControl) -> Response:
    """Metrics of this process."""
    registry = CollectorRegistry()
    registry.register(PlatformCollector(control.parts, await control.glance(figures)))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
