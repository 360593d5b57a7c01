"""Streams of `/v1/messages` and `/v1/responses`: where their answers begin, and what is no end of one."""

import asyncio
import json

import pytest

from tests.integration.gateway.harness import CHAT, chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, chunk, stream_answer


def event(kind, **data):
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        json.dumps({"type": kind, **data}, separators=(",", ":")).encode(),
    )


CREATED, IN_PROGRESS = event("response.created", response={"output": []}), event("response.in_progress")
WORD, COMPLETED = event("response.output_text.delta", delta="hi"), event("response.completed")
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
STARTED = event("message_start", message={"content": [], "stop_reason": None})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "hi"})
STOP = event("message_stop")


def ended(reason):
    return event(
        "message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 1}
    )


def test_the_events_are_written_as_vllm_does():
    assert b'"delta":{"stop_reason":null,' in ended(None)


@pytest.mark.parametrize("together", [False, True])
async def test_an_announced_response_begins_with_its_first_word(gateway, engines, together):
    """vLLM announces at once, and computes then: that is no first token."""
    go = []

    async def script(call):
        await call.send(SSE_HEAD + chunk(CREATED + IN_PROGRESS) if together else SSE_HEAD + chunk(CREATED))
        go.append(call)

    fleet = gateway.static(await engines(script))
    client = await gateway.client()
    await client.send(request(chat(stream=True), RESPONSES))
    await until(lambda: go)
    await until(lambda: fleet.in_flight == 1)
    rest = b"" if together else chunk(IN_PROGRESS[:9]) + chunk(IN_PROGRESS[9:])
    await go[0].send(rest)
    assert fleet.ttft.count == 0
    await go[0].send(chunk(WORD) + chunk(COMPLETED) + b"0\r\n\r\n")
    answer = await client.answer()
    assert answer.body == CREATED + IN_PROGRESS + WORD + COMPLETED
    assert answer.ended
    assert fleet.ttft.count == 1


async def test_a_response_that_was_only_announced_goes_to_another_pod(gateway, engines):
    async def dies(call):
        await call.send(SSE_HEAD + chunk(CREATED) + chunk(IN_PROGRESS))
        call.writer.close()

    async def full(call):
        error = {"message": "full", "type": "x", "code": 503}
        await call.send(stream_answer(CREATED, IN_PROGRESS, event("error", error=error)))

    async def works(call):
        await call.send(stream_answer(CREATED, IN_PROGRESS, WORD, COMPLETED))

    for bad in (dies, full):
        engine, good = await engines(bad), await engines(works)
        fleet = gateway.static(engine, good, name=bad.__name__)
        for _ in range(4):
            answer = await gateway.ask(chat(stream=True, model=bad.__name__), RESPONSES)
            assert answer.body == CREATED + IN_PROGRESS + WORD + COMPLETED
        assert engine.calls
        assert fleet.failed == 0


async def test_a_response_that_is_never_more_than_announced_is_no_answer(gateway, engines):
    async def empty(call):
        await call.send(stream_answer(CREATED, IN_PROGRESS))

    gateway.static(await engines(empty))
    answer = await gateway.ask(chat(stream=True), RESPONSES)
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")


@pytest.mark.parametrize("reason", [None, "end_turn"])
async def test_a_message_that_the_engine_broke_off_does_not_end_as_if_whole(gateway, engines, reason):
    """An engine that shuts down ends what it runs in order, but for the reason why it ended."""
    seen = asyncio.Event()

    async def script(call):
        await call.send(SSE_HEAD + chunk(STARTED) + chunk(TEXT))
        await seen.wait()
        await call.send(chunk(ended(reason)) + chunk(STOP) + b"0\r\n\r\n")

    fleet = gateway.static(await engines(script))
    client = await gateway.client()
    await client.send(request(chat(stream=True), MESSAGES))
    await client.read_until(TEXT)
    seen.set()
    rest = await (client.read_until(b"\r\n0\r\n\r\n") if reason else client.closed())
    if reason:
        assert STOP in rest
        assert (fleet.completed, fleet.failed) == (1, 0)
        return
    assert STOP not in rest
    assert b"event: error\n" in rest
    last = json.loads(rest.partition(b"data: ")[2].partition(b"\n\n")[0])
    assert (last["error"]["type"], last["error"]["details"]) == ("api_error", {"error_code": "EngineGone"})
    assert (fleet.completed, fleet.failed) == (0, 1)


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (MESSAGES, (STARTED, TEXT, ended(None), STOP)),
        (CHAT, (TOKEN, b'data: {"choices":[{"finish_reason":"abort"}]}\n\n', DONE)),
    ],
)
async def test_words_that_come_together_with_their_breaking_off_were_none(gateway, engines, path, events):
    """Nothing has reached the client: it gets another pod's answer, or an error that is a whole response."""

    async def breaks_off(call):
        await call.send(SSE_HEAD + chunk(b"".join(events)) + b"0\r\n\r\n")

    whole = stream_answer(STARTED, TEXT, ended("end_turn"), STOP, DONE)

    async def works(call):
        await call.send(whole)

    gateway.static(await engines(breaks_off), name="alone")
    answer = await gateway.ask(chat(stream=True, model="alone"), path)
    assert (answer.status, answer.error["code"]) == (503, "EngineGone")
    bad, good = await engines(breaks_off), await engines(works)
    fleet = gateway.static(bad, good)
    for _ in range(4):
        answer = await gateway.ask(chat(stream=True), path)
        assert (answer.status, answer.ended) == (200, True)
        assert b"error" not in answer.body
    assert bad.calls
    assert fleet.failed == 0
