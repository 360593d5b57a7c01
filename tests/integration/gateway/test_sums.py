"""From the engine's steps to what the operator decides by: the numbers are those of what was sent.

The whole chain is real: the simulated engine, the launcher, a gateway with its streams, the operator's end of
them. The engine takes 20 ms a step and 0.1 ms a prompt token, and longer where it has to wait for the
machine: times are compared with what the engine itself says.
"""

import contextlib
import json
import re
from dataclasses import astuple

import httpx
import pytest
from torpor.api.names import FleetKey
from torpor.cluster.demand import DemandStreams
from torpor.control.observe import observe
from torpor.decide.observation import Tally
from torpor.decide.samples import SHORTEST, Sample, between
from torpor_gateway.doors import Door

from tests.integration.gateway.harness import PATIENCE_SECONDS, request, until
from tests.unit.control.worlds import pod as pod_object
from tests.unit.control.worlds import world

KEY, UID = FleetKey("ns", "llm"), "uid-1"
STEP_MS, PROMPT_MS = 20.0, 0.1


@contextlib.asynccontextmanager
async def door_of(gateway):
    """Open a gateway's demand stream; gives its address."""
    door = Door({"/v1/demand": gateway.demand.visit})
    port = await door.open("127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await door.close()


async def ask(gateway, words, tokens, headers=""):
    """Have a prompt of so many words answered by so many tokens; returns what the engine counted."""
    body = {"model": "llm", "prompt": "word " * words, "max_tokens": tokens, "ignore_eos": True}
    client = await gateway.client()
    answer = await client.ask(request(body, path="/v1/completions", headers=headers))
    assert answer.status == 200, answer.body
    usage = json.loads(answer.body)["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


async def gap_seconds(port):
    """Ask the engine itself how long its clients waited between tokens."""
    async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    (told,) = re.findall(r"^vllm:inter_token_latency_seconds_sum\S* (\S+)$", text, re.MULTILINE)
    return float(told)


def sums(lengths):
    """The sums over completed requests that a tally should show."""
    return (
        len(lengths),
        sum(o for _, o in lengths),
        sum(i * i for i, _ in lengths),
        sum(o * o for _, o in lengths),
        sum(i * o for i, o in lengths),
    )


async def test_the_operator_sees_what_was_sent(start, pod):
    first = await start()
    _, ports = await pod("--max-num-seqs=4", f"--step-ms={STEP_MS},0,0,{PROMPT_MS}", "--kv-tokens=8192")
    fleet = first.managed()
    first.pods(fleet, (ports.port, ports.launcher))
    await until(lambda: fleet.ready, seconds=60)
    async with contextlib.AsyncExitStack() as stack:
        streams = await stack.enter_async_context(DemandStreams(lambda key: None))
        address = await stack.enter_async_context(door_of(first))
        streams.set_targets([address])

        def looked():
            told = streams.fleet(KEY, UID)
            clock = streams._clock()
            pods = [pod_object("llm-0", ready=True)]
            return observe(world(replicas=1, pods=pods, seen=told, clock=clock), rollout=False)

        def completed():
            """Return the number that was completed, None while no gateway is heard."""
            told = streams.fleet(KEY, UID).tally
            return told and told.completed

        def counters(generated):
            """Return the engine's counters once it has generated so many tokens, None before."""
            found = looked().engines[0].counters
            return found if found and found.generated == generated else None

        before = await until(lambda: counters(1))  # the launcher's own
        asked = ((40, 30), (400, 5), (40, 60), (3, 1))
        lengths = [await ask(first, words, tokens) for words, tokens in asked]
        lengths.append(await ask(first, 40, 20, headers="x-stainless-retry-count: 2\r\n"))

        def tally():
            return looked().demand.tally

        await until(lambda: completed() == 5)
        assert tally().arrivals == 4
        assert astuple(tally())[2:7] == sums(lengths)
        arrived = sum(i for i, _ in lengths[:4])
        assert tally().prompt_tokens == pytest.approx(arrived, rel=0.3)  # by bytes

        prompts, outputs = sum(i for i, _ in lengths), sum(o for _, o in lengths)
        after = await until(lambda: counters(1 + outputs))
        assert after.boot == before.boot
        assert after.prompts - before.prompts == prompts
        assert after.gaps - before.gaps == outputs - len(lengths)
        assert after.cached - before.cached >= 32  # the same 40 words three times
        assert after.gap_seconds == pytest.approx(await gap_seconds(ports.port))
        gap_ms = (after.gap_seconds - before.gap_seconds) * 1000 / (outputs - len(lengths))
        assert gap_ms >= 0.95 * STEP_MS  # never sooner; where the machine made the engine wait, later
        assert after.at - before.at > SHORTEST  # 116 steps of 20 ms
        sample = between(before, after)
        assert isinstance(sample, Sample)
        assert sample.step_ms == pytest.approx(gap_ms, rel=0.05)
        assert 0 <= sample.kv_tokens <= 8192

        # The gateway is replaced: the new one has served before the operator hears of it.
        second = await start()
        fleet = second.managed()
        second.pods(fleet, (ports.port, ports.launcher))
        await until(lambda: fleet.ready)
        lengths += [await ask(second, 100, 3), await ask(second, 10, 4)]
        another = await stack.enter_async_context(door_of(second))
        streams.set_targets([another])
        await until(lambda: completed() == 7)
        lengths.append(await ask(second, 7, 2))
        await until(lambda: completed() == 8)
        total = streams.fleet(KEY, UID).tally
        assert isinstance(total, Tally)
        assert total.arrivals == 7
        assert astuple(total)[2:7] == sums(lengths)
