"""The process: what is started, in which order, and how it ends.

The end is the delicate part. On SIGTERM the gateway says it is draining (readiness, demand stream), goes on
accepting until the endpoints have propagated, then refuses new connections and closes idle ones. What is held
goes on being held and what streams goes on streaming, with the demand stream open, because the requests held
here are the only reason why the operator wakes a fleet. The process ends when nothing is left, or cuts off
what is left at the limit.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from dataclasses import replace
from pathlib import Path

from torpor_gateway import exchange
from torpor_gateway.answers import Refusal
from torpor_gateway.certificate import Certificate, CertificateError
from torpor_gateway.demand import Demand
from torpor_gateway.doors import Door, Visit
from torpor_gateway.files import Files, raise_limit
from torpor_gateway.keys import KeysError
from torpor_gateway.keystore import KeyStore
from torpor_gateway.later import soon
from torpor_gateway.pipe import Pipe
from torpor_gateway.recording import recording
from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings, SettingsError, address
from torpor_gateway.static import StaticError, StaticSource

log = logging.getLogger(__name__)

COMPILED = not exchange.__file__.endswith(".py")  # the data path, as in the image (runtime/native)


class Process:
    """One gateway process. With `static`, fleets come from that file, else from Kubernetes.

    `supervisor` is the worker's end of a pair of sockets, where this is one of several processes on a port.
    """

    def __init__(
        self, settings: Settings, static: Path | None, supervisor: socket.socket | None = None
    ) -> None:
        self.settings = settings
        self.static = static
        self._supervisor = supervisor
        self._demand_port = 0
        self._terminated = asyncio.Event()
        self._doors: list[Door] = []

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises OSError, SettingsError, StaticError."""
        loop = asyncio.get_running_loop()
        files = Files(raise_limit())
        settings = self.settings = _within(files, self.settings)
        registry = Registry(settings, loop, files)
        server = Server(settings, registry, loop)
        demand = Demand(registry, settings.pod_name, settings.demand_token_file)
        registry.set_changed(demand.changed)
        registry.freshness_changed = demand.beat
        if self.static is None and not settings.demand_token_file:
            raise SettingsError(
                "TORPOR_DEMAND_TOKEN_FILE is not set: the demand stream needs its token in a cluster"
            )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated.set)
        await self._open_doors(server, demand)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(recording(server, demand.boot_id))
            server.gate.share(self.settings.workers)
            self._read_keys(server, stack)
            certificate = self._read_certificate(stack)
            await self._start_source(registry, server, stack)
            gc.collect()
            gc.freeze()  # what is here now stays: the collector need not look at it again
            await self._listen(server, certificate)
            if self._supervisor is not None:
                pipe = await Pipe.open(self._supervisor)
                talk = loop.create_task(self._talk(pipe, server, demand))
                stack.callback(talk.cancel)
            await self._terminated.wait()
            await self._drain(server, demand)
            for door in self._doors:
                await door.close()

    async def _listen(self, server: Server, certificate: Certificate | None) -> None:
        settings, shared = self.settings, self._supervisor is not None
        fleets, how = len(server.registry.fleets), "compiled" if COMPILED else "interpreted"
        if settings.listen or certificate is None:
            host, port = address("listen", settings.listen)
            port = await server.listen(host, port, shared=shared)
            log.info("listening on %s:%d, %d fleets, data path %s", host, port, fleets, how)
        if certificate is not None:
            host, port = address("tls-listen", settings.tls_listen)
            port = await server.listen_tls(host, port, certificate, shared=shared)
            log.info("listening on %s:%d with TLS, %d fleets, data path %s", host, port, fleets, how)

    async def _talk(self, pipe: Pipe, server: Server, demand: Demand) -> None:
        """Tell the supervisor that this worker is up, then what it asks for; drain when it is gone."""
        from torpor_gateway.metrics import exposition  # noqa: PLC0415 - a single process may need none
        from torpor_gateway.sums import snapshot  # noqa: PLC0415

        collectors = exposition(server, demand)
        await pipe.send({"up": {"demand": self._demand_port}})
        while (asked := await pipe.receive()) is not None:
            answer: dict[str, object] = {"answer": asked["number"]}
            if asked["ask"] == "metrics":
                answer["metrics"] = snapshot(collectors)
            else:
                answer["notReady"] = server.not_ready()
            await pipe.send(answer)
        if not self._terminated.is_set():
            log.error("the supervisor is gone")
            self._terminated.set()

    def _read_keys(self, server: Server, stack: contextlib.AsyncExitStack) -> None:
        if not self.settings.api_keys:
            log.warning("no API keys: whoever reaches this gateway may use every model (TORPOR_API_KEYS)")
            return
        store = KeyStore(Path(self.settings.api_keys), server.gate)
        try:
            store.load()
        except KeysError as error:
            raise SettingsError(f"api-keys: {error}") from None
        stack.callback(asyncio.get_running_loop().create_task(store.follow()).cancel)

    def _read_certificate(self, stack: contextlib.AsyncExitStack) -> Certificate | None:
        settings = self.settings
        if not settings.tls_listen:
            return None
        certificate = Certificate(Path(settings.tls_folder), settings.tls_min_version)
        try:
            certificate.load()
        except CertificateError as error:
            raise SettingsError(f"TORPOR_TLS_FOLDER={settings.tls_folder!r}: {error}") from None
        stack.callback(asyncio.get_running_loop().create_task(certificate.follow()).cancel)
        return certificate

    async def _start_source(
        self, registry: Registry, server: Server, stack: contextlib.AsyncExitStack
    ) -> None:
        if self.static is not None:
            source = StaticSource(self.static, registry)
            source.load()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload, source)
            return
        # Imported here: without Kubernetes nothing of its client is loaded.
        from torpor_gateway.cluster import ClusterSource  # noqa: PLC0415
        from torpor_gateway.kube import KubeError, find_access  # noqa: PLC0415

        try:
            cluster = ClusterSource(registry, self.settings, find_access())
        except KubeError as error:
            raise SettingsError(str(error)) from None
        workers = self.settings.workers  # in each of the pods that serve
        cluster.on_processes = lambda pods: server.gate.share(pods * workers)
        stack.push_async_callback(cluster.close)
        registry.synced = False
        cluster.start()

    async def _open_doors(self, server: Server, demand: Demand) -> None:
        settings = self.settings
        if settings.demand_listen:
            door = Door({"/v1/demand": demand.visit})
            self._doors.append(door)
            self._demand_port = await door.open(*address("demand-listen", settings.demand_listen))
        if settings.admin_listen:
            door = _admin(server, demand)
            self._doors.append(door)
            await door.open(*address("admin-listen", settings.admin_listen))

    def _reload(self, source: StaticSource) -> None:
        try:
            log.info("the file was read again: %d fleets", source.load())
        except StaticError as error:
            log.error("the file was not taken, the last good one stays: %s", error)

    async def _drain(self, server: Server, demand: Demand) -> None:
        log.info("draining: %d requests under way", server.busy)
        loop = asyncio.get_running_loop()
        settings = self.settings
        deadline = loop.time() + settings.grace_seconds
        server.draining = True
        demand.drain()
        await asyncio.sleep(min(settings.drain_delay_seconds, settings.grace_seconds))
        server.stop_accepting()
        while server.connections and loop.time() < deadline:
            server.close_idle()
            await asyncio.sleep(0.05)
        if server.connections:
            log.warning("the grace period is over: %d requests are cut off", server.busy)
            server.dismiss(
                Refusal(
                    503, "GatewayStopping", "the gateway stops; send the request again", retry_after=soon(1)
                )
            )
            await asyncio.sleep(0.2)
        server.abort()
        await asyncio.sleep(0)
        log.info("drained")


def _within(files: Files, settings: Settings) -> Settings:
    """Lower the limit of connections to what open files allow."""
    possible = files.bound(settings.max_connections)
    if possible < settings.max_connections:
        log.warning("at most %d open files: the limit of connections is %d", files.limit, possible)
    return replace(settings, max_connections=possible)


def _admin(server: Server, demand: Demand) -> Door:
    from torpor_gateway.metrics import exposition, generate_latest  # noqa: PLC0415 - only where it is asked for

    collectors = exposition(server, demand)

    async def metrics(visit: Visit) -> None:
        await visit.answer(200, generate_latest(collectors), b"text/plain; version=0.0.4; charset=utf-8")

    async def healthz(visit: Visit) -> None:
        await visit.answer(200, b"ok\n")  # the loop turns, or nobody would answer

    async def readyz(visit: Visit) -> None:
        reason = server.not_ready()
        await visit.answer(503 if reason else 200, (reason or "ok").encode() + b"\n")

    return Door({"/metrics": metrics, "/healthz": healthz, "/readyz": readyz})
