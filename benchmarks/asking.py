"""A client that asks without a pause until its standard input ends: prints how long it waited at most, in milliseconds,
and how often it was dropped. A process of its own, so that nobody else's work makes it wait.
"""

from __future__ import annotations

import select
import sys
import time

import psycopg


def main(dsn: str) -> None:
    """Ask at `dsn`."""
    longest, dropped = 0.0, 0
    client = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
    client.execute("SELECT 1")
    print("ready", flush=True)
    asked = 0
    while asked % 20 or not select.select([sys.stdin], [], [], 0)[0]:
        started = time.perf_counter()
        try:
            client.execute("SELECT 1")
        except psycopg.OperationalError:
            dropped += 1
            client = psycopg.connect(dsn, autocommit=True, prepare_threshold=None)
        longest = max(longest, time.perf_counter() - started)
        asked += 1
    print(longest * 1000, dropped, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
