"""Stands in for the worker: says that it is ready, then waits. STUB_WORKER makes it misbehave."""

import argparse
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    data = parser.parse_args().data
    manner = os.environ.get("STUB_WORKER", "")
    if manner == "dies" or (data / "worker-must-die").exists():
        sys.exit("the stub worker cannot go on")
    if manner == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if manner != "never-ready":
        (data / "run" / "worker.ready").touch()
    while True:
        signal.pause()


main()
