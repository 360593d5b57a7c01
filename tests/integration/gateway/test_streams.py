"""The two streams: launchers' word in, demand out."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from torpor_gateway.doors import Door

from tests.integration.gateway.harness import Client, chat, request, until
from tests.integration.gateway.scripted import TOKEN, json_answer


class Operator:
    """Reads a demand stream; `lines` are (time, line)."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self.client.reader.readuntil(b"\r\n\r\n")
            while True:
                line = await self.client.reader.readuntil(b"\n")
                self.lines.append((loop.time(), json.loads(line)))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for _, line in self.lines if line["type"] == kind]

    @property
    def last(self) -> dict[str, Any]:
        return self.of("fleet")[-1]

    def close(self) -> None:
        self._task.cancel()
        self.client.leave()


@pytest.fixture
async def listen(gateway, connect):
    door = Door({"/v1/demand": gateway.demand.visit})
    port = await door.open("127.0.0.1", 0)
    operators = []

    async def begin(token: str = "") -> Operator:
        client = await connect(port)
        header = f"Authorization: Bearer {token}\r\n" if token else ""
        await client.send(f"GET /v1/demand HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        operators.append(Operator(client))
        return operators[-1]

    begin.port = port
    yield begin
    for operator in operators:
        operator.close()
    await door.close()


async def test_the_stream_begins_with_who_it_is(gateway, listen):
    operator = await listen()
    await until(lambda: operator.of("heartbeat"))
    hello, beat = operator.of("hello")[0], operator.of("heartbeat")[0]
    assert 0 <= hello.pop("ageSeconds") <= beat.pop("ageSeconds")
    assert hello == {
        "v": 1,
        "type": "hello",
        "bootId": gateway.demand.boot_id,
        "gateway": "gw-0",
        "state": "Serving",
    }
    assert beat == hello | {"type": "heartbeat", "fleets": 0, "synced": True}
    gateway.demand.drain()
    await until(lambda: operator.of("heartbeat")[-1]["state"] == "Draining")


async def test_the_first_held_request_is_told_at_once(gateway, listen, monkeypatch):
    # Without ticks and heartbeats there is only the word that is sent at once.
    monkeypatch.setattr("torpor_gateway.demand._INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr("torpor_gateway.demand.HEARTBEAT_SECONDS", 3600.0)
    fleet = gateway.managed()
    operator = await listen()
    await until(lambda: operator.of("heartbeat"))
    for number in range(1, 4):
        client = await gateway.client()
        await client.send(request(chat()))
        await until(lambda: len(operator.of("fleet")) == number)  # noqa: B023
        assert (operator.last["held"]["count"], operator.last["arrivals"]) == (1, number)
        client.leave()
        await until(lambda: not len(fleet.line))
    assert operator.last["uid"] == "uid-1"


async def test_many_changes_are_one_line_a_second(gateway, listen, engines):
    fleet = gateway.static(await engines())
    loop = asyncio.get_running_loop()
    begin = loop.time()
    operator = await listen()
    client = await gateway.client()
    while loop.time() - begin < 2.2:
        await client.ask(request(chat()))
    await until(lambda: operator.of("fleet") and operator.last["completed"] == fleet.completed)
    assert operator.last["inFlight"] == 0
    # One at the beginning, one a second after it: counted, since a line may be read long after it was sent.
    assert len(operator.of("fleet")) <= 2 + (loop.time() - begin)
    assert fleet.completed > 20
    assert operator.last["completed"] == operator.last["arrivals"]
    assert operator.last["promptTokens"] == 7 * operator.last["completed"]


async def test_the_sums_are_those_of_the_requests(gateway, listen, engines):
    """Every way a request may end, each with lengths of its own."""
    told = {"prompt_tokens": 0, "completion_tokens": 0}

    async def script(call):
        await call.send(json_answer({"choices": [], "usage": told}))

    async def long(call):
        await call.send(json_answer({"choices": [{"text": "x" * 2_000_000}], "usage": told}))

    async def broken(call):
        await call.send(json_answer({"error": {"message": "no"}}, status=500))

    engine = await engines(script)
    gateway.static(engine)
    operator = await listen()
    lengths = [(300, 20), (7, 400), (1000, 1)]
    for prompt, output in lengths:
        told.update(prompt_tokens=prompt, completion_tokens=output)
        engine.script = long if output == 400 else script
        assert (await gateway.ask(chat())).status == 200
    engine.script = broken
    assert (await gateway.ask(chat())).status == 500
    engine.script = script
    told.update(prompt_tokens=50, completion_tokens=60)
    again = chat(text="x" * 8000)
    assert (await gateway.ask(again, headers="x-stainless-retry-count: 1\r\n")).status == 200
    assert (await gateway.ask({"model": "llm", "prompt": "x" * 5000}, path="/tokenize")).status == 200
    lengths.append((50, 60))
    await until(lambda: operator.of("fleet") and operator.last["completed"] == 5)
    last = operator.last
    assert (last["arrivals"], last["retries"], last["failed"]) == (5, 1, 1)
    assert last["promptTokens"] == sum(i for i, _ in lengths)
    assert last["outputTokens"] == sum(o for _, o in lengths)
    assert last["promptSquares"] == sum(i * i for i, _ in lengths)
    assert last["outputSquares"] == sum(o * o for _, o in lengths)
    assert last["products"] == sum(i * o for i, o in lengths)
    # Four bodies of a hundred bytes arrived. The long one was a repeat, and splitting text takes no step.
    assert 100 <= last["arrivedPromptTokens"] <= 4 * 200


async def test_arrived_prompts_never_go_back_and_waiting_ones_are_counted(gateway, listen, engines):
    fleet = gateway.managed()
    operator = await listen()
    client = await gateway.waiting(fleet, chat(text="x" * 4000))
    await until(lambda: operator.of("fleet"))
    assert 1000 <= operator.last["waitingPromptTokens"] <= 1100
    assert operator.last["arrivedPromptTokens"] == operator.last["waitingPromptTokens"]
    seen = [fleet.arrived_prompt_tokens]
    for _ in range(50):
        fleet.ratios.learn_prompt(1, 4000)
        seen.append(fleet.arrived_prompt_tokens)
    another = await gateway.waiting(fleet, chat(text="x" * 4000))
    assert sorted(seen) == seen
    assert fleet.waiting_prompt_tokens < seen[0]  # what waits is estimated anew
    client.leave()
    another.leave()
    await until(lambda: not len(fleet.line))
    assert fleet.waiting_prompt_tokens == 0


async def test_idle_fleets_are_left_out_and_a_late_reader_hears_the_rest(gateway, listen, engines):
    gateway.managed()
    gateway.static(await engines(), name="used")
    await gateway.ask(chat(model="used"))
    operator = await listen()
    await until(lambda: operator.of("fleet"))
    assert [line["name"] for line in operator.of("fleet")] == ["used"]


async def test_queued_and_held_are_different_things(gateway, listen, engines):
    async def forever(call):
        await call.until_left()

    engine = await engines(forever)
    gateway.static(engine, limit=1)
    operator = await listen()
    clients = [await gateway.client() for _ in range(3)]
    for client in clients:
        await client.send(request(chat()))
    await until(lambda: operator.of("fleet") and operator.last["queued"] == 2)
    assert operator.last["inFlight"] == 1
    assert operator.last["held"] == {"count": 0, "bytes": 0, "oldestSeconds": 0.0}


async def test_the_token_is_checked(gateway, listen, tmp_path, connect):
    gateway.managed()
    file = tmp_path / "token"
    file.write_text("right\n")
    gateway.demand._token_file = file

    async def status(header: str) -> int:
        client = await connect(listen.port)
        await client.send(f"GET /v1/demand HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        answer = await client.head()
        client.leave()
        return answer.status

    for header in (
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic right\r\n",
    ):
        assert await status(header) == 401
    assert gateway.demand.refused == 4
    assert await status("Authorization: Bearer right\r\n") == 200
    file.write_text("new")
    assert await status("Authorization: Bearer right\r\n") == 401
    assert await status("Authorization: Bearer new\r\n") == 200
    file.write_text("")
    assert await status("Authorization: Bearer \r\n") == 401
    file.unlink()
    assert await status("Authorization: Bearer new\r\n") == 401


async def test_a_pod_is_routable_when_its_launcher_says_so(gateway, launchers, engines, listen):
    engine, launcher = await engines(), await launchers()
    fleet = gateway.managed()
    gateway.pods(fleet, (engine, launcher))
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await until(lambda: launcher.streams and len(fleet.line) == 1)
    for state in ("Loading", "Warming"):
        launcher.say(state=state)
        await asyncio.sleep(0.02)
        assert not engine.calls
    launcher.ready()
    await client.read_until(TOKEN)
    operator = await listen()
    await until(lambda: operator.of("fleet"))
    pod = operator.last["pods"]["llm-0"]
    assert pod["matched"]
    assert pod["stats"]["state"] == "Ready"
    assert pod["ageSeconds"] >= 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"fleetUid": "other"},
        {"fleetUid": None},
        {"models": ["other"]},
        {"models": None},
        {"state": "Draining"},
    ],
)
async def test_a_stranger_at_the_address_gets_nothing(gateway, launchers, engines, wrong):
    engine, launcher = await engines(), await launchers()
    launcher.ready(**wrong)
    fleet = gateway.managed(unary_hold_seconds=0.5)
    gateway.pods(fleet, (engine, launcher))
    await until(lambda: next(iter(fleet.endpoints.values())).stats is not None)
    assert (await gateway.ask(chat())).status == 503
    assert engine.calls == []


