"""The operator's process: put the parts together, run until told to stop or unfit to go on.

Order matters at the start: everything is listed once before anything is decided, and the lease is sought only
when watches and demand streams are warm, so that a leader never decides on half a world. The end has one way
out: whatever part ends first (a signal, the lease, a watch) ends the process, which gives the lease back and
leaves restarting to the kubelet.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import uvloop
from prometheus_client import disable_created_metrics

from torpor import handlers, logs, metrics
from torpor.admin import Admin
from torpor.api import zones
from torpor.api.names import FleetKey
from torpor.build import BuildSettings
from torpor.cluster.client import Kube
from torpor.cluster.demand import DemandStreams
from torpor.cluster.errors import ApiError
from torpor.cluster.events import Recorder
from torpor.cluster.lease import Election
from torpor.cluster.resources import ENDPOINT_SLICES
from torpor.control.controller import Controller
from torpor.control.executor import Executor
from torpor.control.naming import Naming
from torpor.control.queue import WorkQueue
from torpor.control.reconciler import Parts, Reconciler
from torpor.control.store import Store
from torpor.control.watches import Feed, addresses
from torpor.settings import Settings, SettingsError, from_environment

WATCH_LIST_SINCE = 34  # minor version of Kubernetes that streams initial lists
HEARTBEAT_SECONDS = 1.0
LATE_SECONDS = 15.0
WATCHES_SECONDS = 3.0  # for kopf to close its connections
LEADERSHIP = "leadership"

log = logging.getLogger("torpor.operator")


class ToldToStopError(Exception):
    """A watch ended by itself and without a fault: somebody told it to."""


class Operator:
    """One operator process, leading or standing by."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self.settings, self.kube = settings, kube
        self.election = Election(kube, settings.namespace, settings.lease_name, settings.pod_name)
        kube.may_write = lambda: self.election.leading
        self.store, self.naming = Store(), Naming(settings.bare_names)
        self.streams = DemandStreams(self._demand, settings.demand_token_file)
        self.feed = Feed(
            self.store,
            self.naming,
            self._news,
            self._gateways,
            home=settings.namespace,
            demand_service=settings.gateway_demand_service,
            namespaces=settings.watch_namespaces,
        )
        parts = Parts(
            store=self.store,
            naming=self.naming,
            demand=self.streams,
            executor=Executor(kube, self.store),
            recorder=Recorder(kube, "torpor-operator", settings.pod_name),
            build=_build_settings(settings),
            prices=settings.gpu_hour_prices,
        )
        offset = timedelta(seconds=settings.clock_offset_seconds)
        reconciler = Reconciler(parts, schedule_offset=offset)
        self.controller = Controller(WorkQueue[FleetKey](), reconciler, kube, self.store)
        self.stop = asyncio.Event()
        self.ready = False
        self._beat = time.monotonic()
        self._watches: list[asyncio.Task[None]] = []

    async def run(self) -> int:
        """Run until something ends. Returns the exit code: 0 after a signal, 1 after a fault."""
        admin = Admin(self.health, self.readiness)
        port = await admin.start(self.settings.admin_host, self.settings.admin_port)
        log.info("probes and metrics on port %d", port)
        if not zones.available():
            log.error("no time-zone data: schedules cannot be read; install the tzdata package in this image")
        if self.settings.clock_offset_seconds:
            log.warning("schedules are read %d s ahead of the clock", self.settings.clock_offset_seconds)
        tasks = [asyncio.create_task(self._heartbeat(), name="heartbeat")]
        stopping = asyncio.create_task(self.stop.wait(), name="signal")
        try:
            async with self.streams:
                work = asyncio.create_task(self._work(tasks), name="work")
                done, _ = await asyncio.wait({stopping, work}, return_when=asyncio.FIRST_COMPLETED)
                error = work.exception() if work in done else None
                # kopf that ends without an error was told to, by a signal before our handlers were back.
                code = 1 if isinstance(error, Exception) and not isinstance(error, ToldToStopError) else 0
                if code:
                    log.error("ending: %s", error)
                self.stop.set()  # kopf ends by its flag at once and by cancellation slowly
                await self.controller.stop()
                # A renewal on its way would undo the release; and that comes before what may take long.
                await _end([task for task in tasks if task.get_name() == LEADERSHIP])
                await self.election.release()
                await _end(self._watches, grace=WATCHES_SECONDS)
                await _end([work, stopping, *tasks])
        finally:
            await admin.stop()
            await self.kube.close()
        return code

    async def _work(self, tasks: list[asyncio.Task[None]]) -> None:
        """List, watch, lead; ends with an error when any of it ends."""
        await self.feed.first_list(self.kube)
        self._gateways(addresses(self.store.all(ENDPOINT_SLICES)))
        self._watches, started = handlers.operators(
            self.feed,
            self.kube,
            home=self.settings.namespace,
            demand_service=self.settings.gateway_demand_service,
            namespaces=self.settings.watch_namespaces,
            stop=self.stop,
            streaming=await _minor_version(self.kube) >= WATCH_LIST_SINCE,
        )
        tasks += [*self._watches, asyncio.create_task(self.feed.keep_listing(self.kube), name="lists")]
        tasks.append(asyncio.create_task(self._lead(), name=LEADERSHIP))
        signals = asyncio.create_task(self._take_signals_back(started), name="signals")
        self.ready = True
        try:
            await _first_of(tasks)
        finally:
            signals.cancel()

    def take_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)

    async def _take_signals_back(self, started: list[asyncio.Event]) -> None:
        """Install our signal handlers again, after kopf replaced them by its own."""
        for event in started:
            await event.wait()
        self.take_signals()

    async def _lead(self) -> None:
        await self.election.acquire()
        self.controller.start(self.feed.fleets())
        await self.election.hold()
        raise RuntimeError("the lease was lost")

    def _news(self, key: FleetKey) -> None:
        """A watch has news about a fleet."""
        self.controller.add(key)

    def _demand(self, key: FleetKey | None) -> None:
        """A gateway has news about a fleet, or (None) about itself."""
        states = list(self.streams.states().values())
        metrics.GATEWAY_STREAMS.labels("live").set(states.count("live"))
        metrics.GATEWAY_STREAMS.labels("not live").set(len(states) - states.count("live"))
        if key is not None:
            self.controller.demanded(key)
            return
        for fleet in self.feed.fleets():
            self.controller.add(fleet)

    def _gateways(self, addresses: Iterable[str]) -> None:
        """The gateway processes that exist are these."""
        self.streams.set_targets([*addresses, *self.settings.demand_addresses])

    async def _heartbeat(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def health(self) -> dict[str, object]:
        """What is stale or stuck, for /healthz."""
        late = time.monotonic() - self._beat
        stale = self.feed.stale() if self.ready else []
        stuck = self.controller.stuck()
        return {
            "ok": not stale and not stuck and late < LATE_SECONDS,
            "loopLateSeconds": round(max(0.0, late - HEARTBEAT_SECONDS), 3),
            "staleWatches": stale,
            "stuck": stuck,
            "gateways": self.streams.states(),
            "leading": self.election.leading,
        }

    def readiness(self) -> dict[str, object]:
        """Whether the world was listed and schedules can be read, for /readyz."""
        known = (
            zones.available()
        )  # without them schedules cannot be read, and that is not their writers' fault
        return {"ok": self.ready and known, "leading": self.election.leading, "timeZoneData": known}


def _build_settings(settings: Settings) -> BuildSettings:
    return BuildSettings(
        gateway_namespace=settings.namespace,
        gateway_service=settings.gateway_service,
        launcher_image=settings.launcher_image,
        simulated_image=settings.engine_image,
        cluster_domain=settings.cluster_domain,
        image_pull_policy=settings.image_pull_policy,
        pull_secrets=settings.engine_pull_secrets,
        metrics_namespaces=settings.metrics_namespaces,
        gateway_tls=settings.gateway_tls,
    )


async def _minor_version(kube: Kube) -> int:
    """Return the minor version of the API server, 0 where it does not tell."""
    try:
        told = str((await kube.request("GET", "/version")).get("minor", ""))
    except ApiError:
        return 0
    digits = "".join(character for character in told if character.isdigit())
    return int(digits) if digits else 0


async def _first_of(tasks: "list[asyncio.Task[None]]") -> None:
    """Wait until one task ends, and raise why."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for ended in done:
        if error := ended.exception():
            raise error
    raise ToldToStopError(", ".join(ended.get_name() for ended in done))


async def _end(tasks: "Sequence[asyncio.Task[Any]]", grace: float = 0.0) -> None:
    """End tasks, by cancellation where they do not end by themselves within `grace` seconds."""
    if not tasks:
        return
    await asyncio.wait(tasks, timeout=grace)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10.0):
            await asyncio.gather(*tasks, return_exceptions=True)


async def run(settings: Settings) -> int:
    """Log in and run. Returns the exit code."""
    kube = await Kube.connect(settings.kubeconfig)
    operator = Operator(settings, kube)
    operator.take_signals()
    return await operator.run()


def main() -> None:
    """Entry point of `torpor-operator`."""
    try:
        settings = from_environment()
    except SettingsError as error:
        sys.exit(f"torpor-operator: {error}")
    logs.configure(settings.log_format, settings.log_level)
    # A gauge beside each counter, since when it counts: nobody reads them, and they double the series.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    sys.exit(uvloop.run(run(settings)))


if __name__ == "__main__":
    main()
