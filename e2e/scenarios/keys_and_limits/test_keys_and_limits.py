"""API keys out of a Secret, their limits over one and over two gateways, and the bounds of one request.

One release for all of these tests, since none of them hurts it: they differ in the keys that they use and in
how many gateways they want. Who asks is the `openai` client wherever a user would use it.
"""

import asyncio
import contextlib
import hashlib
import json
import time

import pytest

from e2e.support import http1
from e2e.support.chat import chat
from e2e.support.gateways import lives, look_again, scale, under_way
from e2e.support.own import OwnRelease
from e2e.support.waiting import until

SECRET = "api-keys"  # of Kubernetes, in the release's namespace
A_MINUTE = 12  # requests
OLD, NEW = "sk-of-a-team-until-today", "sk-of-a-team-from-today"
# Whoever has no other name here has a key of this form.
PLAIN = "sk-of-{}-0123456789abcdef"
# A step takes 10 ms. The fleet's own time is a second, so that one test can see it end; others ask for more.
ENDLESS = 40_000  # tokens, some 400 s
PATIENT = {"x-request-timeout": "600"}
WIDE = ["--startup-seconds=1", "--step-ms=10,0,0,0", "--max-model-len=65536", "--kv-tokens=4000000"]
NARROW = ["--startup-seconds=1", "--step-ms=20,0,0,0", "--max-model-len=65536", "--max-num-seqs=1"]
BOUNDS = {
    "maxOutputTokens": {"default": 7, "maximum": ENDLESS},
    "timeoutSeconds": {"default": 1, "maximum": 600},
}


def hashed(*keys: str) -> str:
    return json.dumps({"sha256": [hashlib.sha256(key.encode()).hexdigest() for key in keys]})


def entry(name: str, **limits: object) -> str:
    return json.dumps({"key": PLAIN.format(name), **limits})


# --- one release with two fleets ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def ns(world):
    name = world.open_namespace("keys_and_limits")
    yield name
    world.close_namespace(name)


@pytest.fixture(scope="module")
def fleets(world, ns):
    """Both are there before the operator is, so that their start and the install's take the same seconds."""
    awake = {"minReplicas": 1, "maxReplicas": 1}
    # One request at once and one in the pod's own queue; the rest waits at the gateway.
    line = {**awake, "signals": {"queueDepth": {"target": 1}}}
    return (
        world.make(ns, "wide", wait=False, args=WIDE, scaling=awake, traffic=BOUNDS),
        world.make(ns, "narrow", wait=False, args=NARROW, scaling=line, traffic={"maxQueueSeconds": 600}),
    )


@pytest.fixture(scope="module")
def own(world, unshared, ns, fleets):
    home = world.open_namespace("keys_and_limits-home")
    keys = {
        "team": hashed(OLD),
        "day": entry("day"),
        "night": entry("night", priority="batch"),
        "reader": entry("reader", models=[fleets[1].model]),
        "hasty": entry("hasty", requestsPerMinute=A_MINUTE),
        "wordy": entry("wordy", tokensPerMinute=100),
        "four": entry("four", concurrentRequests=4),
    }
    world.cluster.create("secrets", {"metadata": {"name": SECRET}, "stringData": keys}, home)
    release = OwnRelease(world.machine, home, ns)
    release.install(gateways=2, gateway={"apiKeys": {"secretName": SECRET}})
    for fleet in fleets:
        fleet.wait_replicas(1)
    yield release
    world.close_namespace(home)


@pytest.fixture(scope="module")
def wide(own, fleets):
    return fleets[0]


@pytest.fixture(scope="module")
def narrow(own, fleets):
    return fleets[1]


@pytest.fixture
def client(own):
    """Make the client of a key: `client("day")`, or `client(key=...)`. It repeats nothing on its own."""
    import openai  # noqa: PLC0415 (seconds of a processor, in every worker that collects this file)

    with contextlib.ExitStack() as made:
        url = f"http://{own.gateway}/v1"

        def make(name="", *, key="", headers=PATIENT):
            api_key = key or PLAIN.format(name)
            return made.enter_context(
                openai.OpenAI(
                    base_url=url, api_key=api_key, max_retries=0, timeout=60, default_headers=headers
                )
            )

        yield make


