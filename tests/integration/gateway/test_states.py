"""The table of states, on the wire: what each state of a fleet answers."""

import asyncio
import time

import pytest
from torpor_gateway.policy import Condition, FleetStatus

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, TOKEN, answer_ok, json_answer


async def test_an_awake_fleet_answers(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    answer = await gateway.ask(chat())
    assert (answer.status, answer.ended) == (200, True)
    assert b'"ok": true' in answer.body
    assert (
        engine.calls[0].body
        == b'{"model": "llm", "stream": false, "messages": [{"role": "user", "content": "hello"}]}'
    )


async def test_a_stream_passes_unchanged(gateway, engines):
    gateway.static(await engines())
    answer = await gateway.ask(chat(stream=True))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.body == TOKEN + TOKEN + DONE
    assert answer.ended


async def test_an_unknown_model_is_404(gateway, engines):
    gateway.static(await engines())
    answer = await gateway.ask(chat(model="other"))
    assert answer.status == 404
    assert answer.error == {
        "message": "the model 'other' does not exist",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


async def test_asleep_a_stream_is_kept_alive_by_comments_only(gateway, engines):
    fleet = gateway.static()
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    answer = await client.head()
    assert answer.status == 200
    for _ in range(3):
        assert await client.read_until(b"\r\n")
        assert (await client.read_until(b"\n\n")).startswith(b": waking static/llm")
        await client.read_until(b"\r\n")
    engine = await engines()
    gateway.static(engine)
    rest = await client.read_until(b"0\r\n\r\n")
    assert TOKEN in rest
    assert rest.index(TOKEN) < rest.index(DONE)
    assert fleet.arrivals == fleet.completed == 1
    assert fleet.cold_since is None, "the next wake would be thought nearly over"


@pytest.mark.parametrize(("stream", "response"), [(False, "KeepAlive"), (True, "Hold")])
async def test_asleep_others_wait_in_silence(gateway, engines, stream, response):
    fleet = gateway.static(response=response)
    client = await gateway.waiting(fleet, chat(stream=stream))
    await asyncio.sleep(0.25)
    assert client.reader._buffer == b""
    gateway.static(await engines(), response=response)
    answer = await client.answer()
    assert (answer.status, answer.ended) == (200, True)


async def test_the_hold_limit_passes_with_a_true_retry_after(gateway):
    fleet = gateway.static(unary_hold_seconds=0.3)
    answer = await gateway.ask(chat())
    assert answer.status == 503
    assert answer.error["code"] == "Waking"
    assert 1 <= int(answer.headers["retry-after"]) <= 75
    assert len(fleet.line) == 0


async def test_a_kept_alive_stream_fails_with_an_event_and_no_done(gateway):
    gateway.static(hold_seconds=0.3)
    answer = await gateway.ask(chat(stream=True))
    assert answer.status == 200
    assert len(answer.events) == 1
    assert answer.events[0].startswith(b'data: {"error":{"message":"static/llm did not wake')
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize(
    ("path", "opening"),
    [
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":'),
        ("/v1/responses", b'event: error\ndata: {"type":"error",'),
    ],
)
async def test_error_events_have_the_shape_of_their_path(gateway, path, opening):
    gateway.static(hold_seconds=0.2)
    answer = await gateway.ask(chat(stream=True), path=path)
    assert answer.events[0].startswith(opening)


async def test_reject_refuses_at_once_and_still_counts_as_demand(gateway):
    fleet = gateway.static(response="Reject")
    answer = await gateway.ask(chat(stream=True))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 60
    assert answer.headers["x-should-retry"] == "false"
    assert (fleet.arrivals, fleet.refused) == (1, 1)


@pytest.mark.parametrize("limits", [{"max_held_requests": 1}, {"max_held_bytes": 200}])
async def test_no_room_to_hold_is_503(gateway, limits):
    fleet = gateway.managed(status=FleetStatus(cold_start_seconds=40), **limits)
    await gateway.waiting(fleet)
    answer = await gateway.ask(chat(padding="x" * 100))
    assert answer.status == 503
    assert 10 <= int(answer.headers["retry-after"]) <= 51  # it grows less while the test runs


async def test_a_wake_longer_than_the_limit_is_refused_at_once(gateway):
    gateway.managed(status=FleetStatus(cold_start_seconds=400), unary_hold_seconds=300)
    answer = await gateway.ask(chat())
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 399
    streamed = await gateway.client()
    await streamed.send(request(chat(stream=True)))
    assert (await streamed.head()).status == 200  # its limit is longer


async def test_a_failed_wake_is_refused_with_its_reason_until_the_next_attempt(gateway):
    failed = {"Ready": Condition("False", "WakeFailed", "ImagePullFailed: no such image")}
    gateway.managed(status=FleetStatus(failed, next_attempt=time.time() + 30))
    answer = await gateway.ask(chat())
    assert answer.status == 503
    assert answer.error["code"] == "WakeFailed"
    assert "no such image" in answer.error["message"]
    assert 10 <= int(answer.headers["retry-after"]) <= 38  # it grows less while the test runs
    fleet = gateway.managed(status=FleetStatus(failed, next_attempt=time.time() - 1))
    await gateway.waiting(fleet)


async def test_held_requests_learn_why_the_wake_failed(gateway):
    fleet = gateway.managed()
    client = await gateway.waiting(fleet, chat(stream=True))
    failed = {"Ready": Condition("False", "WakeFailed", "EngineCrashed: exit 1")}
    gateway.managed(status=FleetStatus(failed, next_attempt=time.time() + 30))
    for exchange in fleet.line:
        exchange.deadline = 0.0  # its limit passes, and not before it could be told
    answer = await client.answer()
    assert b"EngineCrashed: exit 1" in answer.events[0]


async def test_externally_at_zero_is_refused_at_once_and_counted(gateway):
    fleet = gateway.managed(replicas=0)
    answer = await gateway.ask(chat())
    assert (answer.status, answer.error["code"]) == (503, "ScaledToZeroExternally")
    assert "retry-after" in answer.headers
    assert fleet.arrivals == 1


async def test_who_is_held_when_somebody_else_says_zero_is_told_at_once(gateway):
    fleet = gateway.managed()
    client = await gateway.waiting(fleet)
    gateway.managed(replicas=0)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "ScaledToZeroExternally")
    assert fleet.cold_since is None, "a wake that will not come is counted as begun"
    gateway.managed()
    await gateway.waiting(fleet)
    assert fleet.cold_since is not None


@pytest.mark.parametrize("mode", ["Recommend", "Paused"])
async def test_a_mode_that_keeps_it_at_zero_refuses_at_once_and_holds_nobody(gateway, mode):
    fleet = gateway.managed()
    held = await gateway.waiting(fleet)
    gateway.managed(status=FleetStatus(desired_replicas=0), mode=mode)
    told = await held.answer()
    assert (told.status, told.error["code"]) == (503, mode)
    answer = await gateway.ask(chat(stream=True))
    assert (answer.status, answer.error["code"]) == (503, mode)
    assert "retry-after" in answer.headers
    assert f"spec.scaling.mode is {mode}" in answer.error["message"]
    assert (fleet.arrivals, len(fleet.line), fleet.cold_since) == (2, 0, None)
    gateway.managed(status=FleetStatus(desired_replicas=1), mode=mode)  # as many as there are start
    await gateway.waiting(fleet)


async def test_who_is_held_when_the_schedule_closes_is_told_the_opening(gateway):
    fleet = gateway.managed()
    client = await gateway.waiting(fleet)
    closed = {"Ready": Condition("True", "Closed", "closed by the schedule until Mon 08:00")}
    gateway.managed(status=FleetStatus(closed, opens=time.time() + 7200))
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "Closed")
    assert "until Mon 08:00" in answer.error["message"]
    assert 7140 <= int(answer.headers["retry-after"]) <= 7261
    assert answer.headers["x-should-retry"] == "false"
    assert fleet.cold_since is None
    assert fleet.arrivals == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_who_comes_in_closed_hours_is_told_the_opening_and_holds_nothing(gateway, stream):
    closed = {"Ready": Condition("True", "Closed", "closed by the schedule until Mon 08:00")}
    fleet = gateway.managed(status=FleetStatus(closed, opens=time.time() + 7200))
    answer = await gateway.ask(chat(stream=stream))
    assert (answer.status, answer.error["code"]) == (503, "Closed")
    assert "until Mon 08:00" in answer.error["message"]
    assert 7140 <= int(answer.headers["retry-after"]) <= 7261
    assert (fleet.arrivals, len(fleet.line), fleet.cold_since) == (1, 0, None)


