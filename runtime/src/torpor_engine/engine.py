"""The engine's process while it lives: started, listened to, measured, stopped.

Everything that watches one engine is here: the wait for its health, the reading of its metrics (four times a
second while it works, once a second while it idles, and never more than a twentieth of the time, since the
engine renders them with the same interpreter that serves users), and the two ways to a drained stop. vLLM
0.18 and newer finish their requests on SIGTERM when told for how long; older ones cut every stream, so for
them the launcher waits until nothing runs and signals then.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from torpor_engine.localhost import AnswerError, Localhost
from torpor_engine.logs import LogReader, Tee
from torpor_engine.metrics import read_metrics
from torpor_engine.waiting import ended

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor_engine.children import Child, Children
    from torpor_engine.stats import Board

HEALTH_POLL_SECONDS = 0.03
HEALTH_SECONDS = 2.0
BUSY_SECONDS = 0.25
IDLE_SECONDS = 1.0
SCRAPE_SECONDS = 5.0
SCRAPE_SHARE = 20  # pause at least this many times as long as the reading took
SICK_POLL_SECONDS = 2.0
SICK_LIMIT = 3
# From the last answer to the end of its processes vLLM takes about 5 s. The grace period has 15 s for this:
# the launcher has to be done before the kubelet loses patience, or its last words are lost.
EXIT_SECONDS = 12.0


class EngineProcess:
    """A started engine. `exited` gives its return code."""

    def __init__(
        self, children: Children, argv: Sequence[str], environ: Mapping[str, str], http: Localhost
    ) -> None:
        self.http = http
        self.log = LogReader()
        read_end, write_end = os.pipe()
        try:
            self.child: Child = children.spawn(argv, environ, write_end, write_end)
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._tee = Tee(read_end, 1, self.log)
        self._tee.start()

    @property
    def exited(self) -> asyncio.Future[int]:
        """Done with the return code when the process has ended."""
        return self.child.exited

    async def healthy(self) -> None:
        """Return when /health answers 200 for the first time."""
        while True:
            try:
                if (await self.http.request("GET", "/health", HEALTH_SECONDS)).status == 200:
                    return
            except AnswerError:
                pass
            await asyncio.sleep(HEALTH_POLL_SECONDS)

    async def sick(self) -> str:
        """Return, with a sentence, when the engine says several times in a row that it is dead, yet lives."""
        times = 0
        while True:
            await asyncio.sleep(SICK_POLL_SECONDS)
            try:
                status = (await self.http.request("GET", "/health", HEALTH_SECONDS)).status
            except AnswerError:
                continue  # busy, not dead: readiness looks at the age of the metrics
            times = times + 1 if status >= 500 else 0
            if times == SICK_LIMIT:
                return f"/health answered {status} {times} times in a row"

    async def measure(self, board: Board) -> None:
        """Read the engine's metrics into `board`, for ever."""
        while True:
            begin = time.monotonic()
            pause = BUSY_SECONDS
            try:
                answer = await self.http.request("GET", "/metrics", SCRAPE_SECONDS)
                if answer.status == 200:
                    sample = read_metrics(answer.body)
                    now = time.monotonic()
                    board.measured(sample, answer.body, now)
                    busy = sample.running != 0 or sample.waiting != 0
                    pause = max(BUSY_SECONDS if busy else IDLE_SECONDS, SCRAPE_SHARE * (now - begin))
            except AnswerError:
                pass
            await asyncio.sleep(pause)

    async def drained(self, board: Board) -> None:
        """Return when the engine twice in a row reports none running or waiting; unknown does not count."""
        quiet, seen = 0, board.sample_clock
        while quiet < 2:
            await asyncio.sleep(BUSY_SECONDS)
            if board.sample_clock != seen:
                seen = board.sample_clock
                quiet = quiet + 1 if (board.sample.running, board.sample.waiting) == (0, 0) else 0

    async def stop(self, board: Board, by_itself: bool, seconds: float, impatient: asyncio.Event) -> int:
        """End the engine and give its return code: `seconds` for its requests, a few for itself, then a kill.

        `by_itself` says that the engine finishes its requests on SIGTERM; `impatient` kills at once.
        """
        hurry = asyncio.ensure_future(impatient.wait())
        try:
            if not by_itself:
                quiet = asyncio.ensure_future(self.drained(board))
                ends: set[asyncio.Future[Any]] = {quiet, hurry, self.exited}
                await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                await ended(quiet)
                seconds = 0.0
            self.child.terminate()
            ends = {self.exited, hurry}
            await asyncio.wait(ends, timeout=seconds + EXIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(hurry)
        self.child.kill_group()
        return await asyncio.shield(self.exited)

    async def flush(self) -> None:
        """Give the log's last lines time to pass; a worker that keeps the pipe open is not waited for."""
        deadline = time.monotonic() + 1.0
        while self._tee.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 - it is a thread
            await asyncio.sleep(0.01)
