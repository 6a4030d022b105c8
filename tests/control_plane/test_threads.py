"""The control plane's own threads, and waiting for the roll."""

from __future__ import annotations

import asyncio
import threading

import pytest

from control_plane.api.threads import ControlBusyError, Threads


async def test_work_runs_in_a_thread_and_its_outcome_comes_back() -> None:
    threads = Threads("test", at_once=1, waiting=0, within_s=5)
    assert await threads.run(threading.current_thread) is not threading.current_thread()

    def fails() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await threads.run(fails)


async def test_no_more_than_allowed_run_at_once_and_the_others_get_their_turn() -> None:
    threads = Threads("test", at_once=2, waiting=8, within_s=5)
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        running.pop()

    await asyncio.gather(*(threads.run(work) for _ in range(10)))
    assert len(most) == 10
    assert max(most) <= 2


async def test_past_the_queues_length_it_is_refused_at_once() -> None:
    threads, gate = Threads("test", at_once=1, waiting=1, within_s=5), threading.Event()
    first, second = (asyncio.create_task(threads.run(gate.wait)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(ControlBusyError):
        await threads.run(gate.wait)
    gate.set()
    assert all(await asyncio.gather(first, second))


async def test_work_that_hangs_is_given_up_on_and_keeps_its_thread_until_it_ends() -> None:
    threads, gate = Threads("test", at_once=1, waiting=1, within_s=0.05), threading.Event()
    with pytest.raises(ControlBusyError):
        await threads.run(gate.wait)
    begun: list[bool] = []
    with pytest.raises(ControlBusyError):
        await threads.run(lambda: begun.append(True))
    gate.set()
    while True:
        try:
            await threads.run(lambda: begun.append(False))
            break
        except ControlBusyError:
            continue
    # What was given up on may have been done: it is begun again here, and may be found twice.
    assert set(begun) == {False}


async def test_a_request_that_goes_away_does_not_free_the_thread_of_work_that_goes_on() -> None:
    threads, gate = Threads("test", at_once=1, waiting=0, within_s=5), threading.Event()
    asking = asyncio.create_task(threads.run(gate.wait))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ControlBusyError):
        await threads.run(gate.wait)
    gate.set()
