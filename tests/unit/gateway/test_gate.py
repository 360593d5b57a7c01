"""The gate: identification, buckets, shares, headers, and the number of processes that share a limit."""

import contextlib
import re
import ssl
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.answers import Refusal, refuse
from torpor_gateway.buckets import Bucket
from torpor_gateway.cluster import ClusterSource
from torpor_gateway.gate import Gate, duration
from torpor_gateway.keys import ApiKey, digest
from torpor_gateway.kube import Access
from torpor_gateway.request import RequestHead, parse_head
from torpor_gateway.settings import Settings
from torpor_gateway.siblings import Siblings
from torpor_gateway.surface import Shape

KEY = b"sk-0123456789abcdef"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return Gate(clock)


def key(name="team", secret=KEY, **limits):
    return ApiKey(name, (digest(secret),), **limits)


def head(*lines: bytes) -> RequestHead:
    raw = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + b"".join(b"%b\r\n" % line for line in lines)
    return parse_head(raw + b"\r\n", 100)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Authorization: Bearer " + KEY],
        [b"authorization: bearer   " + KEY],
        [b"x-api-key: " + KEY],
        [b"Authorization: Bearer nonsense-of-a-client", b"X-Api-Key: " + KEY],
    ],
)
def test_a_key_is_taken_from_either_header(gate, lines):
    gate.replace([key()])
    parsed = head(*lines)
    assert gate.identify(parsed).key.name == "team"
    assert KEY not in parsed.forward


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"Authorization: "],
        [b"Authorization: Bearer"],
        [b"Authorization: Bearer "],
        [b"Authorization: " + KEY],
        [b"Authorization: Basic " + KEY],
        [b"Authorization: Bearer " + KEY + b"x"],
        [b"Authorization: Bearer " + KEY[:-1]],
        [b"Authorization: Bearer \xc3\xa9\xff"],
        [b"Authorization: Bearer " + KEY, b"Authorization: Bearer other"],
        [b"x-api-key: " + KEY, b"x-api-key: " + KEY],
        [b"x-api-key: " + b"k" * 20_000],
    ],
)
def test_no_key_and_a_wrong_one_get_the_same_answer(gate, lines):
    gate.replace([key()])
    with pytest.raises(Refusal) as raised:
        gate.identify(head(*lines))
    with pytest.raises(Refusal) as other:
        gate.identify(head())
    assert raised.value == other.value
    assert (raised.value.status, raised.value.code) == (401, "invalid_api_key")


def test_the_answer_has_the_shape_of_the_path(gate):
    gate.replace([])
    with pytest.raises(Refusal) as raised:
        gate.identify(head())
    assert b'"type":"invalid_request_error","param":null,"code":"invalid_api_key"' in refuse(
        raised.value, Shape.OPENAI, close=False
    )
    anthropic = refuse(raised.value, Shape.ANTHROPIC, close=False)
    assert b'{"type":"error","error":{"message":' in anthropic
    assert b'"type":"authentication_error"' in anthropic
    assert b"\r\nWWW-Authenticate: Bearer\r\n" in anthropic


def test_without_keys_everybody_may_ask(gate):
    assert gate.open
    assert gate.identify(head()) is None
    gate.replace([])
    assert not gate.open


def refused(gate, state, tokens=0):
    with pytest.raises(Refusal) as raised:
        gate.admit(state, tokens)
    assert (raised.value.status, raised.value.code) == (429, "rate_limit_exceeded")
    return raised.value


def state_of(gate, **limits):
    gate.replace([key(**limits)])
    return gate.states["team"]


def test_so_many_at_once(gate):
    state = state_of(gate, concurrent_requests=2)
    leases = [gate.admit(state, 0) for _ in range(2)]
    refusal = refused(gate, state)
    assert "concurrentRequests of 2" in refusal.message
    assert 1.0 <= refusal.retry_after <= 1.25
    leases[0].end(1, 2)
    gate.admit(state, 0)
    assert (state.refusals, state.admitted) == ({"concurrentRequests": 1}, 3)
    assert (state.prompt_tokens, state.output_tokens) == (1, 2)


def test_so_many_a_minute_and_who_waits_as_told_is_let_in(gate, clock):
    state = state_of(gate, requests_per_minute=6)
    for _ in range(6):
        gate.admit(state, 0)
    refusal = refused(gate, state)
    assert 10.0 <= refusal.retry_after <= 12.5
    clock.now += refusal.retry_after
    gate.admit(state, 0)
    refused(gate, state)


