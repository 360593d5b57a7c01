"""A fleet's bounds on real connections: bytes into a body, 400 above the ceiling, and the end of the time."""

import asyncio
import json

import pytest
from torpor_gateway.bounds import Bounds

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, chunk, stream_answer

SOON = Bounds(timeout_default=1, timeout_maximum=30)


def time_is_up(gateway):
    """Let the clock of the one request under way run out now, whatever the machine is busy with."""
    (exchange,) = [one.exchange for one in gateway.server.connections if one.exchange is not None]
    assert exchange._time_up is not None
    exchange._out_of_time()


def gone(calls):
    """A script that never answers and notes who was left."""

    async def script(call):
        await call.until_left()
        calls.append(call)

    return script


async def test_a_default_reaches_the_engine_as_bytes_and_nothing_else_changes(gateway, engines):
    engine = await engines()
    gateway.static(engine, bounds=Bounds(output_default=7, output_maximum=9))
    body = b'{"model" :"llm","messages":[{"role":"user","content":"\xc3\xa9"}] }'
    answer = await gateway.ask(body)
    assert answer.status == 200
    (call,) = engine.calls
    assert call.body == b'{"max_completion_tokens":7,' + body[1:]
    assert f"content-length: {len(call.body)}" in call.lines


async def test_above_the_ceiling_is_400_and_the_engine_sees_nothing(gateway, engines):
    engine = await engines()
    gateway.static(engine, bounds=Bounds(output_maximum=9))
    client = await gateway.client()
    answer = await client.ask(request(chat(max_tokens=10)))
    assert answer.status == 400
    assert answer.error["code"] == "above_maximum"
    assert answer.error["param"] == "max_tokens"
    assert "max_tokens: 10: must be at most 9 tokens" in answer.error["message"]
    assert (await client.ask(request(chat(max_tokens=9)))).status == 200, "the connection goes on"
    assert len(engine.calls) == 1


async def test_a_plain_answer_that_takes_too_long_is_504_and_the_engine_is_left(gateway, engines):
    left = []
    engine = await engines(gone(left))
    fleet = gateway.static(engine, bounds=SOON)
    client = await gateway.client()
    answer = await client.ask(request(chat(), headers="x-request-timeout: 0.2\r\n"))
    assert (answer.status, answer.error["code"]) == (504, "RequestTimeout")
    assert answer.headers["x-should-retry"] == "false"
    assert "0.2 s" in answer.error["message"]
    await until(lambda: left, seconds=30)
    assert fleet.in_flight == 0
    assert fleet.answers[504, "RequestTimeout"] == 1


async def test_the_default_holds_without_the_header(gateway, engines):
    left = []
    gateway.static(await engines(gone(left)), bounds=SOON)
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (504, "RequestTimeout")
    assert "1 s" in answer.error["message"]
    await until(lambda: left, seconds=30)


@pytest.mark.parametrize(
    ("path", "event"), [("/v1/chat/completions", b"data: "), ("/v1/messages", b"event: error\ndata: ")]
)
async def test_a_stream_ends_with_an_error_event_and_no_mark_of_success(gateway, engines, path, event):
    left = []

    async def script(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        await call.until_left()
        left.append(call)

    fleet = gateway.static(await engines(script), bounds=SOON)
    client = await gateway.client()
    await client.send(request(chat(stream=True), path, headers="x-request-timeout: 30\r\n"))
    head = await client.head()
    assert head.status == 200
    await client.read_until(TOKEN)
    time_is_up(gateway)
    head.body = await client.closed(seconds=30)
    last = head.body[head.body.index(event) :].partition(b"\n\n")[0]
    error = json.loads(last.rpartition(b"data: ")[2])["error"]
    assert (error["code"], error["type"]) == ("RequestTimeout", "timeout_error")
    assert DONE.strip() not in head.body
    await until(lambda: left, seconds=30)
    assert fleet.in_flight == 0


async def test_a_long_plain_answer_is_cut_without_a_proper_end(gateway, engines):
    async def script(call):
        await call.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 200000\r\n\r\n"
        )
        await call.send(b"x" * 100_000)
        await call.until_left()

    gateway.static(await engines(script), bounds=SOON)
    client = await gateway.client()
    await client.send(request(chat(), headers="x-request-timeout: 30\r\n"))
    head = await client.head()
    assert head.status == 200
    time_is_up(gateway)
    assert len(await client.closed(seconds=30)) < 200_000


async def test_what_a_request_waits_here_does_not_count(gateway, awake):
    """One place: the clock of the second request begins when the first one has left it."""
    turns = asyncio.Semaphore(0)

    async def script(call):
        await turns.acquire()
        await call.send(stream_answer(TOKEN, DONE))

    bounds = Bounds(timeout_default=60)
    fleet, engine, _ = await awake(script, stats={"maxNumSeqs": 1}, queue_depth_target=0, bounds=bounds)
    first = await gateway.client()
    await first.send(request(chat(stream=True)))
    await until(lambda: engine.calls, seconds=30)
    second = await gateway.waiting(fleet, chat(stream=True))
    (waiting,) = fleet.line
    assert (waiting.time_limit, waiting._time_up) == (60, None)
    turns.release()
    assert (await first.answer()).ended
    await until(lambda: len(engine.calls) == 2, seconds=30)
    assert waiting._time_up is not None
    turns.release()
    answer = await second.answer()
    assert answer.events[-1] == DONE.strip()
    await until(lambda: waiting.over, seconds=30)
    assert waiting._time_up is None, "an answer in time leaves no clock behind"


async def test_a_time_out_above_the_ceiling_is_400(gateway, engines):
    gateway.static(await engines(), bounds=SOON)
    answer = await gateway.ask(chat(), headers="x-request-timeout: 31\r\n")
    assert (answer.status, answer.error["code"]) == (400, "above_maximum")
