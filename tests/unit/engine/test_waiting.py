"""Cancellation that is never lost. With `asyncio.wait_for` in place of `within` the first test fails."""

import asyncio

import pytest
from torpor_engine.waiting import ended, within


@pytest.mark.parametrize("steps", range(6))
async def test_a_cancellation_in_the_instant_of_the_result(steps: int) -> None:
    event = asyncio.Event()
    rounds = 0

    async def work() -> None:
        nonlocal rounds
        while True:
            await within(10, event.wait())
            rounds += 1
            event.clear()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=30)
    cancelled = task.cancelled()
    await ended(task)
    assert cancelled, f"still at work in round {rounds}"


async def test_ended_insists() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await ended(task)
    assert (task.done(), swallowed) == (True, 3)


async def test_within_gives_results_errors_and_time_outs() -> None:
    async def boom() -> None:
        raise KeyError("x")

    assert await within(10, asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError):
        await within(10, boom())
    with pytest.raises(asyncio.TimeoutError):
        await within(0.01, asyncio.Event().wait())
