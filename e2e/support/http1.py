"""A small HTTP/1.1 client that hides nothing.

To say whether a request was lost one has to see what comfortable clients smooth over: a connection closed
before the head, a chunked body without its last chunk, fewer bytes than announced, bytes at a time. One
request, one connection, no retry, no redirect, no pool. It speaks plain HTTP with `asyncio` streams and
knows both body framings and no others.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class CutShortError(Exception):
    """The answer ended before its framing said so; the message tells where."""


@dataclass
class Answer:
    """A status line with headers (lower-case names); the body is read by `pieces`."""

    status: int
    headers: dict[str, str]
    sent_at: float  # wall clock, after the request's last byte was handed to the kernel
    _reader: asyncio.StreamReader = field(repr=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raise CutShortError if the connection ends first."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                size = int(await _line(self._reader, "a chunk's size"), 16)
                if size:
                    yield await _exactly(self._reader, size)
                await _line(self._reader, "a chunk's end")
                if not size:
                    return
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                piece = await self._reader.read(min(left, 65536))
                if not piece:
                    raise CutShortError(f"{left} bytes of the announced body are missing")
                left -= len(piece)
                yield piece
        else:
            while piece := await self._reader.read(65536):
                yield piece

    async def body(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])


async def _line(reader: asyncio.StreamReader, what: str) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise CutShortError(f"the connection ended in the place of {what}")
    return line.strip()


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise CutShortError(
            f"the connection ended {size - len(error.partial)} bytes before a chunk's end"
        ) from None


@contextlib.asynccontextmanager
async def request(
    to: Address,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    on_sent: Callable[[float], None] | None = None,
) -> AsyncIterator[Answer]:
    """Send one request and yield its answer once the head is here; leaving the block closes the connection.

    Raises OSError where the connection fails and CutShortError where it ends before the head. Deadlines are
    the caller's.
    """
    reader, writer = await asyncio.open_connection(to.host, to.port)
    try:
        lines = {"Host": str(to), "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
        if body and "Content-Type" not in lines:
            lines["Content-Type"] = "application/json"
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in lines.items()
        )
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        sent_at = time.time()
        if on_sent:
            on_sent(sent_at)
        status = (await _line(reader, "the status line")).split(b" ", 2)
        found: dict[str, str] = {}
        while line := await _line(reader, "a header"):
            name, _, value = line.decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
        yield Answer(int(status[1]), found, sent_at, reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
