"""The demand streams: one GET to every gateway process, held open for as long as the process lives.

The operator pulls; a gateway cannot reach the operator, so a broken-in gateway can at most lie about its own
traffic. Processes are found through the EndpointSlices of the headless demand Service, terminating ones
included: a gateway that is being rolled still holds requests. Standbys keep the same streams open, so a new
leader decides at once.

A stream that ends is opened again after a short, jittered pause. Lines are bounded in length, and a stream
that says nothing for longer than its heartbeats allow is cut: behind a dead connection every silence looks
like sleep.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

import httpx

from torpor.api.names import FleetKey
from torpor.cluster.gateway_view import (
    GONE_SECONDS,
    SILENT_SECONDS,
    FleetDemand,
    GatewayView,
    merge,
)
from torpor.cluster.ledger import Ledger

LONGEST_LINE = 1024 * 1024
PAUSES = (0.1, 0.25, 0.5, 1.0, 2.0)

log = logging.getLogger(__name__)


class DemandStreams:
    """All gateways' streams and the joint view of them. `changed(key)` is called for each fleet line, with
    None when a gateway appears, falls silent or comes back."""

    def __init__(
        self,
        changed: Callable[[FleetKey | None], None],
        token_file: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed = changed
        self._token_file = token_file
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._views: dict[str, GatewayView] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ledger = Ledger(clock())
        self._gaps: dict[str, str] = {}
        self._watchdog: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "DemandStreams":
        timeout = httpx.Timeout(5.0, read=SILENT_SECONDS, pool=None)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)
        self._watchdog = asyncio.create_task(self._watch(), name="demand watchdog")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks.values(), *([self._watchdog] if self._watchdog else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client:
            await self._client.aclose()

    def set_targets(self, addresses: Iterable[str]) -> None:
        """Name the processes (`host:port`) that exist now. One that left stays in the view while its stream
        speaks.
        """
        wanted = set(addresses)
        for address in wanted - self._views.keys():
            self._views[address] = GatewayView(address)
        for address, view in self._views.items():
            view.listed = address in wanted
            if view.listed and (address not in self._tasks or self._tasks[address].done()):
                self._tasks[address] = asyncio.create_task(self._follow(view), name=f"demand {address}")
        self._sweep()

    def fleet(self, key: FleetKey, uid: str) -> FleetDemand:
        """What all gateways hold for the fleet now."""
        return merge(self._views.values(), key, uid, self._ledger, self._clock())

    def forget(self, key: FleetKey) -> None:
        """Drop what is known of a fleet that was deleted."""
        self._ledger.forget(key)
        for view in self._views.values():
            view.fleets.pop(key, None)

    def states(self) -> dict[str, str]:
        """Per gateway process: "live", or why not. For /healthz and metrics."""
        now = self._clock()
        return {view.name or address: view.gap(now) or "live" for address, view in self._views.items()}

    async def _follow(self, view: GatewayView) -> None:
        """Keep one stream open until the process is gone."""
        failures = 0
        while True:
            started = self._clock()
            try:
                async with contextlib.aclosing(self._lines(view)) as lines:
                    async for line in lines:
                        failures = 0
                        key = view.take(line, self._clock(), self._ledger)
                        if key is not None:
                            self._changed(key)
                        self._note(view)
            except Exception as error:  # whatever one process says, it is followed for as long as it lives
                if failures == 0:
                    log.info("demand stream of gateway %s ended: %r", view.name or view.address, error)
            if self._clock() - started < 1.0:
                failures += 1
            if not view.listed and not view.live(self._clock()):
                return
            pause = PAUSES[min(failures, len(PAUSES) - 1)]
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret

    async def _lines(self, view: GatewayView) -> AsyncGenerator[dict[str, object], None]:
        assert self._client is not None
        token = self._token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}  # an empty one is no legal header
        async with self._client.stream("GET", f"http://{view.address}/v1/demand", headers=headers) as answer:
            if answer.status_code != 200:
                raise httpx.HTTPError(f"answered {answer.status_code}")
            view.connected()
            rest = b""
            async for chunk in answer.aiter_raw():
                *whole, rest = (rest + chunk).split(b"\n")
                for text in whole:
                    line = json.loads(text) if text.strip() else None
                    if isinstance(line, dict):
                        yield line
                if len(rest) > LONGEST_LINE:
                    raise ValueError(f"a line exceeds {LONGEST_LINE} bytes")

    def _token(self) -> str:
        if self._token_file is None:
            return ""
        with contextlib.suppress(OSError):
            return self._token_file.read_text().strip()
        return ""

    async def _watch(self) -> None:
        """Notice streams that fall silent and processes that are gone: nothing else would say so."""
        while True:
            await asyncio.sleep(1.0)
            self._sweep()
            for view in list(self._views.values()):
                self._note(view)

    def _note(self, view: GatewayView) -> None:
        gap = view.gap(self._clock())
        if self._gaps.get(view.address) != gap:
            self._gaps[view.address] = gap
            self._changed(None)

    def _sweep(self) -> None:
        """Let processes go that nobody lists and that have been silent."""
        now = self._clock()
        for address, view in list(self._views.items()):
            silent = view.heard is None or now - view.heard >= GONE_SECONDS
            if not view.listed and silent:
                del self._views[address]
                self._gaps.pop(address, None)
                if task := self._tasks.pop(address, None):
                    task.cancel()
                self._changed(None)
