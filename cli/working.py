"""The process of a platform that makes and moves: the worker. It starts without importing what serves."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from cli.marks import marked_ready
from cli.wiring import open_platform
from control_plane.log import configure_logging
from provisioning import worker


def run_worker(data: Path | None) -> None:
    """Run workflows until SIGTERM or SIGINT."""
    configure_logging()
    with open_platform(data) as platform, worker.running(platform.estate):
        ended = threading.Event()
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: ended.set())
        with marked_ready(platform.settings.ready_file):
            ended.wait()
