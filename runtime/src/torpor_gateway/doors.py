"""The small doors beside the data port: one GET, one answer or one stream, then the connection closes.

Metrics, probes and the demand stream have a handful of callers, all of them of the house. They share the
strict head parser with the data port and nothing else.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from torpor_gateway import answers
from torpor_gateway.answers import Refusal
from torpor_gateway.request import RequestHead, parse_head
from torpor_gateway.surface import Shape

Handler = Callable[["Visit"], Awaitable[None]]
_HEAD_SECONDS = 5.0
_MAX_HEAD = 16 * 1024
_WRITE_SECONDS = 10.0


class Visit:
    """One request at a door."""

    def __init__(self, head: RequestHead, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self._writer = writer

    async def answer(self, status: int, content: bytes, kind: bytes = b"text/plain; charset=utf-8") -> None:
        """Send a whole answer."""
        await self.send(answers.whole(status, content, kind=kind, close=True))

    async def refuse(self, refusal: Refusal) -> None:
        """Send an error."""
        await self.send(answers.refuse(refusal, Shape.OPENAI, close=True))

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises OSError or TimeoutError when the other side does not take them."""
        if self.left:
            raise ConnectionResetError  # uvloop's transport would raise a RuntimeError
        self._writer.write(data)
        async with asyncio.timeout(_WRITE_SECONDS):
            await self._writer.drain()

    @property
    def left(self) -> bool:
        """Whether the caller has closed the connection."""
        return self._writer.is_closing()


class Door:
    """Listens, and hands each request to the handler of its path."""

    def __init__(self, routes: dict[str, Handler]) -> None:
        self._routes = routes
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> int:
        """Listen; return the port. Raises OSError."""
        self._server = await asyncio.start_server(self._visit, host, port, limit=_MAX_HEAD)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close the door and every visit."""
        if self._server is not None:
            self._server.close()
        for task in list(self._visits):
            task.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._visits.add(task)
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                raw = await reader.readuntil(b"\r\n\r\n")
            await self._handle(raw, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            pass  # the door closes; asyncio would log a cancelled visit as an error
        finally:
            self._visits.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _handle(self, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = parse_head(raw, 100)
        except Refusal as refusal:
            await Visit(RequestHead(), writer).refuse(refusal)
            return
        visit = Visit(head, writer)
        handler = self._routes.get(head.path)
        if handler is None:
            await visit.refuse(Refusal(404, "not_found", "there is no such path here"))
        elif head.method != "GET":
            await visit.refuse(Refusal(405, "method_not_allowed", f"{head.path}: use GET", allow="GET"))
        else:
            watcher = asyncio.ensure_future(_until_left(reader, writer))
            try:
                await handler(visit)
            finally:
                watcher.cancel()


async def _until_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close a stream whose caller has left; what it says meanwhile is thrown away."""
    with contextlib.suppress(OSError):
        while await reader.read(_MAX_HEAD):
            pass
    writer.close()
