"""Engines that refuse, reset, lie and die: another pod answers where it can, nothing ends as if whole."""

import asyncio

import pytest

from tests.integration.gateway.harness import PATIENCE_SECONDS, chat, free_port, request, until
from tests.integration.gateway.scripted import (
    DONE,
    SSE_HEAD,
    TOKEN,
    answer_ok,
    chunk,
    json_answer,
    stream_answer,
)


async def reset(call):
    call.reset()


async def head_then_reset(call):
    await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    call.reset()


async def half_a_body_then_reset(call):
    await call.send(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"half":')
    await asyncio.sleep(0.05)
    call.reset()


async def sse_head_then_reset(call):
    await call.send(SSE_HEAD)
    await asyncio.sleep(0.05)
    call.reset()


async def full_as_an_event(call):
    await call.send(stream_answer(b'data: {"error":{"message":"full","type":"x","code":503}}\n\n', DONE))


async def full(call):
    await call.send(json_answer({"error": {"message": "queue full", "code": 503}}, status=503))


async def after_shutdown(call):
    await call.send(
        json_answer({"error": {"message": "cannot schedule new futures after shutdown"}}, status=500)
    )


async def nothing_streamed(call):
    await call.send(stream_answer())


async def aborted_unary(call):
    await call.send(
        b'HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n{"choices":[{"finish_reason":"abort"}]}    '
    )


async def not_http(call):
    await call.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


UNARY = [reset, head_then_reset, half_a_body_then_reset, full, after_shutdown, aborted_unary, not_http]
STREAMS = [reset, sse_head_then_reset, full_as_an_event, full, after_shutdown, nothing_streamed, not_http]


@pytest.mark.parametrize(("stream", "script"), [(False, s) for s in UNARY] + [(True, s) for s in STREAMS])
async def test_another_pod_answers_and_each_is_asked_once(gateway, engines, stream, script):
    bad, good = await engines(script), await engines()
    fleet = gateway.static(bad, good)
    for _ in range(4):
        answer = await gateway.ask(chat(stream=stream))
        assert answer.status == 200
        assert answer.ended
        assert (DONE in answer.body) is stream
        assert b"error" not in answer.body
    assert len(good.calls) == 4
    assert 1 <= len(bad.calls) <= 4
    assert fleet.in_flight == fleet.failed == 0
    assert all(endpoint.load == 0 for endpoint in fleet.endpoints.values())
    assert bad.calls[0].body == good.calls[0].body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refused_connection_goes_to_another_pod(gateway, engines, stream):
    good = await engines()
    fleet = gateway.static(free_port(), good)
    for _ in range(3):
        assert (await gateway.ask(chat(stream=stream))).status == 200
    assert fleet.upstream_retries["connection"] >= 1


async def test_without_another_pod_a_static_fleet_says_so(gateway):
    fleet = gateway.static(free_port())
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    assert "retry-after" in answer.headers
    assert "Connection refused" in answer.error["message"]
    assert fleet.in_flight == 0


async def test_a_full_engine_that_is_the_only_one_tells_the_truth(gateway, engines):
    engine = await engines(full)
    gateway.static(engine)
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["message"]) == (503, "queue full")
    assert len(engine.calls) == 1


async def test_a_managed_fleet_waits_for_the_replacement(gateway, engines, launchers):
    dying, replacement = await engines(reset), await engines()
    first, second = await launchers(), await launchers()
    first.ready()
    fleet = gateway.managed()
    gateway.pods(fleet, (dying, first))
    await until(lambda: fleet.ready)
    client = await gateway.waiting(fleet)
    assert len(dying.calls) == 1
    second.ready(bootId="boot-2", pod="llm-1")
    gateway.pods(fleet, (dying, first), (replacement, second))
    assert (await client.answer()).status == 200
    assert len(dying.calls) == 1


async def test_the_same_pod_restarted_is_another_one(gateway, awake):
    fleet, engine, launcher = await awake(reset)
    client = await gateway.waiting(fleet)
    engine.script = answer_ok
    await asyncio.sleep(0.4)
    assert len(engine.calls) == 1, "the same incarnation was asked twice"
    launcher.ready(bootId="boot-2")
    assert (await client.answer()).status == 200


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda call: call.reset(), id="reset"),
        pytest.param(lambda call: call.writer.close(), id="closed-without-the-last-chunk"),
        pytest.param(lambda call: call.writer.write(b"0\r\n\r\n"), id="ended-without-done"),
        pytest.param(
            lambda call: call.writer.write(
                chunk(b'data: {"choices":[{"finish_reason":"abort"}]}\n\n') + chunk(DONE) + b"0\r\n\r\n"
            ),
            id="aborted",
        ),
        pytest.param(lambda call: call.writer.write(b"5\r\nhalf") or call.writer.close(), id="mid-chunk"),
        pytest.param(
            lambda call: call.writer.write(chunk(b'data: {"hal')) or call.writer.close(), id="mid-event"
        ),
        pytest.param(lambda call: call.writer.write(b"zz\r\n"), id="bad-chunk"),
    ],
)
async def test_a_stream_that_dies_ends_with_an_error_event_and_no_proper_end(gateway, engines, end):
    async def dies(call):
        await call.send(SSE_HEAD + chunk(TOKEN))
        await asyncio.sleep(0.05)
        end(call)
        await call.until_left()

    other = await engines()
    engine = await engines(dies)
    fleet = gateway.static(engine)
    gateway.static(other, name="other")
    answer = await gateway.ask(chat(stream=True))
    assert answer.status == 200
    assert answer.events[0] + b"\n\n" == TOKEN
    assert answer.events[1].startswith(b'data: {"error":{"message":"the answer was cut short')
    assert len(answer.events) == 2
    assert b"[DONE]" not in answer.body
    assert b"hal" not in answer.events[1][-10:]
    assert not answer.ended
    assert (fleet.failed, fleet.completed) == (1, 0)
    assert len(engine.calls) == 1


