"""The workers: what comes back when, and how they end."""

import asyncio
import contextlib

import pytest
from torpor.cluster.client import ApiError
from torpor.control.controller import Controller
from torpor.control.queue import WorkQueue
from torpor.control.reconciler import RefusedError

from tests.unit.control.worlds import KEY


class Looks:
    """Stands in for the reconciler: each look does what comes next in `script`; None succeeds."""

    def __init__(self, *script):
        self.script, self.count, self.news_at = list(script), 0, {}
        self.saved = 0
        self.looked = asyncio.Event()

    async def save(self):
        self.saved += 1

    async def look(self, key):
        self.count += 1
        self.looked.set()
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        return await step if step is not None else None

    async def until(self, count):
        async with asyncio.timeout(30):
            while self.count < count:
                self.looked.clear()
                await self.looked.wait()


class Nothing:
    """A server where every Deployment is gone."""

    async def get(self, resource, namespace, name):
        return None


@contextlib.asynccontextmanager
async def working(looks):
    queue = WorkQueue()
    controller = Controller(queue, looks, Nothing(), store=None)
    controller.start([KEY])
    try:
        yield controller, queue
    finally:
        await controller.stop(0.1)


async def test_a_conflict_is_looked_at_again_at_once_and_a_second_one_after_a_pause(monkeypatch):
    monkeypatch.setattr("torpor.control.queue.FIRST_PAUSE", 600.0)  # over only when the test says so
    looks = Looks(ApiError(409, "Conflict", "changed"), ApiError(409, "Conflict", "changed"))
    async with working(looks) as (_, queue):
        await looks.until(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert looks.count == 2
        assert KEY in queue._due
        queue.at(KEY, queue._clock())
        await looks.until(3)


async def test_a_refusal_comes_back_no_later_than_the_look_asked_for():
    looks = Looks()
    async with working(looks) as (_, queue):
        await looks.until(1)
        soon = queue._clock() + 0.01
        queue._failures[KEY] = 10  # its own pause is half a minute and more by now
        looks.script.append(RefusedError("quota", soon))
        queue.add(KEY)
        await looks.until(3)


@pytest.mark.parametrize("urgent", [True, False])
async def test_an_ending_process_finishes_its_look_and_begins_no_other(urgent):
    finish = asyncio.Event()
    looks = Looks(finish.wait())
    async with working(looks) as (controller, queue):
        await looks.until(1)
        stopping = asyncio.create_task(controller.stop(60.0))
        await asyncio.sleep(0)
        queue.add(("team", "other"), urgent=urgent)
        await asyncio.sleep(0)
        finish.set()
        async with asyncio.timeout(30):
            await stopping
        assert looks.count == 1
        assert not controller.leading


async def test_what_was_learned_is_kept_when_the_workers_have_ended():
    looks = Looks()
    async with working(looks) as (controller, _):
        await looks.until(1)
        assert looks.saved == 0
        await controller.stop(0.1)
        assert looks.saved == 1


async def test_keeping_it_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("torpor.control.controller.SAVE_SECONDS", 0.01)
    looks = Looks()
    looks.save = asyncio.Event().wait  # never answers
    async with working(looks) as (controller, _):
        await controller.stop(0.1)
        assert not controller.leading