async def test_all_busy_waits_then_429(gateway, engines):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({"n": 1}))

    engine = await engines(slow)
    fleet = gateway.static(engine, limit=1, max_queue_seconds=0.5)
    first, second = await gateway.client(), await gateway.client()
    await first.send(request(chat()))
    await until(lambda: engine.calls)
    await second.send(request(chat()))
    refused = await second.answer()
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    release.set()
    assert (await first.answer()).status == 200
    assert fleet.in_flight == 0


async def test_what_waits_goes_in_order_when_there_is_room(gateway, engines):
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({"n": 1}))

    engine = await engines(slow)
    fleet = gateway.static(engine, limit=1)
    clients = [await gateway.client() for _ in range(4)]
    for number, client in enumerate(clients):
        await client.send(request(chat(user=f"u{number}")))
        await until(lambda: fleet.arrivals == number + 1)  # noqa: B023
    assert len(fleet.line) == 3
    release.set()
    for client in clients:
        assert (await client.answer()).status == 200
    assert [b'"u%d"' % number in call.body for number, call in enumerate(engine.calls)] == [True] * 4


async def test_while_a_replica_starts_the_cold_start_limits_apply(gateway, engines, launchers):
    busy = asyncio.Event()

    async def slow(call):
        await busy.wait()
        await call.send(json_answer({}))

    engine, ready, starting = await engines(slow), await launchers(), await launchers()
    ready.ready(maxNumSeqs=1, running=1, waiting=0)
    fleet = gateway.managed(max_queue_seconds=0.3, queue_depth_target=0)
    gateway.pods(fleet, (engine, ready), (await engines(), starting))
    await until(lambda: fleet.ready and fleet.situation().starting == 1)
    client = await gateway.waiting(fleet)
    await asyncio.sleep(0.8)
    assert len(fleet.line) == 1, "it was refused by the queue's limit although a replica is starting"
    starting.ready()
    assert (await client.answer()).status == 200
    busy.set()


