"""What this process tells Prometheus. All of it is in memory: a scrape asks no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from control_plane.api.control import ControlParts, TheControl

router = APIRouter(tags=["probes"])


class PlatformCollector(Collector):
    """The roll and the road's connections as gauges. Tenants are counted, never named."""

    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See Collector."""
        roll = self._parts.roll
        yield GaugeMetricFamily("copyhold_roll_age_seconds", "Since the roll was last known complete.", roll.age_s)
        yield GaugeMetricFamily("copyhold_roll_version", "The version of the roll.", roll.snapshot.version)
        yield self._tenants()
        if self._parts.source is not None:
            state = self._parts.source.state
            connections = GaugeMetricFamily(
                "copyhold_connections", "Connections of this process to the pooler.", labels=["state"]
            )
            connections.add_metric(["idle"], state.idle)
            connections.add_metric(["lent"], state.lent)
            yield connections
            yield GaugeMetricFamily("copyhold_connection_waiters", "Requests waiting for one.", state.waiting)
            yield GaugeMetricFamily("copyhold_connections_most", "The most there ever were.", state.most)

    def _tenants(self) -> GaugeMetricFamily:
        tenants = GaugeMetricFamily("copyhold_tenants", "Tenants on the roll.", labels=["model", "status"])
        counted = Counter((route.model, route.status) for route in self._parts.roll.snapshot.by_id.values())
        for (model, status), count in sorted(counted.items()):
            tenants.add_metric([model, status], count)
        return tenants


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text."}},
)
async def get_metrics(control: TheControl) -> Response:
    """Metrics of this process."""
    registry = CollectorRegistry()
    registry.register(PlatformCollector(control.parts))
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
