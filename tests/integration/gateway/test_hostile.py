"""Clients and engines that mean harm, or behave as if: what each of them can cost the others is bounded."""

import asyncio
import contextlib
import socket

import pytest
from torpor_gateway.client import ClientConnection

from tests.integration.gateway.harness import Gateway, chat, request, until
from tests.integration.gateway.scripted import (
    DONE,
    SSE_HEAD,
    TOKEN,
    answer_ok,
    chunk,
    json_answer,
    stream_answer,
)

MODELS = request(b"", path="/v1/models", method="GET")
UPLOAD = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def deaf(gateway: Gateway) -> tuple[socket.socket, ClientConnection]:
    """Connect a socket that takes almost nothing as long as nobody reads from it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", gateway.port))
    await until(lambda: gateway.server.connections)
    connection = next(iter(gateway.server.connections))
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return sock, connection


async def test_who_asks_on_without_reading_is_not_answered_without_end(gateway):
    for number in range(100):
        gateway.static(name=f"model-{number:03}")
    loop = asyncio.get_running_loop()
    sock, connection = await deaf(gateway)
    with sock:
        sending = loop.create_task(loop.sock_sendall(sock, MODELS * 400))  # 3 MB of answers
        await until(lambda: connection.stalled)
        for _ in range(50):
            assert connection.transport.get_write_buffer_size() < 1 << 19
            await asyncio.sleep(0.005)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        answered = bytearray()
        async with asyncio.timeout(30):
            while answered.count(b"HTTP/1.1 200 OK") < 400:  # once it reads, every request has its answer
                answered += await loop.sock_recv(sock, 1 << 20)
        await sending


async def test_who_never_takes_the_last_answer_is_cut_off(start, engines):
    async def large(call):
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n" + b"x" * 60_000)

    gateway = await start()
    gateway.static(await engines(large))
    sock, connection = await deaf(gateway)
    with sock:
        await asyncio.get_running_loop().sock_sendall(sock, request(chat(), headers="Connection: close\r\n"))
        await until(connection.transport.is_closing)
        assert not connection.stalled
        assert connection.transport.get_write_buffer_size() > 0
        connection.wait_until = 0.0  # its time is up
        await until(lambda: not gateway.server.connections)


async def test_all_bodies_together_have_a_limit_while_they_come(start):
    gateway = await start(max_buffered_bytes=100_000)
    first, second = await gateway.client(), await gateway.client()
    await first.send(UPLOAD + chunk(b"x" * 60_000))
    await until(lambda: gateway.server.buffered_bytes == 60_000)
    await second.send(UPLOAD + chunk(b"x" * 60_000))
    refused = await second.answer()
    assert (refused.status, refused.error["code"]) == (503, "out_of_memory")
    assert await second.closed() == b""
    assert gateway.server.buffered_bytes == 60_000
    assert (await first.ask(b"0\r\n\r\n")).status == 400  # it is read to its end, and is no JSON


async def test_chunk_extensions_are_not_kept_and_not_counted_as_bodies(gateway):
    client = await gateway.client()
    await client.send(UPLOAD)
    for _ in range(8):
        await client.send(b"1;" + b"e" * 900 + b"\r\n{\r\n")
    await until(lambda: gateway.server.buffered_bytes == 8)
    await client.send((b"1;" + b"e" * 900 + b"\r\n{\r\n") * 10)
    assert (await client.answer()).status == 400
    assert await client.closed() == b""


async def test_a_pipelined_request_to_a_fleet_that_sleeps_waits_behind_the_first(gateway, engines):
    gateway.static(await engines())
    asleep = gateway.static(name="asleep")
    client = await gateway.client()
    await client.send(request(chat()) + request(chat(model="asleep")) + MODELS)
    assert (await client.answer()).status == 200
    await until(lambda: len(asleep.line) == 1)
    client.leave()
    await until(lambda: not gateway.server.connections)
    assert len(asleep.line) == 0
    assert asleep.answers[499, "ClientGone"] == 1


async def test_where_nothing_streams_the_word_stream_means_nothing(gateway, engines):
    fleet = gateway.static()
    client = await gateway.client()
    await client.send(request(chat(stream=True), path="/v1/embeddings"))
    await until(lambda: len(fleet.line) == 1)

    async def embeddings(call):
        await call.send(json_answer({"data": []}))

    gateway.static(await engines(embeddings))
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b'{"data": []}')


async def test_a_comment_before_the_first_token_does_not_hide_it(gateway, engines):
    async def dies(call):
        await call.send(SSE_HEAD + chunk(b": hello\n\n" + TOKEN))
        await asyncio.sleep(0.05)
        call.reset()

    bad, good = await engines(dies), await engines()
    gateway.static(bad, good)
    for _ in range(2):
        answer = await gateway.ask(chat(stream=True))
    await until(lambda: bad.calls)
    answers = [answer, await gateway.ask(chat(stream=True))]
    assert len(bad.calls) + len(good.calls) == 3, "a stream was begun twice"
    assert all(answer.body.count(TOKEN) in (1, 2) for answer in answers)


@pytest.mark.parametrize("rest", [b"\n", b": bye\n\n"])
async def test_nothing_of_importance_behind_the_end_is_not_a_broken_stream(gateway, engines, rest):
    async def chatty(call):
        await call.send(SSE_HEAD + chunk(TOKEN + DONE))
        await asyncio.sleep(0.05)
        await call.send(chunk(rest) + b"0\r\n\r\n")

    fleet = gateway.static(await engines(chatty))
    answer = await gateway.ask(chat(stream=True))
    assert answer.ended
    assert b"error" not in answer.body
    assert (fleet.completed, fleet.failed) == (1, 0)


async def test_an_engines_trailers_do_not_become_headers(gateway, engines):
    async def trailing(call):
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await call.send(head + chunk(b"{}") + b"0\r\nx-late: 1\r\n\r\n")

    gateway.static(await engines(trailing))
    answer = await gateway.ask(chat())
    assert (answer.status, answer.body) == (200, b"{}")
    assert "x-late" not in answer.headers


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_an_answer_that_two_parsers_might_read_differently_is_none(gateway, engines, raw):
    async def odd(call):
        await call.send(raw)

    gateway.static(await engines(odd))
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    assert "is not HTTP" in answer.error["message"]


class LateLoop:
    """The event loop, except that a new connection is lost before the one who asked for it hears of it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name):
        return getattr(self._loop, name)

    async def create_connection(self, *arguments):
        transport, protocol = await self._loop.create_connection(*arguments)
        transport.abort()
        await asyncio.sleep(0.01)
        return transport, protocol


