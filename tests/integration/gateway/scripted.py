"""Engines and launchers that do exactly as a test says, byte by byte, on loopback sockets."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from tests.ports import free_port

TOKEN = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def json_answer(value: Any, status: int = 200, extra: bytes = b"") -> bytes:
    body = json.dumps(value).encode()
    head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, extra, len(body)) + body


def stream_answer(*events: bytes) -> bytes:
    return SSE_HEAD + b"".join(map(chunk, events)) + b"0\r\n\r\n"


class Call:
    """One request at a scripted engine."""

    def __init__(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.head, self.body, self.reader, self.writer = head, body, reader, writer

    @property
    def lines(self) -> list[str]:
        return self.head.decode().lower().split("\r\n")

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            return
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def until_left(self) -> None:
        """Return once the gateway has closed the connection."""
        with contextlib.suppress(ConnectionError):
            await self.reader.read()


Script = Callable[[Call], Awaitable[object]]


async def answer_ok(call: Call) -> None:
    if b'"stream":true' in call.body.replace(b" ", b""):
        await call.send(stream_answer(TOKEN, TOKEN, DONE))
    else:
        await call.send(json_answer({"ok": True, "usage": {"prompt_tokens": 7, "completion_tokens": 3}}))


class Server:
    """A server on a socket; its connections end when it is closed, and it may be opened again."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.port = port or free_port()  # kept from others while it is closed
        self._server = await asyncio.start_server(self._accept, host, self.port)

    def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        self.stop_accepting()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; it is closed afterwards."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


class Engine(Server):
    """Keeps its connections alive like a real one. `script` answers; it can be replaced between requests."""

    def __init__(self, script: Script | None = None) -> None:
        super().__init__()
        self.script = script or answer_ok
        self.calls: list[Call] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            call = Call(head, await reader.readexactly(length), reader, writer)
            self.calls.append(call)
            await self.script(call)


class Launcher(Server):
    """Serves a stats stream. `say` changes what it says; not `lasting`, it ends after the first line. With
    `beat_seconds` it repeats itself as the real one does, whose word is old after 15 s.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stats: dict[str, Any] = {
            "v": 1,
            "fleetUid": "uid-1",
            "namespace": "ns",
            "name": "llm",
            "pod": "llm-0",
            "bootId": "boot-1",
            "seq": 0,
            "models": ["llm", "ns/llm"],
            "state": "Starting",
            "maxNumSeqs": 2,
            "running": None,
            "waiting": None,
        }
        self.streams = 0
        self.lasting = True
        self.beat_seconds: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    def say(self, **changes: Any) -> None:
        self.stats |= changes
        self.stats["seq"] += 1
        for writer in self._writers:
            writer.write(chunk(json.dumps(self.stats).encode() + b"\n"))

    def ready(self, **changes: Any) -> None:
        self.say(**({"state": "Ready", "running": 0, "waiting": 0} | changes))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        writer.write(chunk(json.dumps(self.stats).encode() + b"\n"))
        self._writers.add(writer)
        try:
            if self.lasting:
                await self._until_left(reader)
        finally:
            self._writers.discard(writer)

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                async with asyncio.timeout(self.beat_seconds):
                    await reader.read()
                    return
            except TimeoutError:
                self.say()
