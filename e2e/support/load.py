"""Traffic while something happens, and the count of what it cost.

`Load` runs clients in its own thread and event loop, so that a scenario may block on kubectl without
stopping them. It is bounded three ways: in clients, in requests and in time. Client retries are off by
construction: every loss counts.
"""

import asyncio
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from e2e.support.chat import Outcome, chat
from e2e.support.http1 import Address


@dataclass(frozen=True)
class Tally:
    """The sum of a load's outcomes."""

    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        return Counter(outcome.kind for outcome in self.outcomes)

    @property
    def lost(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.kind == "lost"]

    @property
    def broken(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.broken]

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"requests {len(self.outcomes)}: answered {counts['answered']}, refused {counts['refused']}, "
            f"lost {counts['lost']}, streams broken {len(self.broken)}"
        )

    def must_be_whole(self, *, at_least: int = 1, refusals: bool = False) -> None:
        """Fail unless nothing was lost, nothing (or anything allowed) refused and at least so many were
        answered.
        """
        told = "\n".join(f"  at {o.begun_at:.2f}-{o.done_at or 0:.2f}: {o.detail}" for o in self.lost[:10])
        assert not self.lost, f"{self}\n{told}"
        refused = [o.detail for o in self.outcomes if o.kind == "refused"]
        assert refusals or not refused, f"{self}\n  refused: {refused[:5]}"
        assert self.counts["answered"] >= at_least, f"{self}; wanted at least {at_least} answered"


class Load:
    """Clients that each send one request after another until told to stop.

    `pause` is the mean of the random wait between two requests of a client, in seconds. Every second client
    streams unless `stream` says what all do. An answer has between half of `max_tokens` and all of them.
    """

    def __init__(
        self,
        to: Address,
        model: str,
        *,
        clients: int = 4,
        max_tokens: int = 20,
        stream: bool | None = None,
        pause: float = 0.2,
        most: int = 5000,
        seconds: float = 600,
        request_seconds: float = 120,
        seed: int = 1,
    ) -> None:
        self.outcomes: list[Outcome] = []
        self.running = 0
        self._to, self._model, self._clients, self._stream = to, model, clients, stream
        self._max_tokens, self._pause, self._most = max_tokens, pause, most
        self._deadline, self._request_seconds = time.monotonic() + seconds, request_seconds
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="load", daemon=True)

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for index in range(self._clients):
                group.create_task(self._one(index))

    async def _one(self, index: int) -> None:
        while (
            not self._stop.is_set() and time.monotonic() < self._deadline and len(self.outcomes) < self._most
        ):
            await asyncio.sleep(self._random.uniform(0, 2 * self._pause))
            if self._stop.is_set():
                return
            self.running += 1
            try:
                outcome = await chat(
                    self._to,
                    self._model,
                    stream=self._stream if self._stream is not None else index % 2 == 0,
                    max_tokens=self._random.randint(max(1, self._max_tokens // 2), self._max_tokens),
                    seconds=self._request_seconds,
                )
            finally:
                self.running -= 1
            self.outcomes.append(outcome)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> Tally:
        """Let the running requests finish, then return the tally."""
        self._stop.set()
        self._thread.join(self._request_seconds + 10)
        assert not self._thread.is_alive(), "a client did not end within its own deadline"
        return self.tally

    @property
    def tally(self) -> Tally:
        return Tally(list(self.outcomes))


def burst(to: Address, model: str, count: int, **options: object) -> "Burst":
    """Send `count` requests at once, in the background."""
    return Burst(to, model, count, options)


class Burst:
    """`count` requests that begin together; `end` waits for all of them."""

    def __init__(self, to: Address, model: str, count: int, options: dict[str, object]) -> None:
        self._outcomes: list[Outcome] = []

        async def run() -> None:
            mixed = [{**options, "stream": options.get("stream", index % 2 == 0)} for index in range(count)]
            self._outcomes = list(await asyncio.gather(*(chat(to, model, **o) for o in mixed)))  # type: ignore[arg-type]

        self._thread = threading.Thread(target=lambda: asyncio.run(run()), name="burst", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self, seconds: float = 240) -> Tally:
        """Wait for the last answer and return the tally."""
        self._thread.join(seconds)
        assert self.ended, f"requests without an end after {seconds:g} s"
        return Tally(self._outcomes)
