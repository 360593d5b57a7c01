"""The load: raw connections that post, count and keep time, the same for every gateway.

A library's client would cost more than any gateway here and so measure itself. Streams are read by a search
for the upstream's stamps: every stamp is a token, and the clock at its arrival less the stamp is what the way
from the engine to the client took. Both ends read the same machine's monotonic clock.
"""

import asyncio
import re
import time
from collections.abc import Callable

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STAMP = re.compile(rb'"content": ?"t(\d{16})"')
_STAMP_BYTES = 40  # no stamp with its name is longer
BODY_BYTES = 600
MODEL = "bench"


def body(number: int, *, stream: bool, tokens: int = 64) -> bytes:
    """Return a chat request of exactly BODY_BYTES: a common system prompt, then text of its own."""
    begin = (
        b'{"model":"%b","messages":[{"role":"system","content":"You are a helpful assistant. Answer briefly, '
        b'and say so where you do not know."},{"role":"user","content":"'
    ) % MODEL.encode()
    end = b'"}],"max_tokens":%d,"temperature":0.7,"stream":%b}' % (tokens, b"true" if stream else b"false")
    text = b"%08d " % number * 80
    return begin + text[: BODY_BYTES - len(begin) - len(end)] + end


def request(port: int, content: bytes) -> bytes:
    """Return the whole request, with the headers that clients commonly send."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
        b"Content-Type: application/json\r\nUser-Agent: bench/1\r\nAuthorization: Bearer sk-none\r\n"
        b"Content-Length: %d\r\n\r\n%b"
    ) % (port, len(content), content)


class Load:
    """What a set of connections has done so far."""

    def __init__(self) -> None:
        self.begun = 0  # answers of which something has come
        self.done = 0
        self.failed = 0
        self.statuses: dict[int, int] = {}
        self.tokens = 0
        self.timing = False
        self.gaps: list[float] = []  # between two tokens of a stream, ms
        self.ways: list[float] = []  # from the engine's write to here, ms


class Connection(asyncio.Protocol):
    """Posts one request after the other until there is none."""

    def __init__(self, load: Load, requests: Callable[[], bytes | None]) -> None:
        self._load = load
        self._requests = requests
        self._buffer = b""
        self._wanted = 0  # bytes of the answer, head included; 0 before its head, -1 for a chunked one
        self._status = 0
        self._last = 0.0
        self._open = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Post the first."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none by class
        self._post()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that was not whole has failed."""
        self.transport = None
        if self._open:
            self._open = False
            self._load.failed += 1

    def _post(self) -> None:
        content = self._requests()
        self._wanted, self._buffer = 0, b""
        if self.transport is None or self.transport.is_closing():
            return
        if content is None:
            self.transport.close()
            return
        self._open = True
        self.transport.write(content)

    def data_received(self, data: bytes) -> None:
        """Read until the answer is whole, then post the next."""
        if self._wanted >= 0:
            data = self._buffer + data if self._buffer else data
        if not self._wanted:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self._buffer = data
                return
            self._status = int(data[9:12])
            length = _LENGTH.search(data, 0, head + 2)
            self._wanted = head + 4 + int(length[1]) if length else -1
            self._load.begun += 1
        if self._wanted < 0:
            self._streamed(data)
        elif len(data) >= self._wanted:
            self._finished(self._status == 200)
        else:
            self._buffer = data

    def _streamed(self, data: bytes) -> None:
        load = self._load
        block = self._buffer + data
        at = 0
        for stamp in _STAMP.finditer(block):
            at = stamp.end()
            load.tokens += 1
            if load.timing:
                now = time.monotonic_ns() / 1000
                load.ways.append((now - int(stamp[1])) / 1000)
                if self._last:
                    load.gaps.append((now - self._last) / 1000)
                self._last = now
        if block.endswith(b"0\r\n\r\n"):
            self._finished(b"data: [DONE]" in block and self._status == 200)
        else:
            self._buffer = block[max(at, len(block) - _STAMP_BYTES) :]

    def _finished(self, good: bool) -> None:
        load = self._load
        self._open = False
        load.done += good
        load.failed += not good
        load.statuses[self._status] = load.statuses.get(self._status, 0) + 1
        self._last = 0.0
        self._post()


async def connect(
    load: Load, port: int, count: int, requests: Callable[[], bytes | None], spread: float = 0.0
) -> list[Connection]:
    """Open `count` connections, evenly over `spread` seconds. Raises OSError."""
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    begin = loop.time()
    for number in range(count):
        wait = begin + spread * number / count - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        connection = Connection(load, requests)
        await loop.create_connection(lambda it=connection: it, "127.0.0.1", port)  # type: ignore[misc]
        made.append(connection)
    return made


def close(connections: list[Connection]) -> None:
    """Close all, without counting them as failed."""
    for connection in connections:
        connection._open = False
        if connection.transport is not None:
            connection.transport.abort()