async def test_client_retries_are_not_new_work(gateway):
    fleet = gateway.static(response="Reject")
    await gateway.ask(chat(), headers="x-stainless-retry-count: 1\r\n")
    await gateway.ask(chat(), headers="x-stainless-retry-count: 0\r\n")
    assert (fleet.arrivals, fleet.retries) == (1, 1)


async def test_the_engines_own_errors_pass_with_a_retry_after(gateway, engines):
    async def full(call):
        await call.send(json_answer({"error": {"message": "full", "code": 503}}, status=503))

    gateway.static(await engines(full))
    answer = await gateway.ask(chat())
    assert answer.status == 503
    assert answer.error["message"] == "full"
    assert "retry-after" in answer.headers


async def test_an_upstream_error_after_comments_is_an_event(gateway, engines):
    async def bad(call):
        await call.send(
            json_answer(
                {"error": {"message": "too long", "type": "BadRequestError", "code": "a client's text"}},
                status=400,
            )
        )

    fleet = gateway.static()
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    await client.read_until(b": waking")
    gateway.static(await engines(bad))
    rest = await client.closed()
    assert dict(fleet.answers) == {(200, "EngineError"): 1}, "its words went into a metric's label"
    assert b'data: {"error":{"message":"too long"' in rest
    assert b"[DONE]" not in rest
    assert rest.endswith(b"0\r\n\r\n")


async def test_those_who_wait_get_the_new_limits_whoever_joins_meanwhile(gateway, engines, launchers):
    async def forever(call):
        await call.until_left()

    ready, starting = await launchers(), await launchers()
    ready.ready(maxNumSeqs=1, running=1)
    engine = await engines(forever)
    fleet = gateway.managed(max_queue_seconds=30, queue_depth_target=0)
    gateway.pods(fleet, (engine, ready))
    await until(lambda: fleet.ready)
    await gateway.waiting(fleet)
    (first,) = fleet.line
    assert first.deadline - first.arrived < 100  # a slot's limit, and a wake's are 300 s
    gateway.pods(fleet, (engine, ready), (await engines(), starting))
    await until(lambda: fleet.situation().starting == 1)
    second = await gateway.client()
    await second.send(request(chat()))
    await until(lambda: len(fleet.line) == 2)
    assert [exchange.deadline - exchange.arrived > 200 for exchange in fleet.line] == [True, True]


async def test_a_pod_that_failed_once_does_not_put_its_fleet_to_sleep(gateway, awake):
    async def once(call):
        engine.script = answer_ok
        call.reset()

    fleet, engine, _ = await awake(once)
    await gateway.waiting(fleet)
    assert not fleet.asleep
    other = await gateway.client()
    await other.send(request(chat(stream=True)))
    answer = await other.answer()
    assert answer.body.startswith(b"data:"), "it was told that the fleet is asleep"