def test_tokens_are_charged_as_expected_and_put_right_in_the_end(gate, clock):
    state = state_of(gate, tokens_per_minute=600)
    lease = gate.admit(state, 500)
    refused(gate, state, 200)  # 100 are left
    lease.end(30, 70)
    assert state.tokens.level(clock.now) == 500
    gate.admit(state, 100).end(100, 1000)
    assert state.tokens.level(clock.now) == -600
    refusal = refused(gate, state, 60)
    assert 66 <= refusal.retry_after <= 66 * 1.25
    clock.now += 66
    gate.admit(state, 60)


def test_a_request_larger_than_the_bucket_goes_when_the_bucket_is_full(gate, clock):
    state = state_of(gate, tokens_per_minute=100)
    gate.admit(state, 250)
    refused(gate, state, 250)
    clock.now += 150
    gate.admit(state, 250)


def test_a_refused_request_costs_nothing_of_any_limit(gate, clock):
    state = state_of(gate, concurrent_requests=9, requests_per_minute=10, tokens_per_minute=10)
    gate.admit(state, 10)
    for _ in range(5):
        refused(gate, state, 10)
    assert state.requests.level(clock.now) == 9
    assert state.under_way == 1


def test_each_process_enforces_its_share_and_at_least_one(gate, clock):
    state = state_of(gate, concurrent_requests=5, requests_per_minute=3)
    gate.share(2)
    gate.admit(state, 0)
    assert state.requests.level(clock.now) == 0.5
    assert "shared by 2 gateway processes" in refused(gate, state).message
    gate.share(10)
    assert state.requests.level(clock.now + 60) == 1
    clock.now += 60
    refused(gate, state)  # one is under way, and five by ten processes is one
    gate.share(0)
    assert gate.processes == 1


def test_a_new_document_keeps_what_is_used(gate, clock):
    state = state_of(gate, requests_per_minute=10, concurrent_requests=3)
    leases = [gate.admit(state, 0) for _ in range(2)]
    gate.replace([key(requests_per_minute=20, concurrent_requests=2), key("other", b"another-key-0123456")])
    assert gate.states["team"] is state
    assert state.requests.level(clock.now) == 16
    refused(gate, state)
    for lease in leases:
        lease.end(0, 0)
    gate.replace([key("other", b"another-key-0123456")])
    assert list(gate.states) == ["other"]
    with pytest.raises(Refusal):
        gate.identify(head(b"x-api-key: " + KEY))


def test_a_limit_that_came_while_a_request_ran_is_not_filled_by_it(gate, clock):
    state = state_of(gate)
    lease = gate.admit(state, 5000)
    gate.replace([key(tokens_per_minute=100)])
    state.tokens.take(60, clock.now)
    lease.end(0, 0)
    assert state.tokens.level(clock.now) == 40


def test_headers_say_limit_rest_and_time_of_the_installation(gate, clock):
    state = state_of(gate, requests_per_minute=60, tokens_per_minute=6000)
    gate.share(2)
    lines = gate.admit(state, 1000).headers.decode().split("\r\n")
    assert lines == [
        "x-ratelimit-limit-requests: 60",
        "x-ratelimit-remaining-requests: 58",
        "x-ratelimit-reset-requests: 2s",
        "x-ratelimit-limit-tokens: 6000",
        "x-ratelimit-remaining-tokens: 4000",
        "x-ratelimit-reset-tokens: 20s",
        "",
    ]
    assert state_of(gate).requests is None
    assert gate.headers(gate.states["team"]) == b""
    del clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0ms"),
        (0.12, b"120ms"),
        (1, b"1s"),
        (1.54, b"1.5s"),
        (59.99, b"1m0s"),
        (60, b"1m0s"),
        (90.5, b"1m30.5s"),
    ],
)
def test_times_are_written_as_openai_does(seconds, text):
    assert duration(seconds) == text


def test_the_log_names_the_key_once_a_minute(gate, clock, caplog):
    caplog.set_level("INFO")
    state = state_of(gate, requests_per_minute=1)
    gate.admit(state, 0)
    for _ in range(20):
        refused(gate, state)
    assert caplog.text.count("API key team: its requestsPerMinute of 1 are used up") == 1
    clock.now += 61
    gate.admit(state, 0)
    refused(gate, state)
    assert caplog.text.count("API key team") == 2


