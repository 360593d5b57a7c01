"""Streams that are held against the fleet's objectives, on real connections, and told to the operator."""

import asyncio

import pytest

from tests.integration.gateway.harness import chat, until
from tests.integration.gateway.scripted import DONE, TOKEN, json_answer, stream_answer

LONG, SHORT = (
    600.0,
    0.02,
)  # seconds: an objective that nothing misses here, and one that a pause of 0.1 s does


def _paused(before=0.0, between=0.0):
    """A stream of two tokens with pauses."""

    async def script(call):
        answer = stream_answer(TOKEN, TOKEN, DONE)
        head, _, rest = answer.partition(TOKEN)
        await asyncio.sleep(before)
        await call.send(head + TOKEN)
        await asyncio.sleep(between)
        await call.send(rest)

    return script


def _kept(fleet):
    return fleet.kept.judged - fleet.kept.missed, fleet.kept.missed


@pytest.mark.parametrize(
    ("objectives", "script", "kept"),
    [
        ((LONG, LONG), _paused(), (1, 0)),
        ((SHORT, None), _paused(before=0.1), (0, 1)),
        ((LONG, None), _paused(before=0.1, between=0.1), (1, 0)),
        ((None, SHORT), _paused(between=0.1), (0, 1)),
        ((None, LONG), _paused(before=0.1, between=0.1), (1, 0)),
        ((LONG, SHORT), _paused(between=0.1), (0, 1)),
        ((None, None), _paused(before=0.1, between=0.1), (0, 0)),
    ],
)
async def test_a_stream_is_judged_as_a_whole(gateway, awake, objectives, script, kept):
    ttft, itl = objectives
    fleet, _, _ = await awake(script, ttft_objective=ttft, itl_objective=itl)
    assert (await gateway.ask(chat(stream=True))).status == 200
    assert fleet.completed == 1
    assert _kept(fleet) == kept


async def test_what_is_no_stream_and_what_fails_is_not_judged(gateway, awake):
    async def broken(call):
        await call.send(stream_answer(TOKEN))
        call.reset()

    async def refused(call):
        await call.send(json_answer({"error": {"message": "no"}}, status=400))

    fleet, engine, _ = await awake(ttft_objective=SHORT / 1000)
    assert (await gateway.ask(chat())).status == 200
    engine.script = broken
    assert (await gateway.ask(chat(stream=True))).status == 200
    engine.script = refused
    assert (await gateway.ask(chat(stream=True))).status == 400
    assert _kept(fleet) == (0, 0)


async def test_who_waits_in_vain_missed_what_was_promised(gateway, awake):
    stuck = asyncio.Event()

    async def script(call):
        await stuck.wait()
        await call.send(json_answer({}))

    fleet, _, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, ttft_objective=LONG, max_queue_seconds=1
    )
    first = asyncio.create_task(gateway.ask(chat()))
    await until(lambda: fleet.in_flight == 1)
    assert (await gateway.ask(chat(stream=True))).status == 429
    assert _kept(fleet) == (0, 1)
    stuck.set()
    assert (await first).status == 200