def say(client, fleet, **more):
    """One chat completion."""
    return client.chat.completions.create(
        model=fleet.model, messages=[{"role": "user", "content": "Hello?"}], **more
    )


def begin(client, fleet):
    """A stream without an end in sight, on a connection of its own, so that any gateway may get it."""
    return say(client, fleet, max_tokens=ENDLESS, stream=True, extra_headers={"Connection": "close"})


def statuses(own, key):
    """What a dozen new connections are told with this key: enough that no gateway is left out."""

    async def one():
        headers = {"Authorization": f"Bearer {key}"}
        async with http1.request(own.gateway, "GET", "/v1/models", headers=headers) as answer:
            return answer.status

    async def several():
        return set(await asyncio.gather(*(one() for _ in range(12))))

    return asyncio.run(several())


# --- who may ask, and what ---------------------------------------------------------------------------


def test_a_key_opens_its_models_and_nothing_opens_without_one(own, client, wide, narrow):
    import openai  # noqa: PLC0415

    for stranger in (client(key="sk-nobody-has-this-key"), client("nobody")):
        with pytest.raises(openai.AuthenticationError) as refused:
            say(stranger, wide, max_tokens=1)
        assert refused.value.code == "invalid_api_key"
    assert statuses(own, "") == {401}
    assert say(client("day"), wide, max_tokens=1).choices[0].finish_reason == "length"

    reader = client("reader")
    assert say(reader, narrow, max_tokens=1).choices[0].finish_reason == "length"
    assert {model.id for model in reader.models.list()} == {narrow.model, "narrow"}
    told = set()
    for model in (wide.model, "wide", "no-such-model"):
        with pytest.raises(openai.NotFoundError) as unknown:
            reader.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello?"}])
        assert unknown.value.code == "model_not_found"
        told.add(unknown.value.message)
    assert len(told) == 1, f"the key learns which models there are: {told}"


def test_bounds_refuse_what_is_above_them_and_fill_in_what_is_not_said(client, wide):
    import openai  # noqa: PLC0415

    day, hurried = client("day"), client("day", headers={})
    answer = say(day, wide)
    assert answer.usage.completion_tokens == BOUNDS["maxOutputTokens"]["default"]
    assert answer.choices[0].finish_reason == "length"
    with pytest.raises(openai.BadRequestError) as refused:
        say(day, wide, max_tokens=ENDLESS + 1)
    assert (refused.value.code, refused.value.param) == ("above_maximum", "max_tokens")
    assert f"at most {ENDLESS} tokens" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        say(day, wide, extra_headers={"x-request-timeout": "601"})
    assert (refused.value.code, refused.value.param) == ("above_maximum", "x-request-timeout")
    with pytest.raises(openai.InternalServerError) as late:
        say(hurried, wide, max_tokens=ENDLESS)
    assert (late.value.status_code, late.value.code) == (504, "RequestTimeout")
    with pytest.raises(openai.APIError) as cut:
        list(say(hurried, wide, max_tokens=ENDLESS, stream=True))
    assert cut.value.code == "RequestTimeout"


# --- a key is rotated --------------------------------------------------------------------------------


def test_a_key_is_rotated_without_a_restart(own, client, wide):
    scale(own, 2)
    before = lives(own)
    assert statuses(own, OLD) == {200}
    assert statuses(own, NEW) == {401}
    flowing = begin(client(key=OLD), wide)

    rotate(own, hashed(OLD, NEW), lambda: statuses(own, NEW) == {200})
    assert statuses(own, OLD) == {200}, "the old key ended before its time"
    rotate(own, hashed(NEW), lambda: statuses(own, OLD) == {401})
    assert statuses(own, NEW) == {200}

    assert next(iter(flowing)).choices, "the stream of the old key was cut"
    flowing.close()
    assert lives(own) == before


def rotate(own, team, done):
    """Write the Secret and wait until the gateways have it."""
    own.cluster.patch("secrets", SECRET, {"stringData": {"team": team}}, own.namespace)

    def check():
        look_again(own)
        return done()

    until("the gateways have taken the change", check, every=0.5)


