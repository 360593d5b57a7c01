"""Several processes on one port: the supervisor, which starts them and carries no request itself.

Each worker is a whole gateway with its own `bootId`. The kernel spreads connections over them (SO_REUSEPORT),
and worker N serves its demand stream on the demand port plus N, where the operator reads it as it reads any
gateway's: no line passes through this process, and nothing needs to be merged that the operator adds up
anyway. Only what the outside knows as one is made one here: metrics, probes, signals, limits.

A worker that ends is replaced, with a growing pause if it ends again soon. One that ends before the first
ones serve is a gateway that cannot start, and its exit code becomes ours. Limits on connections and bytes are
for all workers together and divided among them; those of a fleet (held requests and bytes) hold for each.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson
from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from torpor_gateway.doors import Door, Visit
from torpor_gateway.metrics import PREFIX
from torpor_gateway.pipe import Pipe
from torpor_gateway.settings import Settings, address
from torpor_gateway.shares import VARIABLE, check, reserve
from torpor_gateway.sums import Sums, snapshot

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 4.0  # less than a probe's time-out
_FIRST_PAUSE, _LAST_PAUSE, _STEADY_SECONDS = 0.1, 10.0, 60.0
_MARGIN_SECONDS = 10.0  # beyond the grace period, which workers keep themselves


class _Worker:
    """One process. `up` once it listens; `reloads` is how often files had been read again when it began."""

    def __init__(self, index: int, process: asyncio.subprocess.Process, pipe: Pipe, reloads: int) -> None:
        self.index, self.process, self.pipe, self.reloads = index, process, pipe, reloads
        self.up = asyncio.Event()
        self._asked: dict[int, asyncio.Future[dict[str, Any] | None]] = {}
        self._numbers = itertools.count()

    async def listen(self, is_up: Callable[["_Worker", dict[str, Any]], None]) -> None:
        """Take what it says, until it says nothing more."""
        while (value := await self.pipe.receive()) is not None:
            if "up" in value:
                self.up.set()
                is_up(self, value["up"])
            elif (future := self._asked.pop(value["answer"], None)) is not None and not future.done():
                future.set_result(value)
        for future in self._asked.values():
            if not future.done():
                future.set_result(None)

    async def ask(self, what: str) -> dict[str, Any] | None:
        """Return its answer; None where it has none in time."""
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.pipe.send({"ask": what, "number": number})
                return await future
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """Keeps `settings.workers` processes running. `argv` are the arguments they are started with."""

    def __init__(self, settings: Settings, argv: Sequence[str], *, reloads: bool) -> None:
        check(settings)
        self._settings, self._argv = settings, list(argv)
        self._takes_reloads = reloads
        self._workers: dict[int, _Worker] = {}
        self._sums = Sums()
        self._restarts = self._reloads = self._code = 0
        self._serving = False
        self._terminated = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT and the workers' drain; return the exit code. Raises OSError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated.set)
        if self._takes_reloads:
            loop.add_signal_handler(signal.SIGHUP, self._reload)
        settings, held = self._settings, []
        addresses = {"listen": settings.listen, "tlsListen": settings.tls_listen}
        for name, text in addresses.items():
            if text:
                port, addresses[name] = reserve(text)
                held.append(port)
        door = Door({"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz})
        try:
            if settings.admin_listen:
                await door.open(*address("admin-listen", settings.admin_listen))
            await self._keep_all(addresses)
        finally:
            await door.close()
            for port in held:
                port.close()
        return self._code

    async def _keep_all(self, addresses: Mapping[str, str]) -> None:
        """One first: what keeps it from starting would keep all, and is to be said once."""
        count = self._settings.workers
        tasks: list[asyncio.Task[None]] = []
        try:
            for some in ((0,), range(1, count)):
                for index in some:
                    if not self._terminated.is_set():
                        tasks.append(
                            asyncio.create_task(self._keep(index, addresses), name=f"worker {index}")
                        )
                        tasks[-1].add_done_callback(self._ended)
                for index in some:
                    await self._until_up(index)
            if not self._terminated.is_set():
                self._serving = True
                where = " and ".join(filter(None, addresses.values()))
                log.info("listening on %s with %d workers", where, count)
            await self._terminated.wait()
            for worker in self._workers.values():
                worker.signal(signal.SIGTERM)
            if tasks:
                await asyncio.wait(tasks, timeout=self._settings.grace_seconds + _MARGIN_SECONDS)
        finally:
            for worker in self._workers.values():
                worker.signal(signal.SIGKILL)
            await asyncio.gather(*tasks, return_exceptions=True)
        log.info("all workers have ended")

    async def _until_up(self, index: int) -> None:
        while not self._terminated.is_set():
            worker = self._workers.get(index)
            if worker is not None and worker.up.is_set():
                return
            await asyncio.sleep(0.02)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody keeps that worker any more: end as a whole, and be started again as a whole."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s cannot be run: %r", task.get_name(), error)
            self._code = 1
            self._terminated.set()

    async def _keep(self, index: int, addresses: Mapping[str, str]) -> None:
        """Run worker `index`, again and again."""
        loop, pause = asyncio.get_running_loop(), _FIRST_PAUSE
        while not self._terminated.is_set():
            began = loop.time()
            code = await self._run(index, addresses)
            if self._terminated.is_set():
                return
            if not self._serving:
                self._code = code if code > 0 else 1
                self._terminated.set()
                return
            self._restarts += 1
            pause = _FIRST_PAUSE if loop.time() - began > _STEADY_SECONDS else min(pause * 2, _LAST_PAUSE)
            log.error("worker %d ended with %d; another one begins in %.1f s", index, code, pause)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._terminated.wait()

    async def _run(self, index: int, addresses: Mapping[str, str]) -> int:
        ours, theirs = socket.socketpair()
        told = {"index": index, "fd": theirs.fileno(), **addresses}
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "torpor_gateway", *self._argv),
                pass_fds=(theirs.fileno(),),
                env=os.environ | {VARIABLE: orjson.dumps(told).decode()},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = _Worker(index, process, await Pipe.open(ours), self._reloads)
        self._workers[index] = worker
        if self._terminated.is_set():
            worker.signal(signal.SIGTERM)
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(worker.listen(self._is_up))
                code = await process.wait()
                await listening  # its last words
        finally:
            worker.signal(signal.SIGKILL)
            worker.pipe.close()
            self._sums.retire(str(index))
            if self._workers.get(index) is worker:
                del self._workers[index]
        return code

    def _is_up(self, worker: _Worker, told: dict[str, Any]) -> None:
        log.info("worker %d is up: pid %d, demand port %s", worker.index, worker.process.pid, told["demand"])
        if worker.reloads != self._reloads:
            worker.signal(signal.SIGHUP)  # the file may have changed after it was read

    def _reload(self) -> None:
        self._reloads += 1
        for worker in self._workers.values():
            if worker.up.is_set():  # before that the signal would end it
                worker.signal(signal.SIGHUP)

    # --- what is asked of the gateway as a whole ---

    async def _asked(self, what: str) -> list[tuple[int, dict[str, Any] | None]]:
        """Ask the workers that are up; None stands for one that does not answer."""
        up = [worker for worker in self._workers.values() if worker.up.is_set()]
        answers: list[Awaitable[dict[str, Any] | None]] = [worker.ask(what) for worker in up]
        return list(zip((worker.index for worker in up), await asyncio.gather(*answers), strict=True))

    async def _metrics(self, visit: Visit) -> None:
        for index, answer in await self._asked("metrics"):
            if answer is not None and index in self._workers:
                self._sums.latest[str(index)] = answer["metrics"]
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._sums.latest["supervisor"] = snapshot(registry)
        everything = CollectorRegistry()
        everything.register(self._sums)
        everything.register(_Own(len(self._workers), self._restarts))
        await visit.answer(200, generate_latest(everything), b"text/plain; version=0.0.4; charset=utf-8")

    async def _healthz(self, visit: Visit) -> None:
        silent = [index for index, answer in await self._asked("state") if answer is None]
        text = f"worker {silent[0]} does not answer" if silent else "ok"
        await visit.answer(503 if silent else 200, text.encode() + b"\n")

    async def _readyz(self, visit: Visit) -> None:
        answers = dict(await self._asked("state"))
        reason = None
        for index in range(self._settings.workers):
            answer = answers.get(index)
            why = "is not up" if answer is None else answer["notReady"]
            if why:
                reason = f"worker {index}: {why}"
                break
        await visit.answer(503 if reason else 200, (reason or "ok").encode() + b"\n")


class _Own(Collector):
    """What the supervisor itself counts."""

    def __init__(self, workers: int, restarts: int) -> None:
        self._workers, self._restarts = workers, restarts

    def collect(self) -> list[Metric]:
        """Return the two families."""
        return [
            GaugeMetricFamily(PREFIX + "workers", "Worker processes that run.", value=self._workers),
            CounterMetricFamily(PREFIX + "worker_restarts", "Workers that ended.", value=self._restarts),
        ]
