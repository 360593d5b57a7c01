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
from pathlib import Path

from torpor_gateway.registry import Registry
from torpor_gateway.server import Server
from torpor_gateway.settings import Settings, address
from torpor_gateway.static import StaticError, StaticSource

log = logging.getLogger(__name__)


class Process:
    """One gateway process. With `static`, fleets come from that file, else from Kubernetes."""

    def __init__(self, settings: Settings, static: Path | None) -> None:
        self.settings = settings
        self.static = static
        self._terminated = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT and the drain after it. Raises OSError, SettingsError, StaticError."""
        loop = asyncio.get_running_loop()
        settings = self.settings
        registry = Registry(settings, loop)
        server = Server(settings, registry, loop)
        listen = address("listen", settings.listen)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated.set)
        if self.static is not None:
            source = StaticSource(self.static, registry)
            source.load()
            loop.add_signal_handler(signal.SIGHUP, self._reload, source)
        gc.collect()
        gc.freeze()  # what is here now stays: the collector need not look at it again
        port = await server.listen(*listen)
        log.info("listening on %s:%d, %d fleets", listen[0], port, len(registry.fleets))
        await self._terminated.wait()
        await self._drain(server)

    def _reload(self, source: StaticSource) -> None:
        try:
            log.info("the file was read again: %d fleets", source.load())
        except StaticError as error:
            log.error("the file was not taken, the last good one stays: %s", error)

    async def _drain(self, server: Server) -> None:
        log.info("draining: %d requests under way", server.busy)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.settings.grace_seconds
        server.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.sleep(min(self.settings.drain_delay_seconds, self.settings.grace_seconds))
        server.stop_accepting()
        while server.connections and loop.time() < deadline:
            server.close_idle()
            if not server.busy and not server.connections:
                break
            await asyncio.sleep(0.05)
        server.abort()
        await asyncio.sleep(0)
        log.info("drained")