# --- limits ------------------------------------------------------------------------------------------


def test_gateways_share_a_limit_by_how_many_there_are(own, client, wide):
    four = client("four")
    for count in (2, 1):
        scale(own, count)
        streams: list[object] = []
        until("four requests are let in", lambda s=streams: let_in(four, wide, s) == 4, every=0.05)
        for _ in range(12):
            assert let_in(four, wide, streams) == 4, f"{count} gateways let more in than the limit"
        for stream in streams:
            stream.close()
        until("the gateways know that they ended", lambda: under_way(own, "four") == 0)


def let_in(client, fleet, streams):
    """Begin one more stream and keep it, or be refused; returns how many there are."""
    import openai  # noqa: PLC0415

    try:
        streams.append(begin(client, fleet))
        return len(streams)
    except openai.RateLimitError as error:
        refused = error
    assert refused.code == "rate_limit_exceeded"
    assert "concurrentRequests of 4" in refused.message
    assert refused.response.headers["retry-after"] in ("1", "2")  # a second, and up to a quarter more
    return len(streams)


def test_requests_per_minute_hold_and_retry_after_is_true(own, client, wide):
    scale(own, 1)
    hasty = client("hasty")
    begun = time.monotonic()
    answered, refused = ask_until_refused(hasty, wide)
    passed = time.monotonic() - begun
    assert A_MINUTE <= answered <= A_MINUTE * (1 + passed / 60)
    headers = refused.response.headers
    assert 1 <= int(headers["retry-after"]) <= 7  # one more comes every 5 s, and up to a quarter is added
    assert headers["x-ratelimit-limit-requests"] == str(A_MINUTE)
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert say(client("day"), wide, max_tokens=1).choices, "one key's limit stops another"
    # A client that waits as it is told needs one repetition.
    assert say(hasty.with_options(max_retries=1), wide, max_tokens=1).choices


def ask_until_refused(client, fleet):
    """Ask for one token again and again: (how often there was an answer, the refusal)."""
    import openai  # noqa: PLC0415

    for answered in range(5 * A_MINUTE):
        try:
            say(client, fleet, max_tokens=1)
        except openai.RateLimitError as error:
            return answered, error
    raise AssertionError(f"{5 * A_MINUTE} requests were answered where {A_MINUTE} a minute are allowed")


def test_tokens_per_minute_hold(client, wide):
    import openai  # noqa: PLC0415

    wordy = client("wordy")
    # More than the whole limit: it goes, since the bucket is full, and the next one waits for what is owed.
    assert say(wordy, wide, max_tokens=200).usage.completion_tokens == 200
    with pytest.raises(openai.RateLimitError) as refused:
        say(wordy, wide, max_tokens=1)
    assert "tokensPerMinute of 100" in refused.value.message
    assert int(refused.value.response.headers["retry-after"]) >= 1


def test_batch_waits_behind_interactive(own, narrow):
    scale(own, 1)
    until("the keys are at rest", lambda: under_way(own, "day") == under_way(own, "night") == 0)
    assert asyncio.run(in_line(own, narrow)) == ["day"] * 3 + ["night"] * 2


async def in_line(own, fleet):
    """Fill the pod, let two of the night wait, then three of the day, make room; returns who ended when."""
    ended = []

    async def send(name, tokens):
        headers = {"Authorization": f"Bearer {PLAIN.format(name)}"}
        outcome = await chat(own.gateway, fleet.model, max_tokens=tokens, seconds=300, headers=headers)
        assert outcome.kind == "answered", outcome
        ended.append(name)

    async def arrive(count, name, tokens, together):
        tasks = [asyncio.create_task(send(name, tokens)) for _ in range(count)]
        await asyncio.to_thread(
            until, f"{together} of {name} are there", lambda: under_way(own, name) == together
        )
        return tasks

    ahead = await arrive(2, "day", ENDLESS, 2)
    waiting = await arrive(2, "night", 20, 2)
    waiting += await arrive(3, "day", 20, 5)
    for task in ahead:
        task.cancel()
    await asyncio.gather(*waiting)
    return ended
