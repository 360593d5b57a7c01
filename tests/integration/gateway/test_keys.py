"""API keys on real connections: who may ask, what they see, their limits, and a flood."""

import asyncio
import json

from torpor.api.names import FleetKey
from torpor_gateway.keys import read_entries
from torpor_gateway.metrics import exposition, generate_latest
from torpor_gateway.policy import FleetSpec, Policy

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, TOKEN, json_answer, stream_answer

A, B, NIGHT = "sk-key-of-team-a-0001", "sk-key-of-team-b-0002", "sk-key-of-the-night-03"


def let_in(gateway, **entries):
    """Give the gateway keys: by name, the key itself or an entry. Its clock stands: no bucket fills again."""
    gateway.server.gate.now = lambda: 0.0
    gateway.server.gate.replace(read_entries({name: json.dumps(entry) for name, entry in entries.items()}))


def bearer(key):
    return f"Authorization: Bearer {key}\r\n"


async def asks(gateway, fleet, key, *users, **more):
    """Send one request after the other with the key; each is in the gateway before the next."""
    clients = []
    for user in users:
        before = fleet.arrivals
        clients.append(await gateway.client())
        await clients[-1].send(request(chat(user=user, **more), headers=bearer(key)))
        await until(lambda before=before: fleet.arrivals == before + 1, seconds=30)
    return clients


def users(engine):
    return [json.loads(call.body)["user"] for call in engine.calls]


def one_by_one():
    """A script that answers a call each time that the semaphore is released."""
    turns = asyncio.Semaphore(0)

    async def script(call):
        await turns.acquire()
        await call.send(json_answer({"usage": {"prompt_tokens": 10, "completion_tokens": 5}}))

    return script, turns


