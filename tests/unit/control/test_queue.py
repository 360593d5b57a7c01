"""The queue hands out each key once, in time, and never to two workers."""

import asyncio

import pytest
from torpor.control.queue import FIRST_PAUSE, LONGEST_PAUSE, WorkQueue


async def taken(queue, limit=30.0):
    return await asyncio.wait_for(queue.get(), limit)


def empty(queue):
    return len(queue) == 0


async def test_many_events_about_one_key_are_one_look():
    queue = WorkQueue()
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert [await taken(queue), await taken(queue)] == ["a", "b"]
    assert empty(queue)


async def test_an_event_during_a_look_leads_to_another_look_afterwards():
    queue = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("a")
    assert empty(queue)
    queue.done("a")
    assert await taken(queue) == "a"


async def test_somebody_who_waits_goes_first():
    queue = WorkQueue()
    for key in "abc":
        queue.add(key)
    queue.add("d", urgent=True)
    queue.add("c", urgent=True)
    queue.add("d")
    assert [await taken(queue) for _ in range(4)] == ["d", "c", "a", "b"]


async def test_urgency_that_comes_during_a_look_is_not_lost():
    queue = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("a", urgent=True)
    queue.add("a")
    queue.add("b")
    queue.done("a")
    assert [await taken(queue) for _ in range(2)] == ["a", "b"]


@pytest.mark.parametrize("steps", range(4))
async def test_a_worker_that_is_cancelled_in_the_moment_of_news_ends(steps):
    queue = WorkQueue()
    queue.at("later", asyncio.get_running_loop().time() + 60)  # so that it waits with a time limit

    async def work():
        while True:
            queue.done(await queue.get())

    worker = asyncio.create_task(work())
    for _ in range(3):
        await asyncio.sleep(0)
    queue.add("a")
    for _ in range(steps):
        await asyncio.sleep(0)
    worker.cancel()
    await asyncio.wait({worker}, timeout=30.0)
    assert worker.cancelled()


async def test_the_first_failure_may_be_repeated_at_once_and_the_second_may_not():
    queue = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("b")
    assert queue.failed("a", at_once=True) == 0.0
    assert await taken(queue) == "a"
    assert queue.failed("a", at_once=True) > 0.0
    assert await taken(queue) == "b"


async def test_due_keys_come_by_themselves_and_the_earliest_time_holds():
    now = 0.0
    queue = WorkQueue(clock=lambda: now)
    queue.at("late", 100.0)
    queue.at("soon", 50.0)
    queue.at("soon", 70.0)
    now = 50.0
    assert await taken(queue) == "soon"
    queue.done("soon")
    now = 99.0
    queue.at("late", 99.5)
    now = 99.6
    assert await taken(queue) == "late"
    queue.done("late")
    now = 200.0
    queue._move_due()
    assert empty(queue)


async def test_a_real_timer_wakes_a_waiting_worker():
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.at("a", asyncio.get_running_loop().time() + 0.02)
    assert await asyncio.wait_for(waiting, 30.0) == "a"


async def test_failures_pause_longer_and_longer_and_a_success_forgets_them():
    now = 0.0
    queue = WorkQueue(clock=lambda: now)
    pauses = []
    for _ in range(14):
        queue.add("a")
        await taken(queue)
        pauses.append(queue.failed("a"))
    assert FIRST_PAUSE / 2 <= pauses[0] <= FIRST_PAUSE
    assert LONGEST_PAUSE / 2 <= pauses[-1] <= LONGEST_PAUSE
    queue.add("a")
    await taken(queue)
    queue.done("a")
    queue.add("a")
    await taken(queue)
    assert queue.failed("a") <= FIRST_PAUSE
