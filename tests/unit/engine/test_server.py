"""The launcher's HTTP server against clients of every manner."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from torpor_engine import server as module
from torpor_engine.metrics import Sample
from torpor_engine.server import StatsServer

from tests.ports import free_port
from tests.unit.engine.test_stats import board

if TYPE_CHECKING:
    from torpor_engine.stats import Board


class Served:
    """A running server and its board."""

    def __init__(self) -> None:
        self.board: Board = board()
        self.server = StatsServer(self.board)
        self.port = free_port()

    async def ask(self, request: bytes) -> bytes:
        """Everything the server says to `request` until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        data = await asyncio.wait_for(reader.read(-1), 30)
        writer.close()
        return data

    async def stream(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        return reader, writer

    @staticmethod
    async def line(reader: asyncio.StreamReader) -> dict[str, object]:
        """The next line of a stream, each in a chunk of its own."""
        size = int(await asyncio.wait_for(reader.readline(), 30), 16)
        data = await reader.readexactly(size + 2)
        assert data.endswith(b"\n\r\n")
        content: dict[str, object] = json.loads(data)
        return content


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    subject = Served()
    await subject.server.start("127.0.0.1", subject.port)
    publishing = asyncio.create_task(subject.server.publish())
    yield subject
    publishing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await publishing
    await subject.server.close()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /healthz HTTP/1.1", 200),
        (b"GET /readyz HTTP/1.1", 503),
        (b"GET /metrics HTTP/1.0", 200),
        (b"GET /v1/stats?once=1 HTTP/1.1", 200),
        (b"HEAD /healthz HTTP/1.1", 200),
        (b"GET /sleep HTTP/1.1", 404),
        (b"POST /v1/stats HTTP/1.1", 405),
        (b"DELETE / HTTP/1.1", 405),
        (b"PRI * HTTP/2.0", 400),
        (b"hello", 400),
        (b"\x16\x03\x01\x00", 400),
        (b"GET http://x/healthz HTTP/1.1", 400),
    ],
)
async def test_answers(served: Served, request_line: bytes, status: int) -> None:
    data = await served.ask(request_line + b"\r\nHost: x\r\n\r\n")
    assert data.startswith(f"HTTP/1.1 {status} ".encode())
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))[16:])
    assert len(body) == (0 if request_line.startswith(b"HEAD") else length)


async def test_a_head_has_an_end(served: Served) -> None:
    data = await served.ask(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 9000)
    assert data.startswith(b"HTTP/1.1 431 ")


async def test_a_silent_client_is_sent_away(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.3)
    assert (await served.ask(b"GET /healthz HT")).startswith(b"HTTP/1.1 408 ")


async def test_who_does_not_take_the_answer_is_sent_away(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    served.board.measured(Sample(), b"# words\n" * 1_000_000, time.monotonic())
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(30):
        while not served.server.connections:  # noqa: ASYNC110 - bounded, and nobody to set an event
            await asyncio.sleep(0.01)
        while served.server.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()


async def test_a_request_in_pieces(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
    assert (await asyncio.wait_for(reader.read(-1), 30)).endswith(b"Starting\n")
    writer.close()


async def test_a_change_of_state_reaches_every_stream(served: Served) -> None:
    streams = [await served.stream() for _ in range(100)]
    for reader, _ in streams:
        assert (await served.line(reader))["state"] == "Starting"
    served.board.enter("Ready")
    for reader, _ in streams:
        line = await served.line(reader)
        while line["state"] == "Starting":
            line = await served.line(reader)
        assert line["state"] == "Ready"
    for _, writer in streams:
        writer.close()


async def test_numbers_are_told_without_waiting_for_the_heartbeat(served: Served) -> None:
    reader, writer = await served.stream()
    await served.line(reader)
    served.board.measured(Sample(running=5), b"", asyncio.get_running_loop().time())
    line = await served.line(reader)
    while line["running"] is None:
        line = await served.line(reader)
    assert line["running"] == 5
    writer.close()


async def test_a_slow_reader_is_cut_off_and_others_are_not(served: Served) -> None:
    _, slow_writer = await served.stream()
    slow_writer.transport.pause_reading()  # type: ignore[attr-defined]
    quick, quick_writer = await served.stream()
    message = "x" * 60_000
    told = 0
    while served.server.dropped == 0:
        served.board.enter("Loading", message=message)
        line = await served.line(quick)
        told += line["message"] is not None
        assert told < 2000
    assert served.server.dropped == 1
    served.board.enter("Ready")
    while (await served.line(quick))["state"] != "Ready":
        pass
    quick_writer.close()
    slow_writer.close()


async def test_streams_leave_room_for_probes(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STREAM_LIMIT", 2)
    streams = [await served.stream() for _ in range(2)]
    assert (await served.ask(b"GET /v1/stats HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    assert (await served.ask(b"GET /healthz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    streams[0][1].close()
    for _, writer in streams:
        writer.close()


async def test_connections_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 1)
    _, writer = await served.stream()
    assert (await served.ask(b"GET /healthz HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_the_last_line_ends_the_stream_properly(served: Served) -> None:
    reader, writer = await served.stream()
    await served.line(reader)
    served.board.enter("Failed", "EngineCrashed", "why")
    await served.server.close()
    data = await asyncio.wait_for(reader.read(-1), 30)
    assert b'"reason":"EngineCrashed"' in data
    assert data.endswith(b"0\r\n\r\n")
    writer.close()


async def test_a_client_of_http_1_0_gets_plain_lines(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /v1/stats HTTP/1.0\r\n\r\n")
    assert b"chunked" not in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert json.loads(await asyncio.wait_for(reader.readline(), 30))["state"] == "Starting"
    writer.close()
