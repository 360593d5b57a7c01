"""Crowds on real sockets: they come at once, wait, are woken or refused, and nobody stands still for it."""

import asyncio
import json
import math
import socket

import pytest
from torpor_gateway.expiry import PLACES_A_TURN
from torpor_gateway.turns import REQUESTS_A_TURN

from tests.integration.gateway.harness import PATIENCE_SECONDS, chat, request, until
from tests.integration.gateway.scripted import json_answer
from tests.integration.gateway.test_keys import A, B, bearer, let_in, one_by_one, users
from tests.integration.gateway.test_streams import listen

__all__ = ["listen"]

HERD = 2000


class Crowd:
    """Connections that ask all at once: everything is in the kernel before the gateway's loop turns again."""

    def __init__(self, port, count):
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]

    def ask(self, **more):
        data = request(chat(**more))
        for sock in self.sockets:
            sock.sendall(data)
            sock.setblocking(False)

    async def statuses(self):
        """Return how often each status was answered. The answers here come in one piece."""
        loop, found = asyncio.get_running_loop(), {}
        async with asyncio.timeout(2 * PATIENCE_SECONDS):
            for sock in self.sockets:
                status = int((await loop.sock_recv(sock, 65536))[9:12])
                found[status] = found.get(status, 0) + 1
        return found

    def close(self):
        for sock in self.sockets:
            sock.close()


@pytest.fixture
async def crowd(gateway):
    made = []

    async def begin(count):
        before = len(gateway.server.connections)
        made.append(Crowd(gateway.port, count))
        await until(lambda: len(gateway.server.connections) == before + count)
        return made[-1]

    yield begin
    for each in made:
        each.close()


class Turning:
    """Looks at a number once in each turn of the loop; `most` is the largest change within one."""

    def __init__(self, read):
        self.loop, self.read = asyncio.get_running_loop(), read
        self.last, self.most, self.turns = read(), 0, 0
        self._next = self.loop.call_soon(self._look)

    def _look(self):
        now = self.read()
        self.most, self.last = max(self.most, abs(now - self.last)), now
        self.turns += 1
        self._next = self.loop.call_soon(self._look)

    def stop(self):
        self._next.cancel()


async def test_a_crowd_that_asks_at_once_is_taken_up_over_many_turns(gateway, engines, crowd):
    fleet = gateway.static(await engines())
    many = await crowd(500)
    turning = Turning(lambda: fleet.arrivals)
    many.ask()
    await until(lambda: fleet.arrivals == 500)
    turning.stop()
    assert turning.most <= REQUESTS_A_TURN
    assert await many.statuses() == {200: 500}


async def test_a_line_is_let_go_over_many_turns_and_whoever_comes_then_stands_behind(gateway, engines, crowd):
    fleet = gateway.static()
    many = await crowd(500)
    many.ask(user="first")
    await until(lambda: len(fleet.line) == 500)
    engine = await engines()
    gateway.static(engine)
    turning = Turning(lambda: len(fleet.line))
    late = await crowd(1)
    late.ask(user="late")
    await until(lambda: not len(fleet.line))
    turning.stop()
    assert turning.most <= PLACES_A_TURN
    assert await many.statuses() == {200: 500}
    assert await late.statuses() == {200: 1}


async def test_a_line_without_hope_is_refused_over_many_turns(gateway, crowd):
    fleet = gateway.managed()
    many = await crowd(300)
    many.ask()
    await until(lambda: len(fleet.line) == 300)
    turning = Turning(lambda: len(fleet.line))
    gateway.managed(replicas=0)
    await until(lambda: not len(fleet.line))
    turning.stop()
    assert turning.most <= PLACES_A_TURN
    assert await many.statuses() == {503: 300}
    assert fleet.refused == 300


async def test_who_leaves_while_a_line_without_hope_is_refused_is_not_answered_twice(gateway, crowd):
    fleet = gateway.managed()
    many = await crowd(100)
    many.ask()
    await until(lambda: len(fleet.line) == 100)
    gateway.managed(replicas=0)
    await until(lambda: len(fleet.line) < 100)
    many.close()
    await until(lambda: not len(fleet.line))
    assert sum(fleet.answers.values()) == 100


