"""Where requests go on real sockets: to the pod that knows how they begin, and never to one that hangs."""

import asyncio
from dataclasses import replace

import pytest
from torpor.api import constants
from torpor.dispatch import identity, salt_of
from torpor_gateway.beginning import beginning

from tests.integration.gateway.harness import request, until
from tests.integration.gateway.scripted import json_answer

SYSTEM = "You answer in verse, and only in verse, whatever is asked. " * 40


def turns(number: int, count: int = 1) -> dict:
    said = [{"role": "system", "content": SYSTEM}]
    for turn in range(count):
        said += [{"role": "user", "content": f"{number}.{turn}: tell me of the sea. " * 60}]
        said += [{"role": "assistant", "content": f"{number}.{turn}: the sea is wide. " * 60}]
    return {"model": "llm", "messages": [*said, {"role": "user", "content": "go on"}]}


def everybody_knows_the_system_prompt(fleet):
    said = {"messages": turns(0)["messages"][:1]}
    for pod in fleet.endpoints.values():
        pod.memory.learn(identity(beginning(said), salt_of("llm")))


async def places(engines):
    return [len(engine.calls) for engine in engines]


@pytest.fixture
async def pods(engines):
    return [await engines() for _ in range(4)]


async def test_turns_of_a_conversation_meet_the_same_pod(gateway, pods):
    fleet = gateway.static(*pods)
    everybody_knows_the_system_prompt(fleet)
    used = set()
    for number in range(12):
        before = await places(pods)
        for count in (1, 2, 3):
            assert (await gateway.ask(turns(number, count))).status == 200
        grown = [after - earlier for earlier, after in zip(before, await places(pods), strict=True)]
        assert sorted(grown) == [0, 0, 0, 3]
        used.add(grown.index(3))
    assert len(used) > 1  # the system prompt that all share holds nobody together
    assert fleet.routed_prompt_tokens["known"] > fleet.routed_prompt_tokens["new"]


async def test_a_second_gateway_finds_the_pod_that_the_first_chose(start, pods):
    first, second = await start(), await start()
    for gateway in (first, second):
        everybody_knows_the_system_prompt(gateway.static(*pods))
    used = set()
    for number in range(16):
        before = await places(pods)
        await first.ask(turns(number, 1))
        await second.ask(turns(number, 2))
        grown = [after - earlier for earlier, after in zip(before, await places(pods), strict=True)]
        assert sorted(grown) == [0, 0, 0, 2]
        used.add(grown.index(2))
    assert len(used) > 1


async def test_a_session_stays_at_its_pod_and_the_header_can_be_named(start, pods):
    gateway = await start(session_header="x-chat")
    gateway.static(*pods)
    for number in range(8):
        await gateway.ask(turns(number), headers="X-Chat: alice\r\n")
    assert sorted(await places(pods)) == [0, 0, 0, 8]


async def test_a_pod_above_twice_the_mean_gets_no_more_whatever_it_knows(gateway, engines):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({}))

    pods = [await engines(slow) for _ in range(4)]
    gateway.static(*pods)
    clients = [await gateway.client() for _ in range(16)]
    for sent, client in enumerate(clients, 1):
        await client.send(request(turns(1, 3)))
        await until(lambda sent=sent: sum(len(pod.calls) for pod in pods) == sent, 30)
    loads = await places(pods)
    assert max(loads) <= 8
    assert loads.count(0) <= 2  # twice the mean of four pods is half of all
    release.set()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_routing_changes_with_the_spec(gateway, pods):
    fleet = gateway.static(*pods)
    for _ in range(8):
        await gateway.ask(turns(1))
    assert sorted(await places(pods)) == [0, 0, 0, 8]
    spec = fleet.spec
    policy = replace(spec.policy, routing=constants.ROUTING_LEAST_LOADED)
    gateway.registry.put(replace(spec, policy=policy), managed=False)
    for _ in range(8):
        await gateway.ask(turns(1))
    assert sorted(await places(pods)) == [2, 2, 2, 10]


async def test_a_pod_that_leaves_gets_nothing_from_that_moment(gateway, pods):
    fleet = gateway.static(*pods)
    for _ in range(3):
        await gateway.ask(turns(1))
    knows = (await places(pods)).index(3)
    kept = [pod for pod in fleet.endpoints.values() if pod.port != pods[knows].port]
    gateway.registry.set_endpoints(fleet, kept)
    for _ in range(3):
        assert (await gateway.ask(turns(1))).status == 200
    assert (await places(pods))[knows] == 3


@pytest.fixture
def hangs_soon(monkeypatch):
    monkeypatch.setattr(constants, "WEDGED_SECONDS", 0.3)


async def report(launchers, **stats):
    """One report of each, as an engine with requests gives it."""
    for launcher in launchers:
        launcher.ready(running=1, maxNumSeqs=100, kvCapacityTokens=100_000, **stats)
    await asyncio.sleep(0.02)


async def test_at_most_half_of_the_pods_are_left_out(gateway, engines, launchers, hangs_soon):
    pods = [(await engines(), await launchers()) for _ in range(3)]
    for _, launcher in pods:
        launcher.ready()
    fleet = gateway.managed()
    gateway.pods(fleet, *pods)
    await until(lambda: len(fleet.ready) == 3, 30)
    async with asyncio.timeout(30):
        loop = asyncio.get_running_loop()
        while not all(pod.wedged(loop.time()) for pod in fleet.endpoints.values()) or len(fleet.ready) == 3:
            await report([launcher for _, launcher in pods], promptTokensTotal=5, generationTokensTotal=5)
    assert len(fleet.ready) == 2
    assert (await gateway.ask(turns(1))).status == 200