async def test_a_terminating_pod_gets_no_new_work(gateway, awake):
    fleet, engine, _ = await awake()
    next(iter(fleet.endpoints.values())).terminating = True
    fleet.refresh()
    await gateway.waiting(fleet)
    assert engine.calls == []


async def test_a_launcher_that_is_gone_is_noticed_at_once_and_found_again(awake):
    fleet, _, launcher = await awake()
    await launcher.close()
    await until(lambda: not fleet.ready)
    await launcher.open(launcher.port)
    await until(lambda: fleet.ready)


async def test_a_launcher_that_falls_silent_is_believed_for_a_while(start, launchers, engines):
    gateway = await start(stats_fresh_seconds=0.6)
    engine, launcher = await engines(), await launchers()
    launcher.ready()
    fleet = gateway.managed()
    gateway.pods(fleet, (engine, launcher))
    await until(lambda: fleet.ready)
    endpoint = fleet.ready[0]
    launcher.stop_accepting()  # new connections are refused, the old one stays open and silent
    await until(lambda: not fleet.ready)
    now = asyncio.get_running_loop().time()
    assert now - endpoint.heard_at >= 0.6
    assert not endpoint.routable(now, 0.6)


async def test_reports_move_the_dispatch_line(gateway, awake):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({}))

    fleet, _, launcher = await awake(slow, stats={"maxNumSeqs": 2}, queue_depth_target=1)
    clients = [await gateway.client() for _ in range(5)]
    for client in clients:
        await client.send(request(chat()))
    await until(lambda: fleet.arrivals == 5)
    assert (fleet.in_flight, len(fleet.line)) == (3, 2)
    launcher.ready(maxNumSeqs=3, running=3)
    await until(lambda: fleet.in_flight == 4)
    launcher.ready(maxNumSeqs=3, running=4, waiting=5)  # others' work: no more from us
    await asyncio.sleep(0.05)
    assert fleet.in_flight == 4
    release.set()
    launcher.ready(maxNumSeqs=8)
    for client in clients:
        assert (await client.answer()).status == 200


async def test_a_herd_is_released_as_the_pod_takes_it(gateway, launchers, engines):
    at_once = most = 0

    async def slow(call):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.002)
        at_once -= 1
        await call.send(json_answer({}))

    engine, launcher = await engines(slow), await launchers()
    fleet = gateway.managed(queue_depth_target=2)
    gateway.pods(fleet, (engine, launcher))
    clients = [await gateway.client() for _ in range(200)]
    for client in clients:
        await client.send(request(chat()))
    await until(lambda: len(fleet.line) == 200)
    launcher.ready(maxNumSeqs=8)
    for client in clients:
        assert (await client.answer()).status == 200
    assert most <= 10
    assert fleet.completed == 200