async def test_a_herd_wakes_a_fleet_once_and_is_released_as_its_one_replica_takes_it(
    gateway,
    engines,
    launchers,
    crowd,
    listen,
):
    """Two thousand in a moment at zero, held to the last one; then one replica with sixteen places."""
    at_once = most = 0

    async def slow(call):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        await call.send(json_answer({}))

    fleet = gateway.managed(max_held_requests=HERD - 100, queue_depth_target=4)
    operator = await listen()
    herd = await crowd(HERD)
    began = asyncio.get_running_loop().time()
    herd.ask()
    await until(lambda: fleet.arrivals == HERD)
    assert (len(fleet.line), fleet.refused) == (HERD - 100, 100)
    await until(lambda: operator.of("fleet") and operator.last["held"]["count"] == HERD - 100)
    lines = operator.of("fleet")
    urgent = 1 + (asyncio.get_running_loop().time() - began) / 0.1  # refusals may be told ten times a second
    assert len(lines) <= 2 + urgent, "the operator hears of a herd, not of each of it"
    assert all(line["held"]["count"] >= 1 for line in lines), "and of demand from the first word on"
    engine, launcher = await engines(slow), await launchers()
    launcher.ready(maxNumSeqs=16)
    gateway.pods(fleet, (engine, launcher))
    assert await herd.statuses() == {200: HERD - 100, 503: 100}
    assert most <= 16 + 4
    assert engine.connections <= 16 + 4 + 1
    assert len(engine.calls) == fleet.completed == HERD - 100, "each once"


async def test_a_flood_of_one_key_costs_another_at_most_its_turn(gateway, awake):
    """A ratio of places: in the flood a key's requests need at most twice the places that they need alone."""
    script, turns = one_by_one()
    fleet, engine, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_queue_seconds=600
    )
    let_in(gateway, flood=A, other=B)
    clients = []

    async def asks(key, user):
        clients.append(await gateway.client())
        await clients[-1].send(request(chat(user=user), headers=bearer(key)))

    for number in range(200):
        await asks(A, f"a{number}")
    await until(lambda: fleet.arrivals == 200)
    for number in range(10):
        await asks(B, f"b{number}")
        await until(lambda number=number: fleet.arrivals == 201 + number)
    for _ in range(5):  # meanwhile the flood goes on
        turns.release()
    for number in range(200, 250):
        await asks(A, f"a{number}")
    for _ in range(255):
        turns.release()
    for client in clients:
        assert (await client.answer()).status == 200
    order = users(engine)
    places = [order.index(f"b{number}") for number in range(10)]
    assert places == sorted(places)
    for number, place in enumerate(places):
        alone = number + 1  # the one that ran already, and its own before it
        assert place <= 2 * alone + 1, f"b{number} had place {place}"


async def test_retry_after_of_a_busy_fleet_is_how_its_line_moves(gateway, awake):
    script, turns = one_by_one()
    fleet, _, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_queue_seconds=600, max_held_requests=30
    )
    clients = [await gateway.client() for _ in range(61)]
    for client in clients[:31]:
        await client.send(request(chat()))
    await until(lambda: len(fleet.line) == 30)
    loop = asyncio.get_running_loop()
    until_then = loop.time() + 2.0
    for client in clients[31:]:  # it moves: one leaves, one comes
        turns.release()
        await until(lambda: len(fleet.line) == 29)
        await client.send(request(chat()))
        await until(lambda: len(fleet.line) == 30)
        await asyncio.sleep(0.01)
    await until(lambda: loop.time() > until_then and fleet.situation().gone_in)
    told = []
    for _ in range(12):
        before = fleet.situation().gone_in
        answer = await gateway.ask(chat())
        after = fleet.situation().gone_in
        assert (answer.status, answer.error["code"]) == (429, "QueueFull")
        told.append(int(answer.headers["retry-after"]))
        low, high = min(600, before, after), min(600, max(before, after))
        assert math.ceil(max(1.0, low)) <= told[-1] <= math.ceil(max(1.0, high) + max(2, high / 4))
    assert len(set(told)) > 1, "and not the same for all"
    for _ in range(31):
        turns.release()
    for client in clients:
        assert json.loads((await client.answer()).body)["usage"]