async def test_a_long_unary_answer_that_is_cut_is_cut_for_the_client(gateway, engines):
    arrived = asyncio.Event()

    async def cut(call):
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 300_000)
        await arrived.wait()  # a reset would throw away what is still on its way
        call.reset()

    gateway.static(await engines(cut))
    client = await gateway.client()
    await client.send(request(chat()))
    head = await client.head()
    assert head.headers["content-length"] == "1000000"
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await client.reader.readexactly(300_000) == b"x" * 300_000
    arrived.set()
    assert await client.closed() == b""


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_long_unary_answer_arrives_whole(gateway, engines, framing):
    body = bytes(range(256)) * 4000

    async def long(call):
        if framing == "length":
            await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        elif framing == "chunked":
            parts = [chunk(body[at : at + 7777]) for at in range(0, len(body), 7777)]
            await call.send(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"
            )
        else:
            await call.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            call.writer.close()

    gateway.static(await engines(long))
    answer = await gateway.ask(chat(), path="/v1/embeddings")
    assert answer.ended
    assert answer.body == body


async def test_events_arrive_whole_however_they_were_cut(gateway, engines):
    whole = TOKEN * 3 + DONE

    async def drip(call):
        await call.send(SSE_HEAD)
        for at in range(0, len(whole), 11):
            await call.send(chunk(whole[at : at + 11]))
            await asyncio.sleep(0)
        await call.send(b"0\r\n\r\n")

    gateway.static(await engines(drip))
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await client.head()
    body = b""
    while True:
        size = int(await client.read_until(b"\r\n"), 16)
        piece = (await client.reader.readexactly(size + 2))[:-2]
        if not size:
            break
        assert piece.endswith(b"\n\n"), "half an event went out"
        body += piece
    assert body == whole


async def test_a_connection_that_the_engine_closed_while_idle_costs_nothing(gateway, engines):
    async def close_after(call):
        await answer_ok(call)
        asyncio.get_running_loop().call_later(0.05, call.reset)

    engine = await engines(close_after)
    fleet = gateway.static(engine)
    pool = next(iter(fleet.endpoints.values())).pool
    for _ in range(3):
        assert (await gateway.ask(chat())).status == 200
        await until(lambda: not pool._idle)  # the gateway has heard of the end
    assert fleet.upstream_retries.total() == 0
    assert engine.connections == 3


async def test_a_reused_connection_that_dies_unheard_is_replaced_at_the_same_pod(gateway, engines):
    count = 0

    async def every_second(call):
        nonlocal count
        count += 1
        if count % 2 == 0:
            call.reset()
        else:
            await answer_ok(call)

    engine = await engines(every_second)
    fleet = gateway.static(engine)
    for _ in range(3):
        assert (await gateway.ask(chat())).status == 200
    assert fleet.upstream_retries["reused_connection"] == 2
    assert fleet.upstream_retries.total() == 2


async def test_connections_to_engines_are_reused_but_not_for_long(start, engines):
    gateway = await start(pool_idle_seconds=60.0)
    engine = await engines()
    pool = next(iter(gateway.static(engine).endpoints.values())).pool
    for _ in range(5):
        await gateway.ask(chat())
    assert engine.connections == 1
    pool._idle_seconds = 0.05  # short only now: the five may come as slowly as they like
    await until(lambda: not pool._idle)
    await gateway.ask(chat())
    assert engine.connections == 2
    assert gateway.registry.fleets


async def test_after_comments_a_dead_engine_is_still_replaced(gateway, engines):
    bad, good = await engines(sse_head_then_reset), await engines()
    gateway.static()
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await client.read_until(b": waking")
    gateway.static(bad, good)
    rest = await client.read_until(b"0\r\n\r\n")
    assert DONE in rest
    assert b"error" not in rest


async def test_an_interim_answer_is_not_the_answer(gateway, engines):
    async def early(call):
        await call.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + json_answer({"ok": 1}))

    gateway.static(await engines(early))
    answer = await gateway.ask(chat())
    assert answer.status == 200
    assert "link" not in answer.headers
