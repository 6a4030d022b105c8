"""Which errors have a step done again: what may be otherwise the next time, and nothing else."""

from __future__ import annotations

from threading import Thread

import psycopg
import pytest

from control_plane.domain.errors import ConflictError, UnavailableError
from provisioning.workflows import worth_repeating
from tests.platform_under_test import PlatformUnderTest
from tests.waiting import until

GRANT = "GRANT USAGE ON SCHEMA public TO copyhold_mover"
WAITS = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"


def test_two_who_change_one_row_of_a_catalogue_at_once(platform: PlatformUnderTest) -> None:
    failed: list[psycopg.Error] = []

    def come_second(second: psycopg.Connection[object]) -> None:
        try:
            second.execute(GRANT)
        except psycopg.Error as error:
            failed.append(error)

    with platform.superuser("beta", "postgres") as first, platform.superuser("beta", "postgres") as second:
        with first.transaction(), platform.superuser("beta", "postgres") as watcher:
            first.execute(GRANT)
            thread = Thread(target=come_second, args=(second,))
            thread.start()
            pid = second.info.backend_pid
            until(lambda: watcher.execute(WAITS, [pid]).fetchone() is not None, what="the second waits for the first")
        thread.join()
    (error,) = failed
    assert "tuple concurrently updated" in str(error)
    assert worth_repeating(error)


@pytest.mark.parametrize(
    ("error", "worth_it"),
    [
        (psycopg.OperationalError(), True),
        (UnavailableError(), True),
        (TimeoutError(), True),
        (OSError(), True),
        (psycopg.errors.InsufficientPrivilege(), False),
        (ConflictError(), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_was_unavailable_is_tried_again_and_what_is_wrong_is_not(error: Exception, worth_it: bool) -> None:
    assert worth_repeating(error) is worth_it
