"""One stream per engine pod: what its launcher says, as it says it.

Readiness through the kubelet's probe and an EndpointSlice is a second late or more; the launcher's own word
is there within milliseconds of the warm-up token, and the first held request goes out on it. So the
connection is tried again quickly while a pod starts (100 ms, backing off to a second), and at once where a
stream breaks that had lasted. A launcher that refuses it is gone at once: it is the pod's first process, and
its engine went with it. A stream that merely falls silent is believed until its last line is too old.
"""

import asyncio
import contextlib
import logging
from typing import Any

import orjson

from torpor_gateway.endpoint import Endpoint
from torpor_gateway.fleet import Fleet
from torpor_gateway.response import BadResponse, ResponseReader

log = logging.getLogger(__name__)

_FIRST_DELAY, _LAST_DELAY = 0.1, 1.0
_CONNECT_SECONDS = 2.0
_MAX_LINE = 256 * 1024
_REQUEST = b"GET /v1/stats HTTP/1.1\r\nHost: %b\r\nAccept: application/x-ndjson\r\n\r\n"


class StatsStream:
    """Follows one launcher until closed."""

    def __init__(self, fleet: Fleet, endpoint: Endpoint, fresh_seconds: float) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._fresh_seconds = fresh_seconds
        self._got_lines = False
        self._task = fleet.loop.create_task(self._follow())

    def close(self) -> None:
        """Stop following."""
        self._task.cancel()

    async def _follow(self) -> None:
        delay = _FIRST_DELAY
        endpoint = self._endpoint
        while True:
            self._got_lines = False
            began = self._fleet.loop.time()
            try:
                await self._read()
            except (ConnectionRefusedError, ConnectionResetError):
                if not self._got_lines:
                    self._silence()
            except (OSError, TimeoutError, BadResponse, ValueError) as error:
                log.debug("%s %s: %s", self._fleet.spec.key, endpoint.name, error)
            except Exception:
                # Whatever it was: a pod that nobody listens to any more would never get a request again.
                log.exception("%s %s: following it again", self._fleet.spec.key, endpoint.name)
            if endpoint.stream_up:
                endpoint.stream_up = False
                self._fleet.touch()
            if self._got_lines:
                delay = _FIRST_DELAY
                if self._fleet.loop.time() - began > _LAST_DELAY:
                    continue  # it was alive a moment ago: ask at once whether it still is
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, _LAST_DELAY)

    def _silence(self) -> None:
        if self._endpoint.stats is not None:
            self._endpoint.silence()
            self._fleet.refresh()

    async def _read(self) -> None:
        endpoint = self._endpoint
        async with asyncio.timeout(_CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.host, endpoint.launcher_port)
        try:
            if writer.is_closing():
                raise ConnectionResetError  # uvloop's transport would raise a RuntimeError
            writer.write(_REQUEST % endpoint.name.encode())
            response = ResponseReader()
            rest = b""
            while not response.complete:
                async with asyncio.timeout(self._fresh_seconds):
                    data = await reader.read(65536)
                if not data:
                    return
                response.feed(data)
                if response.headed and response.status != 200:
                    raise BadResponse(f"the launcher answered {response.status}")
                *lines, rest = (rest + b"".join(response.parts)).split(b"\n")
                response.parts = []
                if len(rest) > _MAX_LINE:
                    raise BadResponse("a stats line is too long")
                for line in (
                    lines[-1:] if len(lines) > 8 else lines
                ):  # after a stall only the last word counts
                    if line.strip():
                        self._line(orjson.loads(line))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _line(self, stats: Any) -> None:
        if not isinstance(stats, dict) or stats.get("v") != 1:
            raise BadResponse("a stats line is not an object of version 1")
        fleet, endpoint = self._fleet, self._endpoint
        self._got_lines = endpoint.stream_up = True
        now = fleet.loop.time()
        changed = endpoint.report(stats, now, fleet.spec.uid, fleet.spec.models)
        listed = endpoint in fleet.ready or endpoint.ejected
        if changed or endpoint.routable(now, self._fresh_seconds) is not listed:
            fleet.refresh()
        else:
            fleet.touch()
            if len(fleet.line):
                fleet.pump()