# --- laws -------------------------------------------------------------------------------------------


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=60),
)
def test_in_any_time_no_more_than_the_limit_and_a_minutes_worth_is_taken(limit, asks):
    now, bucket = 0.0, Bucket(limit, 0.0)
    taken = []
    for pause, amount in asks:
        now += pause
        fitting = min(amount, limit)
        if not bucket.wait(fitting, now):
            bucket.take(fitting, now)
            taken.append((now, fitting))
    for i, (begin, _) in enumerate(taken):
        total = 0
        for end, amount in taken[i:]:
            total += amount
            assert total <= limit * (1 + (end - begin) / 60) * (1 + 1e-6)


@given(
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e6)), max_size=20),
    st.floats(0, 1e7),
)
def test_who_waits_as_long_as_told_gets_it(limit, before, amount):
    now, bucket = 0.0, Bucket(limit, 0.0)
    for pause, taken in before:
        now += pause
        bucket.take(taken, now)
    now += bucket.wait(amount, now)
    assert bucket.wait(amount, now) == 0


@given(
    st.lists(st.tuples(st.sampled_from(["admit", "end", "share", "wait"]), st.integers(0, 500)), max_size=80)
)
def test_nothing_is_lost_and_every_share_holds(steps):
    clock = Clock()
    gate = Gate(clock)
    state = state_of(gate, concurrent_requests=7, requests_per_minute=90, tokens_per_minute=1000)
    leases = []
    for what, number in steps:
        if what == "admit":
            before = state.under_way
            with contextlib.suppress(Refusal):
                leases.append(gate.admit(state, number))
                assert before < max(1, 7 // gate.processes)
        elif what == "end" and leases:
            leases.pop().end(number, number)
        elif what == "share":
            gate.share(number % 12)
        elif what == "wait":
            clock.now += number / 10
        assert state.under_way == len(leases)
        assert state.requests.level(clock.now) <= max(1, 90 / gate.processes)
        assert state.tokens.level(clock.now) <= max(1, 1000 / gate.processes)
        for number_text in re.findall(rb"remaining-\w+: (-?\d+)", gate.headers(state)):
            assert 0 <= int(number_text) <= 1000


# --- how many share ---------------------------------------------------------------------------------


def endpoint_slice(name, *endpoints):
    found = [
        {"addresses": [f"10.0.0.{i}"], "targetRef": {"uid": uid}, "conditions": conditions}
        for i, (uid, conditions) in enumerate(endpoints)
    ]
    return {"metadata": {"name": name}, "endpoints": found}


SERVES = {"ready": True, "serving": True, "terminating": False}


def test_pods_that_serve_and_do_not_end_are_counted_each_once():
    told = []
    siblings = Siblings(told.append)
    v4 = endpoint_slice("v4", ("a", SERVES), ("b", SERVES), ("c", SERVES | {"serving": False}))
    siblings.replace([v4, endpoint_slice("v6", ("a", SERVES), ("b", SERVES))])
    siblings.put(endpoint_slice("v4", ("a", SERVES), ("b", SERVES | {"terminating": True}), ("c", SERVES)))
    siblings.put(endpoint_slice("v6", ("a", SERVES)))
    siblings.put(endpoint_slice("v4", ("a", {}), ("c", SERVES), ("d", {})))
    siblings.remove(endpoint_slice("v4"))
    siblings.replace([])
    siblings.replace([{"metadata": {"name": "x"}, "endpoints": None}])
    assert told == [2, 3, 2, 3, 1]


async def test_the_watch_of_a_cluster_tells_the_gate(gate):
    home = {"namespace": "home", "demand_service": "gateway-demand", "api_keys": "/keys"}
    source = ClusterSource(Mock(), Settings(**home), Access("http://x", ssl.create_default_context()))
    source.on_processes = gate.share
    assert source.siblings._selector == {"labelSelector": "kubernetes.io/service-name=gateway-demand"}
    source.siblings._listener.put(endpoint_slice("v4", ("a", SERVES), ("b", SERVES), ("c", SERVES)))
    assert gate.processes == 3
    await source.close()
