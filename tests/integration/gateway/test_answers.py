"""What engines answer that is too much, too little, or theirs to say: nobody gets what was for another."""

import asyncio
import json

import pytest
from torpor.api import constants

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, answer_ok, chunk, json_answer

MINE, FOREIGN = b'{"whose": "mine"}', b'{"whose": "foreign"}'
SECOND = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(FOREIGN)
    + FOREIGN
)
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(MINE) + MINE
IN_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(MINE) + b"0\r\n\r\n"


@pytest.mark.parametrize("framed", [WHOLE, IN_CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize(
    "more", [b"x" * 10 * len(MINE), SECOND], ids=["ten-times-as-much", "a-second-answer"]
)
@pytest.mark.parametrize("apart", [False, True], ids=["at-once", "a-moment-later"])
async def test_what_an_engine_sends_behind_its_answer_is_nobodys(start, engines, framed, more, apart):
    """Kept, the connection would give the next client what stands there."""
    gateway = await start(pool_idle_seconds=600.0)  # it is not closed for its age
    spilled = asyncio.Event()

    async def spill(call):
        if len(engine.calls) == 1:  # its head is known when it comes again
            await call.send(framed)
            return
        await call.send(framed if apart else framed + more)
        if apart:
            await asyncio.sleep(0.02)
            await call.send(more)
        spilled.set()

    engine = await engines(spill)
    fleet = gateway.static(engine)
    for _ in range(2):
        answer = await gateway.ask(chat())
        assert (answer.status, answer.body) == (200, MINE)
    await spilled.wait()
    pool = next(iter(fleet.endpoints.values())).pool
    await until(lambda: not pool._idle)  # it spoke unasked: the connection is not used again
    engine.script = answer_ok
    after = await gateway.ask(chat())
    assert (after.status, b"whose" in after.body) == (200, False)
    assert engine.connections == 2
    assert (fleet.completed, fleet.failed) == (3, 0)


async def test_a_stream_that_never_ends_lasts_as_long_as_its_client_and_keeps_no_memory(gateway, engines):
    ended = []

    async def endless(call):
        await call.send(SSE_HEAD)
        while not call.writer.is_closing():
            await call.send(chunk(TOKEN) * 100)
            await asyncio.sleep(0)
        ended.append(call)

    fleet = gateway.static(await engines(endless))
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    async with asyncio.timeout(60):
        await client.reader.readexactly(5_000_000)
    (exchange,) = (connection.exchange for connection in gateway.server.connections)
    assert exchange.body == b"", "what was sent is not needed any more"
    assert exchange._relay._tail == b""
    assert len(exchange._relay._last) < 1 << 20
    client.leave()
    await until(lambda: ended)
    assert fleet.in_flight == 0


@pytest.mark.parametrize(
    ("status", "retry_after"), [(429, b"7"), (503, b"7"), (429, b"Wed, 21 Oct 2026 07:28:00 GMT")]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_engines_own_retry_after_is_kept(gateway, engines, status, retry_after, stream):
    async def full(call):
        extra = b"retry-after: %b\r\n" % retry_after
        await call.send(json_answer({"error": {"message": "full", "code": status}}, status, extra))

    engine = await engines(full)
    gateway.static(engine)
    client = await gateway.client()
    await client.send(request(chat(stream=stream)))
    head = (await client.read_until(b"\r\n\r\n")).lower().split(b"\r\n")
    assert head[0].split(b" ")[1] == b"%d" % status
    assert [line for line in head if line.startswith(b"retry-after")] == [
        b"retry-after: " + retry_after.lower()
    ]
    assert len(engine.calls) == 1


async def test_a_500_of_a_pod_that_stays_is_the_answer(gateway, engines):
    """A request that engines cannot bear would else break one after the other."""

    async def broken(call):
        await call.send(json_answer({"error": {"message": "CUDA error", "code": 500}}, 500))

    bad, good = await engines(broken), await engines(broken)
    gateway.static(bad, good)
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["message"]) == (500, "CUDA error")
    assert len(bad.calls) + len(good.calls) == 1


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_pod_refuses_while_it_leaves_another_answers(gateway, engines, status, stream):
    staying = await engines()

    async def refuse(call):
        gateway.static(staying)  # it has left the fleet
        await call.send(json_answer({"error": {"message": "not any more", "code": status}}, status))

    leaving = await engines(refuse)
    fleet = gateway.static(leaving)
    answer = await gateway.ask(chat(stream=stream))
    assert (answer.status, b"not any more" in answer.body) == (200, False)
    assert (len(leaving.calls), len(staying.calls)) == (1, 1)
    assert fleet.upstream_retries["draining"] == 1


async def test_an_engine_that_takes_requests_and_says_nothing_is_left_for_the_other(
    gateway, engines, launchers, monkeypatch
):
    """Not by a clock on answers: a long answer is silent by nature. Its launcher's counters stand still."""
    monkeypatch.setattr(constants, "WEDGED_SECONDS", 0.3)

    async def silent(call):
        await call.until_left()

    mute, sound = (await engines(silent), await launchers()), (await engines(), await launchers())
    counted = 0

    def report():
        nonlocal counted
        counted += 1
        stats = {"running": 1, "maxNumSeqs": 100, "kvCapacityTokens": 100_000}
        mute[1].ready(**stats, promptTokensTotal=5, generationTokensTotal=5)
        sound[1].ready(**stats, promptTokensTotal=counted, generationTokensTotal=counted)

    for _, launcher in (mute, sound):
        launcher.ready()
    fleet = gateway.managed()
    gateway.pods(fleet, mute, sound)
    await until(lambda: len(fleet.ready) == 2)
    async with asyncio.timeout(60):
        while len(fleet.ready) == 2:
            report()
            await asyncio.sleep(0.02)
    assert [pod.port for pod in fleet.ready] == [sound[0].port]
    before = len(mute[0].calls)
    for number in range(5):
        assert (await gateway.ask(chat(user=str(number)))).status == 200
    assert len(mute[0].calls) == before


async def test_a_kept_connection_that_dies_in_the_middle_of_an_answer_is_not_asked_again(gateway, engines):
    """Only what surely was not begun is sent twice to one pod."""
    begun = []

    async def first_well_then_half(call):
        if not begun:
            begun.append(call)
            await answer_ok(call)
            return
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        await until(lambda: any(one.exchange and one.exchange._relay for one in gateway.server.connections))
        call.reset()  # which throws away what is still on its way

    engine = await engines(first_well_then_half)
    fleet = gateway.static(engine)
    assert (await gateway.ask(chat())).status == 200
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    assert len(engine.calls) == 2
    assert fleet.upstream_retries["reused_connection"] == 0


async def test_the_end_of_a_stream_is_not_the_beginning_of_the_next(gateway, engines):
    """A comment or a blank line behind the last chunk would be read as the next answer's beginning."""

    async def chatty(call):
        await call.send(SSE_HEAD + chunk(TOKEN) + chunk(DONE) + b"0\r\n\r\n: bye\n\n")

    engine = await engines(chatty)
    gateway.static(engine)
    for _ in range(3):
        answer = await gateway.ask(chat(stream=True))
        assert (answer.status, answer.ended, answer.body) == (200, True, TOKEN + DONE)
    assert engine.connections == 3
    assert all(json.loads(call.body)["stream"] for call in engine.calls)
