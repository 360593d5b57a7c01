"""Sending spans to a collector, in the background and only as well as it goes.

Traces are worth less than requests. So spans wait in a list with a fixed end; what does not fit is dropped
and counted, nobody waits for the collector, and one that is away, slow or refuses costs a line in the log a
minute. One message is under way at a time. What may be lost by chance (no connection, 429, 502, 503, 504) is
sent again for a while with growing pauses, as the specification of OTLP has it; anything else is given up.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import zlib
from collections import Counter
from collections.abc import Sequence

import httpx
import orjson

from torpor_gateway import spans
from torpor_gateway.otel import Otel

log = logging.getLogger(__name__)

_AGAIN = frozenset({429, 502, 503, 504})
_PAUSES = (1.0, 32.0)  # seconds, doubled from the first to the last
_GIVE_UP_SECONDS = 60.0
_LAST_WORDS_SECONDS = 2.0  # what the end of the process may take
_TELL_SECONDS = 60.0
_MAX_ANSWER = 64 * 1024


class _Refused(Exception):  # noqa: N818
    """The collector took nothing. `again` in seconds if it may be asked again, at the earliest then."""

    def __init__(self, message: str, again: float | None) -> None:
        super().__init__(message)
        self.again = again


class Exporter:
    """The spans of this process on their way. `results` counts them by what became of them."""

    def __init__(self, otel: Otel, resource: Sequence[tuple[str, str]], version: str) -> None:
        self.results = Counter({"exported": 0, "dropped": 0, "failed": 0})
        self._otel = otel
        self._begin = spans.beginning(otel.service, [*resource, *otel.resource], version)
        self._waiting: list[bytes] = []
        self._enough = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._told_at = float("-inf")
        self._stopping = False
        self._client = _client(otel)
        self._task = self._loop.create_task(self._run())

    def offer(self, made: Sequence[bytes]) -> None:
        """Take the spans of one request, all or none."""
        waiting = self._waiting
        if len(waiting) + len(made) > self._otel.max_queue:
            self.results["dropped"] += len(made)
            return
        waiting += made
        if len(waiting) >= self._otel.max_batch:
            self._enough.set()

    async def close(self) -> None:
        """Send what is left, if the collector takes it soon."""
        self._stopping = True
        self._enough.set()
        _, late = await asyncio.wait([self._task], timeout=_LAST_WORDS_SECONDS)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if late or self._waiting:
            log.warning("the last spans did not reach the collector")
        self.results["failed"] += len(self._waiting)
        self._waiting.clear()
        await self._client.aclose()

    async def _run(self) -> None:
        otel = self._otel
        while not (self._stopping and not self._waiting):
            if len(self._waiting) < otel.max_batch and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(otel.delay):
                        await self._enough.wait()
            self._enough.clear()
            batch = self._waiting[: otel.max_batch]
            if batch:
                await self._deliver(batch)

    async def _deliver(self, batch: list[bytes]) -> None:
        """Send until it is taken or given up; until then the batch keeps its place."""
        began, pause = self._loop.time(), _PAUSES[0]
        result = "failed"
        while True:
            try:
                rejected = await self._send(batch)
            except _Refused as refused:
                self._tell(str(refused))
                wait = max(refused.again or 0.0, pause * (0.5 + random.random()))  # noqa: S311
                late = self._loop.time() + wait - began > _GIVE_UP_SECONDS
                if refused.again is None or late or self._stopping:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._until_stopping()
                pause = min(pause * 2, _PAUSES[1])
            except Exception:
                log.exception("spans could not be sent")  # and requests must not hear of it
                break
            else:
                result = "exported"
                self.results["failed"] += rejected
                self.results["exported"] -= rejected
                break
        self.results[result] += len(batch)
        del self._waiting[: len(batch)]

    async def _until_stopping(self) -> None:
        while not self._stopping:
            self._enough.clear()
            await self._enough.wait()

    async def _send(self, batch: list[bytes]) -> int:
        """Send one message; return how many of its spans were rejected. Raises _Refused."""
        otel = self._otel
        content = spans.message(self._begin, batch)
        headers = {"Content-Type": "application/json", **dict(otel.headers)}
        if otel.gzip:
            content = await asyncio.to_thread(_gzipped, content)
            headers["Content-Encoding"] = "gzip"
        body = b""
        try:
            async with (
                asyncio.timeout(otel.timeout),
                self._client.stream("POST", otel.url, content=content, headers=headers) as response,
            ):
                async for part in response.aiter_bytes():
                    body += part[: _MAX_ANSWER - len(body)]
                    if len(body) >= _MAX_ANSWER:
                        break
        except TimeoutError:
            raise _Refused(f"no answer within {otel.timeout:g} s", 0.0) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            raise _Refused(str(error) or type(error).__name__, 0.0) from None
        if response.status_code != 200:
            again = _seconds(response.headers.get("retry-after")) if response.status_code in _AGAIN else None
            raise _Refused(f"it answered {response.status_code}", again)
        return min(len(batch), _rejected(body))

    def _tell(self, what: str) -> None:
        now = self._loop.time()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            log.warning("the collector at %s takes no spans: %s", httpx.URL(self._otel.url).host, what)


def _client(otel: Otel) -> httpx.AsyncClient:
    tls: ssl.SSLContext | bool = False  # a plain address needs no certificates read
    if otel.url.startswith("https:"):
        tls = ssl.create_default_context(cafile=otel.certificate or None)
    # Without a bound on connections: one is lost to a bounded pool with each time-out.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=1)
    return httpx.AsyncClient(verify=tls, limits=limits, timeout=otel.timeout, trust_env=False)


def _gzipped(content: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(content) + packer.flush()


def _seconds(text: str | None) -> float:
    """Read `Retry-After`; a date, or nothing, is no wish."""
    return float(text[:4]) if text and text.isascii() and text.isdigit() else 0.0


def _rejected(body: bytes) -> int:
    """Read how many spans of a message were not taken although it was."""
    try:
        return max(0, int(orjson.loads(body)["partialSuccess"]["rejectedSpans"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0
