"""Which fleets to look at, and when.

A key waits at most once however many events name it, is never handed to two workers at a time, and comes back
on its own: `at` keeps a heap of due times, so that the end of an idle period or of a credit is looked at on
time without anybody polling. A look that fails is repeated with growing, jittered pauses; the first success
forgets them. A demand is not made to wait for such a pause: somebody sits at the other end. Urgent keys go
before the others and keep their order among themselves, so that of many who wait none waits twice as long.
"""

import asyncio
import contextlib
import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 60.0


class WorkQueue(Generic[Key]):
    """Keys to work on. Times are monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._urgent: deque[Key] = deque()
        self._ready: deque[Key] = deque()
        self._waiting: dict[Key, bool] = {}  # those in the two lines: urgent or not
        self._working: set[Key] = set()
        self._again: dict[Key, bool] = {}  # named while being worked on: urgent or not
        self._failures: dict[Key, int] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._serial = 0
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: Key, *, urgent: bool = False) -> None:
        """Look at `key` as soon as a worker is free; an urgent one goes before the others."""
        if key in self._working:
            self._again[key] = urgent or self._again.get(key, False)
            return
        known = self._waiting.get(key)
        if known or known is urgent:
            return
        if known is not None:
            self._ready.remove(key)
        self._waiting[key] = urgent
        (self._urgent if urgent else self._ready).append(key)
        self._wakeup.set()

    def at(self, key: Key, when: float) -> None:
        """Look at `key` at `when`, or earlier where that was asked for already."""
        if when >= self._due.get(key, float("inf")):
            return
        self._due[key] = when
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, key))
        self._wakeup.set()

    async def get(self) -> Key:
        """Wait for a key and mark it as being worked on. `done` or `failed` must follow."""
        while True:
            self._move_due()
            if self._waiting:
                key = (self._urgent or self._ready).popleft()
                del self._waiting[key]
                self._working.add(key)
                self._due.pop(key, None)  # this look says anew when to look again
                return key
            self._wakeup.clear()
            pause = self._heap[0][0] - self._clock() if self._heap else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):  # wait_for of Python 3.11 may swallow a cancellation
                    await self._wakeup.wait()

    def done(self, key: Key) -> None:
        """The look at `key` succeeded."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: Key, *, at_once: bool = False) -> float:
        """The look at `key` failed: it is repeated after a pause, whose seconds are returned. `at_once`: the
        first failure in a row needs none.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if at_once and not failures:
            self._again[key] = True
            self._release(key)
            return 0.0
        pause: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311
        self._release(key)
        self.at(key, self._clock() + pause)
        return pause

    def _release(self, key: Key) -> None:
        self._working.discard(key)
        if (urgent := self._again.pop(key, None)) is not None:
            self.add(key, urgent=urgent)

    def _move_due(self) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)
