"""From zero to an answer: the request is held, the fleet wakes, the answer arrives on the same connection."""

import asyncio

import pytest

from e2e.support import http1
from e2e.support.chat import body, chat_now
from e2e.support.load import burst
from e2e.support.waiting import until


@pytest.fixture
def client(world):
    import openai  # noqa: PLC0415 (seconds of a processor, in every worker that collects this file)

    with openai.OpenAI(
        base_url=f"http://{world.gateway}/v1", api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def test_a_plain_request_is_held_and_answered(client, make):
    fleet = make("plain")
    answer = client.chat.completions.create(
        model=fleet.model, messages=[{"role": "user", "content": "Hello?"}], max_tokens=12
    )
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason
    assert answer.usage.completion_tokens == 12
    awake = fleet.wait("Ready", reason="Serving")
    assert awake
    assert fleet.status()["coldStart"]["lastSeconds"]
    fleet.wait_asleep()
    assert fleet.wait("Ready", reason="Asleep")


def test_a_stream_is_kept_alive_until_the_first_token(client, world, make):
    fleet = make("kept", args=["--startup-seconds=7"])
    raw = burst(world.gateway, fleet.model, 1, stream=True, max_tokens=5)
    with client.chat.completions.create(
        model=fleet.model, messages=[{"role": "user", "content": "Hello?"}], max_tokens=5, stream=True
    ) as stream:
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces)
    (seen,) = raw.end().outcomes
    assert seen.kind == "answered", seen
    assert seen.first_comment_at is not None, "no comment came while the fleet woke"
    assert seen.first_comment_at < seen.first_data_at


def test_with_hold_a_stream_waits_in_silence(world, make):
    fleet = make("silent", traffic={"coldStart": {"response": "Hold"}})
    seen = chat_now(world.gateway, fleet.model, stream=True)
    assert seen.kind == "answered", seen
    assert seen.first_comment_at is None


def test_with_reject_the_client_is_sent_away_and_the_fleet_wakes(world, make):
    fleet = make("busy", scaling={"idleSeconds": 20}, traffic={"coldStart": {"response": "Reject"}})
    seen = chat_now(world.gateway, fleet.model)
    assert seen.kind == "refused", seen
    assert seen.status == 503
    assert int(seen.retry_after) >= 1
    assert "is asleep and now waking" in seen.error["message"], seen.error  # and did not wait for it in vain
    fleet.wait("Ready", reason="Serving")
    assert chat_now(world.gateway, fleet.model).kind == "answered"


def test_the_wake_goes_on_when_the_client_leaves(world, make):
    fleet = make("left", args=["--startup-seconds=2"], scaling={"idleSeconds": 20})

    async def leave_early() -> None:
        payload = body(fleet.model, stream=True, max_tokens=5)
        async with http1.request(world.gateway, "POST", "/v1/chat/completions", payload) as answer:
            first = await anext(answer.pieces())
            assert first.startswith(b":"), f"answered before the fleet could be awake: {first!r}"

    asyncio.run(leave_early())
    until("the fleet is awake without any client", fleet.ready_pods)


def test_the_host_names_the_fleet_and_the_model_does_too(world, ns, make):
    fleet = make("named", model={"name": f"nick-{ns}"}, scaling={"idleSeconds": 20})
    host = {"Host": f"{fleet.name}.{ns}"}
    for model, headers in ((f"{ns}/nick-{ns}", None), (f"nick-{ns}", None), (f"nick-{ns}", host)):
        seen = chat_now(world.gateway, model, headers=headers)
        assert seen.kind == "answered", (model, headers, seen)
    stranger = chat_now(world.gateway, "no-such-model")
    assert stranger.status == 404
    assert stranger.error["code"] == "model_not_found", stranger.error
