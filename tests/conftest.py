"""What all tests share: one platform on real parts for the whole session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

# What a test's own assertions tell when they fail, those of modules that it uses tell as well.
HERE = Path(__file__).parent
pytest.register_assert_rewrite(*(f"tests.{each.stem}" for each in HERE.iterdir() if each.suffix in ("", ".py")))

from tests.platform_under_test import PlatformUnderTest, TenantUnderTest, running_platform  # noqa: E402 - just now

# Tests send them to what they start. Whoever runs them in a shell's background, or by nohup, has one of them ignored,
# and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Nobody is served beside a move here but those who try to disturb it, and on a full machine it would take its time.
os.environ.setdefault("COPYHOLD_LIMITS__BACKGROUND_SHARE", "0.9")

# How long an example takes says how busy the machine is, and nothing of what is tried.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

UNITS = (
    ("moves/whole/test_parts.py",),
    ("provisioning/test_killed_between_steps.py",),
    ("provisioning/test_rds_onboarding.py",),
    ("moves/whole/test_cut.py",),
    ("moves/whole/test_full_disk.py",),
    ("moves/whole/",),
    ("repair/",),
    ("fleet/",),
    ("isolation/",),
    (
        "provisioning/test_creating.py",
        "provisioning/test_erasing.py",
        "provisioning/test_servers_gone.py",
        "provisioning/test_takeover.py",
        "provisioning/test_workflow_records.py",
    ),
    ("servers/",),
    ("provisioning/test_growing.py",),
    ("platform/",),
    ("demo/",),
    ("doctor/",),
    (
        "cli/test_migrate",
        "cli/test_pooler.py",
        "cli/test_retry_and_warm.py",
        "cli/test_server.py",
        "cli/test_tenant.py",
    ),
    ("provisioning/test_restarts.py",),
    ("provisioning/test_warm.py",),
    ("routing/test_dismissal.py",),
    ("routing/test_blackhole.py",),
    ("routing/test_announcing.py",),
    ("routing/test_control_stopped.py",),
    ("moves/",),
    ("providers/",),
    ("attacks/",),
    ("tenant_app/",),
    ("registry/",),
)
"""Folders and files that one process does from end to end, the longest first.

They share a platform, or a server, of their own, which each process would start anew; begun last, one would be waited
for alone.
"""
OF_THEIR_OWN = {"breakable", "far", "made_once", "own_platform", "patient", "shop", "stocked", "town", "whole_fleet"}
"""Fixtures that start such a platform, which takes a core for ten seconds: whatever needs one is slow."""


def _unit_of(path: Path) -> tuple[int, str]:
    """Its place, and what it is called: a file that is of none is one by itself, after all others."""
    name = path.relative_to(HERE).as_posix()
    for place, beginnings in enumerate(UNITS):
        if name.startswith(beginnings):
            return place, beginnings[0]
    return len(UNITS), name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the long units begin first, the others in the order of their folders; mark what is slow."""
    items.sort(key=lambda item: _unit_of(item.path)[0])
    for item in items:
        if OF_THEIR_OWN & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


class ByUnit(LoadFileScheduling):  # type: ignore[misc]
    """Gives each process whole units."""

    def _split_scope(self, nodeid: str) -> str:
        return _unit_of(HERE.parent / super()._split_scope(nodeid))[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByUnit:
    """Of several processes."""
    return ByUnit(config, log)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Name what failed at the very end, a line each: of a long output that is what is kept."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for kind in ("failed", "error"):
        for report in reporter.stats.get(kind, ()) if reporter else ():
            took_s = getattr(report, "duration", 0.0)  # A file that cannot be read has none.
            reporter.write_line(f"{kind}: {report.nodeid} [{took_s:.0f} s]")


@pytest.fixture(scope="session")
def platform() -> Iterator[PlatformUnderTest]:
    """A running platform. Tests share it: they make tenants of their own and break nothing that others use."""
    with running_platform() as started:
        yield started


@pytest.fixture(scope="session")
def pool_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in the pool; tests only add to it."""
    return platform.tenant("pool")


@pytest.fixture(scope="session")
def bridge_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in a schema of its own; tests only add to it."""
    return platform.tenant("bridge")


@pytest.fixture(scope="session")
def silo_tenant(platform: PlatformUnderTest) -> TenantUnderTest:
    """A tenant in a database of its own; tests only add to it."""
    return platform.tenant("silo")