async def test_who_has_no_key_is_told_so_in_the_shape_of_the_path(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    let_in(gateway, a=A)
    client = await gateway.client()
    bodies = set()
    for headers in ("", bearer("sk-wrong-0123456789"), f"x-api-key: {A}x\r\n", "Authorization: Bearer \r\n"):
        answer = await client.ask(request(chat(), headers=headers))
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        bodies.add(answer.body)
    assert len(bodies) == 1
    answer = await client.ask(request(chat(), "/v1/messages"))
    value = json.loads(answer.body)
    assert (answer.status, value["type"], value["error"]["type"]) == (401, "error", "authentication_error")
    assert (await client.ask(request(b"", "/v1/models", method="GET"))).status == 401
    for probe in ("/healthz", "/readyz"):
        assert (await client.ask(request(b"", probe, method="GET"))).status == 200
    assert (await client.ask(request(chat(), headers=bearer(A)))).status == 200
    assert len(engine.calls) == 1


async def test_a_large_upload_without_a_key_is_refused_before_it_comes(gateway):
    let_in(gateway, a=A)
    client = await gateway.client()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gw\r\nContent-Length: 30000000\r\n\r\n"
    await client.send(head + b"x" * 1000)
    assert (await client.answer()).status == 401
    assert gateway.server.buffered_bytes == 0


async def test_the_key_does_not_reach_the_engine_nor_the_metrics(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    let_in(gateway, a={"key": A, "requestsPerMinute": 60})
    for header in (bearer(A), f"X-API-Key: {A}\r\n"):
        assert (await gateway.ask(chat(), headers=header)).status == 200
    assert all(A.encode() not in call.head + call.body for call in engine.calls)
    text = generate_latest(exposition(gateway.server, None)).decode()
    assert 'torpor_gateway_key_requests_total{key="a"} 2.0' in text
    assert 'torpor_gateway_key_tokens_total{key="a",kind="prompt"} 14.0' in text
    assert 'torpor_gateway_key_tokens_total{key="a",kind="output"} 6.0' in text
    assert "torpor_gateway_open 0.0" in text
    assert A not in text


async def test_a_key_sees_and_reaches_only_its_models(gateway, engines):
    engine = await engines()
    for namespace, name in (("a", "llm"), ("a", "small"), ("b", "llm")):
        spec = FleetSpec(
            FleetKey(namespace, name), f"{namespace}-{name}", (name, f"{namespace}/{name}"), Policy()
        )
        fleet = gateway.registry.put(spec, managed=True)
        gateway.registry.set_endpoints(fleet, [gateway.registry.endpoint(fleet, "127.0.0.1", engine.port)])
    let_in(gateway, a={"key": A, "models": ["small", "b/*"]}, b=B)

    async def listed(key, host="gw"):
        answer = await gateway.ask(b"", "/v1/models", method="GET", headers=bearer(key), host=host)
        return [model["id"] for model in json.loads(answer.body)["data"]]

    # The bare name llm belongs to a's fleet, the older one by name.
    assert await listed(A) == ["a/small", "b/llm", "small"]
    assert await listed(B) == ["a/llm", "a/small", "b/llm", "llm", "small"]
    assert await listed(A, "llm.a") == []
    assert await listed(A, "small.a") == ["small", "a/small"]

    seen = set()
    for model, host in (
        ("llm", "gw"),
        ("a/llm", "gw"),
        ("nowhere", "gw"),
        ("llm", "llm.a"),
        ("x", "small.a"),
    ):
        answer = await gateway.ask(chat(model=model), headers=bearer(A), host=host)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
        seen.add(answer.body)
    assert len(seen) == 1, "whether a model exists is not told"
    one = await gateway.ask(b"", "/v1/models/a%2Fllm", method="GET", headers=bearer(A))
    assert one.body in seen
    for model, host in (("small", "gw"), ("a/small", "gw"), ("b/llm", "gw"), ("llm", "llm.b")):
        assert (await gateway.ask(chat(model=model), headers=bearer(A), host=host)).status == 200
    assert gateway.server.gate.states["a"].refusals == {"model": 3}


async def test_limits_answer_429_with_the_headers_of_openai(gateway, engines):
    gateway.static(await engines())
    let_in(gateway, a={"key": A, "requestsPerMinute": 2, "tokensPerMinute": 100_000}, b=B)
    client = await gateway.client()
    for left in (1, 0):
        answer = await client.ask(request(chat(stream=bool(left)), headers=bearer(A)))
        assert answer.status == 200
        assert answer.ended
        assert answer.headers["x-ratelimit-limit-requests"] == "2"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
        assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
        assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
        assert answer.headers["x-ratelimit-reset-tokens"]
    answer = await client.ask(request(chat(), headers=bearer(A)))
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "API key a: its requestsPerMinute of 2 are used up" in answer.error["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 38
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    answer = await client.ask(request(chat(), headers=bearer(B)))
    assert answer.status == 200
    assert "x-ratelimit-limit-requests" not in answer.headers


async def test_a_place_is_given_back_however_a_request_ends(gateway, engines):
    script, turns = one_by_one()
    engine = await engines(script)
    fleet = gateway.static(engine)
    let_in(gateway, a={"key": A, "concurrentRequests": 1, "tokensPerMinute": 1000})
    state = gateway.server.gate.states["a"]
    (client,) = await asks(gateway, fleet, A, "one")
    refused = await gateway.ask(chat(), headers=bearer(A))
    assert refused.status == 429
    assert "concurrentRequests of 1" in refused.error["message"]
    turns.release()
    assert (await client.answer()).status == 200
    await until(lambda: not state.under_way, seconds=30)
    (client,) = await asks(gateway, fleet, A, "two")
    client.leave()
    await until(lambda: not state.under_way, seconds=30)
    engine.script = None
    await engine.close()  # nobody answers any more
    assert (await gateway.ask(chat(), headers=bearer(A))).status == 503
    assert state.under_way == 0
    assert state.refusals == {"concurrentRequests": 1, "EngineGone": 1}
    assert state.output_tokens == 5


async def test_a_stream_is_charged_what_its_usage_says(gateway, engines):
    told = b'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":60}}\n\n'

    async def script(call):
        await call.send(stream_answer(TOKEN, TOKEN, told, DONE))

    gateway.static(await engines(script))
    let_in(gateway, a={"key": A, "tokensPerMinute": 1000})
    state = gateway.server.gate.states["a"]
    assert (await gateway.ask(chat(stream=True), headers=bearer(A))).ended
    await until(lambda: not state.under_way, seconds=30)
    assert (state.prompt_tokens, state.output_tokens) == (40, 60)
    assert state.tokens.level(0.0) == 900


# --- the line ---------------------------------------------------------------------------------------


async def test_a_key_that_floods_leaves_the_others_their_turns(gateway, awake):
    script, turns = one_by_one()
    fleet, engine, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_queue_seconds=600
    )
    let_in(gateway, a=A, b=B)
    clients = await asks(gateway, fleet, A, *[f"a{i}" for i in range(30)])
    clients += await asks(gateway, fleet, B, "b0", "b1", "b2", "b3")
    for _ in clients:
        turns.release()
    for client in clients:
        assert (await client.answer()).status == 200
    order = users(engine)
    assert order[:9] == ["a0", "a1", "b0", "a2", "b1", "a3", "b2", "a4", "b3"]
    for who in "ab":
        mine = [user for user in order if user[0] == who]
        assert mine == sorted(mine, key=lambda user: int(user[1:])), "each key's requests go in order"


async def test_a_flood_that_fills_the_line_gives_up_its_places_and_nobody_elses(gateway, awake):
    script, turns = one_by_one()
    fleet, engine, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_queue_seconds=600, max_held_requests=10
    )
    let_in(gateway, a=A, b=B)
    flood = await asks(gateway, fleet, A, *[f"a{i}" for i in range(60)])
    polite = await asks(gateway, fleet, B, "b0", "b1", "b2", "b3")
    assert len(fleet.line) == 10
    for _ in range(11):
        turns.release()
    assert [(await client.answer()).status for client in polite] == [200] * 4
    outcomes = [(await client.answer()) for client in flood]
    assert [answer.status for answer in outcomes].count(200) == 7
    for answer in outcomes:
        if answer.status != 200:
            assert (answer.status, answer.error["code"]) == (429, "QueueFull")
            assert int(answer.headers["retry-after"]) >= 1
    assert users(engine) == ["a0", "a1", "b0", "a2", "b1", "a3", "b2", "a4", "b3", "a5", "a6"]
    states = gateway.server.gate.states
    assert states["a"].refusals == {"QueueFull": 53}
    assert states["b"].refusals == {}
    assert states["a"].under_way == states["b"].under_way == 0


async def test_batch_waits_behind_and_gives_up_its_place(gateway, awake):
    script, turns = one_by_one()
    fleet, engine, _ = await awake(
        script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_queue_seconds=600, max_held_requests=4
    )
    let_in(gateway, a=A, night={"key": NIGHT, "priority": "batch"})
    night = await asks(gateway, fleet, NIGHT, "there", "n1", "n2", "n3", "n4")
    day = await asks(gateway, fleet, A, "d1", "d2")
    for client, number in ((night[4], 4), (night[3], 3)):
        answer = await client.answer()
        assert (answer.status, answer.error["code"]) == (429, "QueueFull"), number
        assert "gave up its place" in answer.error["message"]
    late = await gateway.ask(chat(), headers=bearer(NIGHT))
    assert late.status == 429, "batch takes nobody's place"
    for _ in range(5):
        turns.release()
    for client in (*night[:3], *day):
        assert (await client.answer()).status == 200
    assert users(engine) == ["there", "d1", "d2", "n1", "n2"]


async def test_a_stream_that_was_kept_alive_ends_with_an_event_when_it_gives_way(gateway):
    fleet = gateway.managed(max_held_requests=1)
    let_in(gateway, a=A, night={"key": NIGHT, "priority": "batch"})
    (held,) = await asks(gateway, fleet, NIGHT, "n", stream=True)
    await held.read_until(b": waking")
    (day,) = await asks(gateway, fleet, A, "d", stream=True)
    rest = await held.closed(seconds=30)
    error = json.loads(rest.partition(b"data: ")[2].partition(b"\n\n")[0])["error"]
    assert error["code"] == "Waking"
    assert b"[DONE]" not in rest
    assert len(fleet.line) == 1
    day.leave()
    await until(lambda: not len(fleet.line), seconds=30)


async def test_without_keys_a_full_line_refuses_the_newcomer_as_ever(gateway, awake):
    script, turns = one_by_one()
    fleet, _, _ = await awake(script, stats={"maxNumSeqs": 1}, queue_depth_target=0, max_held_requests=1)
    clients = await asks(gateway, fleet, "none", "there", "waits")
    assert (await gateway.ask(chat())).status == 429
    for client in clients:
        turns.release()
        assert (await client.answer()).status == 200