async def test_a_connection_that_is_lost_as_soon_as_it_is_made_is_no_connection(gateway, engines):
    fleet = gateway.static(await engines())
    next(iter(fleet.endpoints.values())).pool._loop = LateLoop()
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    assert "closed as soon as it was made" in answer.error["message"]


async def test_a_request_that_kills_engines_does_not_go_round_for_ever(gateway, awake):
    async def crash(call):
        call.reset()

    fleet, engine, launcher = await awake(crash)
    client = await gateway.client()
    await client.send(request(chat()))
    for boot in (2, 3):
        await until(lambda: len(fleet.line) == 1)
        launcher.ready(bootId=f"boot-{boot}")
        await until(lambda: len(engine.calls) == boot)  # noqa: B023
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    assert "retry-after" in answer.headers
    assert len(engine.calls) == 3


async def test_a_kept_connection_that_a_leaving_pod_closes_is_not_opened_again(gateway, engines):
    leaving, staying = await engines(), await engines()
    fleet = gateway.static(leaving)
    assert (await gateway.ask(chat())).status == 200

    async def leave(call):
        gateway.static(staying)
        leaving.script = answer_ok
        call.reset()

    leaving.script = leave
    assert (await gateway.ask(chat())).status == 200
    assert (len(leaving.calls), len(staying.calls)) == (2, 1)
    assert fleet.upstream_retries["reused_connection"] == 0


async def test_a_launcher_that_ends_each_stream_is_not_asked_without_pause(gateway, awake):
    fleet, _, launcher = await awake()
    launcher.lasting = False
    await launcher.close()
    await launcher.open(launcher.port)
    asked = launcher.streams
    await asyncio.sleep(0.5)
    assert launcher.streams - asked <= 10
    await until(lambda: fleet.ready)  # its word counts all the same


async def test_a_pod_whose_suspicion_ended_unnoticed_is_found_by_the_sweep(gateway, engines):
    fleet = gateway.static(await engines())
    fleet.ready = []
    gateway.registry.sweep()
    assert len(fleet.ready) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("pause", [0.0, 0.002])
async def test_cancellation_at_any_moment_leaks_nothing(gateway, engines, stream, pause):
    """After each cut somebody else asks, who finds the one place free and every connection in order."""

    async def answer(call):
        whole = stream_answer(TOKEN, DONE) if stream else json_answer({})
        half = whole.index(TOKEN) + len(TOKEN) + 2 if stream else len(whole) - 1
        await call.send(whole[:half])
        await asyncio.sleep(pause)
        await call.send(whole[half:])

    fleet = gateway.static(await engines(answer), limit=1)
    sound = await gateway.client()
    for turns in range(61):
        client = await gateway.client()
        await client.send(request(chat(stream=stream)))
        for _ in range(turns):
            await asyncio.sleep(0)
        client.leave()
        after = await sound.ask(request(chat(stream=stream)))
        assert (after.status, after.ended, b"error" in after.body) == (200, True, False)
    await until(lambda: fleet.in_flight == 0 and len(fleet.line) == 0)
    assert not pause or fleet.answers[499, "ClientGone"] > 0, "nobody was cut off"
    assert sum(fleet.answers.values()) == fleet.arrivals
    assert next(iter(fleet.endpoints.values())).load == 0


async def drip(sock: socket.socket, data: bytes) -> None:
    """Send byte by byte for as long as the other side stays."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        for byte in data:
            await loop.sock_sendall(sock, bytes((byte,)))
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(("kind", "count"), [("loris", 100), ("deaf", 20)])
async def test_among_hostile_clients_every_healthy_request_is_answered_and_they_are_cut_off(
    start, engines, kind, count
):
    async def serve(call):
        if b'"stream": true' not in call.body:
            await answer_ok(call)
            return
        await call.send(SSE_HEAD)
        while not call.writer.is_closing():  # more than any buffer takes
            await call.send(chunk(b"data: " + b"x" * 65536 + b"\n\n"))

    gateway = await start(header_seconds=2.0, slow_reader_seconds=2.0, max_connections=1000)
    fleet = gateway.static(await engines(serve))
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        dripping = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            if kind == "deaf":
                await loop.sock_sendall(sock, request(chat(stream=True)))
            else:
                dripping.append(loop.create_task(drip(sock, request(chat()))))
        client = await gateway.client()
        answered = 0
        async with asyncio.timeout(90):
            while len(gateway.server.connections) > 1 or answered < 50:
                assert (await client.ask(request(chat()))).status == 200
                answered += 1
        assert fleet.in_flight == 0
        assert answered == fleet.completed
        for task in dripping:
            task.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)
