"""The door for probes and Prometheus: /metrics, /healthz, /readyz. GET only, a few lines of HTTP.

/healthz asks whether this process still does its work, not whether it lives: the loop answers, the watches
bring news, no look hangs. The answer is JSON that names what is stale; anything in it gives 503 and, in a
cluster, a restart. /readyz says whether everything was listed once; a standby is ready too, since it takes
over at once.
"""

import asyncio
import json
from collections.abc import Callable, Mapping

from torpor import metrics

LONGEST_HEAD = 16 * 1024
CLIENT_SECONDS = 10.0
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Health = Callable[[], Mapping[str, object]]


class Admin:
    """Serves `health()` and `ready()`, mappings that hold `ok`, under their paths."""

    def __init__(self, health: Health, ready: Health) -> None:
        self._health, self._ready = health, ready
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (another one where 0 was asked for)."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LONGEST_HEAD)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = self._answer(head)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that does not ask properly gets no answer
        finally:
            writer.close()

    def _answer(self, head: bytes) -> tuple[str, str, bytes]:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", "text/plain", b""
        if path == b"/metrics":
            return "200 OK", PROMETHEUS, metrics.exposition()
        if path == b"/healthz":
            return _json(self._health())
        if path == b"/readyz":
            return _json(self._ready())
        return "404 Not Found", "text/plain", b"/metrics, /healthz and /readyz are here\n"


def _json(told: Mapping[str, object]) -> tuple[str, str, bytes]:
    status = "200 OK" if told.get("ok") else "503 Service Unavailable"
    return status, "application/json", json.dumps(told).encode() + b"\n"
