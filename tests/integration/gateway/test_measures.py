"""The histograms of a fleet on real sockets: who waited for what, and how fast streams were."""

import asyncio
import json

from prometheus_client.exposition import generate_latest
from torpor_gateway.answers import Refusal
from torpor_gateway.metrics import exposition

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, TOKEN, chunk, json_answer, stream_answer

_STREAM_HEAD, _ = stream_answer().split(b"0\r\n\r\n")


def told(gateway, name: str, fleet: str = "llm") -> float:
    """Return a metric's value as Prometheus reads it."""
    page = generate_latest(exposition(gateway.server, None)).decode()
    label = f'name="{fleet}"'
    (value,) = (
        line.rpartition(" ")[2]
        for line in page.splitlines()
        if line.startswith(f"torpor_gateway_{name}{{") and label in line
    )
    return float(value)


async def test_a_wait_for_a_wake_and_one_for_a_slot_are_told_apart(gateway, engines, launchers):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({"n": 1}))

    engine, launcher = await engines(slow), await launchers()
    fleet = gateway.managed(queue_depth_target=0)
    gateway.pods(fleet, (engine, launcher))
    held = [await gateway.waiting(fleet) for _ in range(3)]
    await asyncio.sleep(0.05)
    launcher.ready(maxNumSeqs=1)
    await until(lambda: engine.calls)
    assert (told(gateway, "hold_seconds_count"), told(gateway, "queue_seconds_count")) == (1, 0)
    assert told(gateway, "hold_seconds_sum") >= 0.04
    await asyncio.sleep(0.05)
    release.set()
    for client in held:
        assert (await client.answer()).status == 200
    # The two others waited for the wake as the first did, and then for a slot.
    assert (told(gateway, "hold_seconds_count"), told(gateway, "queue_seconds_count")) == (3, 2)
    assert told(gateway, "queue_seconds_sum") >= 0.08
    release.clear()
    first = await gateway.client()
    await first.send(request(chat()))
    await until(lambda: fleet.in_flight == 1)
    queued = await gateway.waiting(fleet)
    release.set()
    assert (await first.answer()).status == (await queued.answer()).status == 200
    assert (told(gateway, "hold_seconds_count"), told(gateway, "queue_seconds_count")) == (3, 3)


async def test_the_speed_of_a_stream_is_that_of_its_tokens_after_the_first(gateway, awake):
    usage = (
        b"data: %b\n\n"
        % json.dumps({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 31}}).encode()
    )

    async def script(call):
        await call.send(_STREAM_HEAD + chunk(TOKEN))
        await asyncio.sleep(0.1)
        await call.send(chunk(TOKEN) + chunk(usage) + chunk(DONE) + b"0\r\n\r\n")

    async def broken(call):
        await call.send(_STREAM_HEAD + chunk(TOKEN))
        await asyncio.sleep(0.05)
        await call.send(chunk(TOKEN))
        call.reset()

    fleet, engine, _ = await awake(script)
    answer = await gateway.ask(chat(stream=True))
    assert answer.body.endswith(DONE)
    assert told(gateway, "stream_tokens_per_second_count") == 1
    assert 0 < told(gateway, "stream_tokens_per_second_sum") <= 30 / 0.09  # never faster; slower as it may be
    assert told(gateway, "time_to_first_token_seconds_count") == 1
    assert told(gateway, "inter_token_latency_seconds_count") >= 1
    engine.script = broken
    await gateway.ask(chat(stream=True))
    assert told(gateway, "stream_tokens_per_second_count") == 1, "a stream that was cut short has no speed"
    assert fleet.failed == 1


async def test_the_age_of_what_is_held_is_that_of_the_first(gateway, engines, launchers):
    engine, launcher = await engines(), await launchers()
    fleet = gateway.managed()
    gateway.pods(fleet, (engine, launcher))
    assert told(gateway, "oldest_held_seconds") == 0
    first = await gateway.waiting(fleet)
    began = fleet.line.oldest()
    await asyncio.sleep(0.05)
    second = await gateway.waiting(fleet)
    age = told(gateway, "oldest_held_seconds")
    assert 0.05 <= age <= gateway.server.loop.time() - began, "of the first, not of the last"
    launcher.ready()
    for client in (first, second):
        assert (await client.answer()).status == 200
    assert told(gateway, "oldest_held_seconds") == 0


async def test_an_answer_that_is_cut_tells_whose_end_it_was(gateway, awake):
    async def broken(call):
        await call.send(_STREAM_HEAD + chunk(TOKEN))
        await until(lambda: fleet.ttft.count == 1)  # a reset takes away what was not read yet
        call.reset()

    async def waits(call):
        await call.send(_STREAM_HEAD + chunk(TOKEN))
        await call.until_left()

    def cuts() -> dict[str, int]:
        page = generate_latest(exposition(gateway.server, None)).decode()
        lines = [line for line in page.splitlines() if line.startswith("torpor_gateway_cut_answers_total{")]
        return {line.split('"')[1]: int(float(line.rpartition(" ")[2])) for line in lines}

    fleet, engine, _ = await awake(broken)
    assert cuts() == {"drain": 0, "engine": 0, "gateway": 0}, "a rate needs the zero before the first one"
    await gateway.ask(chat(stream=True))
    assert cuts() == {"drain": 0, "engine": 1, "gateway": 0}

    engine.script = waits
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await until(lambda: gateway.server.busy and fleet.in_flight == 1 and fleet.ttft.count == 2)
    gateway.server.dismiss(Refusal(503, "GatewayStopping", "this gateway ends"))
    assert cuts() == {"drain": 0, "engine": 1, "gateway": 1}

    async def leaves(call):
        await call.send(_STREAM_HEAD + chunk(TOKEN))
        await until(lambda: fleet.ttft.count == 3)
        (endpoint,) = fleet.endpoints.values()
        endpoint.terminating = True
        call.reset()

    engine.script = leaves
    await gateway.ask(chat(stream=True))
    assert cuts() == {"drain": 1, "engine": 1, "gateway": 1}
