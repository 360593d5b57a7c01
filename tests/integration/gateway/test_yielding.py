"""The line with an objective, on real connections: who is late yields, who has waited long does not."""

import asyncio

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import json_answer


async def _grown_older(fleet, seconds):
    """Wait until everybody who waits has waited for so long."""
    loop = asyncio.get_running_loop()
    youngest = max(exchange.arrived for exchange in fleet.line)
    await until(lambda: loop.time() - youngest > seconds)


def _users(engine):
    return [call.body.partition(b'"user": "')[2].partition(b'"')[0].decode() for call in engine.calls]


async def _asks(gateway, fleet, *users):
    """Send one request after the other, in this order."""
    clients = []
    for user in users:
        before = fleet.arrivals
        clients.append(await gateway.client())
        await clients[-1].send(request(chat(user=user)))
        await until(lambda before=before: fleet.arrivals == before + 1)
    return clients


def _one_by_one():
    """A script that answers a call each time that the semaphore is released."""
    turns = asyncio.Semaphore(0)

    async def script(call):
        await turns.acquire()
        await call.send(json_answer({}))

    return script, turns


async def test_who_is_late_yields_to_who_is_not_but_for_every_third_place(gateway, awake):
    script, turns = _one_by_one()
    fleet, engine, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, ttft_objective=4.0, max_queue_seconds=600
    )
    clients = await _asks(gateway, fleet, "there", "old", "older")
    await _grown_older(fleet, 2.1)  # half of the objective and a little: both are late, the next are not
    clients += await _asks(gateway, fleet, "a", "b", "c")
    for _ in clients:
        turns.release()
    for client in clients:
        assert (await client.answer()).status == 200
    assert _users(engine) == ["there", "a", "b", "old", "c", "older"]


async def test_who_has_waited_half_of_its_limit_is_first_again_and_may_queue_in_the_pod(gateway, awake):
    script, turns = _one_by_one()
    busy = {"maxNumSeqs": 50, "running": 5, "waiting": 3}
    fleet, engine, _ = await awake(
        script, stats=busy, queue_depth_target=1, ttft_objective=0.2, max_queue_seconds=4
    )
    clients = await _asks(gateway, fleet, "old")
    assert len(fleet.line) == 1, "there is room in the batch, but three wait inside already"
    await until(lambda: engine.calls)  # nobody reports anything, time alone did it
    assert fleet.loop.time() - fleet.last_request >= 2
    turns.release()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_without_an_objective_a_pod_gets_what_its_long_line_allows(gateway, awake):
    script, turns = _one_by_one()
    busy = {"maxNumSeqs": 50, "running": 5, "waiting": 3}
    fleet, engine, _ = await awake(script, stats=busy, queue_depth_target=1)
    clients = await _asks(gateway, fleet, "one", "two")
    await until(lambda: len(engine.calls) == 2)
    for _ in clients:
        turns.release()
    for client in clients:
        assert (await client.answer()).status == 200


async def test_a_herd_goes_through_the_short_line_without_a_report_in_between(gateway, awake):
    script, turns = _one_by_one()
    for _ in range(60):
        turns.release()
    fleet, engine, _ = await awake(script, stats={"maxNumSeqs": 8}, queue_depth_target=2, ttft_objective=2.0)
    clients = await _asks(gateway, fleet, *map(str, range(60)))
    for client in clients:
        assert (await client.answer()).status == 200
    assert fleet.completed == len(engine.calls) == 60
