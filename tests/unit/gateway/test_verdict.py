"""The table of states, row by row, without sockets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api.names import FleetKey
from torpor_gateway.answers import Refusal, retry_headers
from torpor_gateway.policy import Condition, FleetSpec, FleetStatus, Policy
from torpor_gateway.verdict import Situation, Wait, expected_wake, judge, too_late

NOW = 1_000_000.0
KEY = FleetKey("ns", "llm")


def fleet(
    policy: Policy | None = None,
    status: FleetStatus | None = None,
    replicas: int | None = None,
    mode: str = "Auto",
) -> FleetSpec:
    policy, status = policy or Policy(), status or FleetStatus()
    return FleetSpec(KEY, "uid", ("llm",), policy, status, external_replicas=replicas, mode=mode)


def ask(
    spec: FleetSpec, situation: Situation, *, stream: bool = False, size: int = 100, jitter: float = 0.0
) -> Wait | Refusal:
    return judge(spec, situation, stream=stream, size=size, unix_time=NOW, jitter=jitter)


COLD = Situation(ready=0, starting=0, waiting=0, waiting_bytes=0, cold_for=0.0)
BUSY = Situation(ready=2, starting=0, waiting=0, waiting_bytes=0)
GROWING = Situation(ready=2, starting=1, waiting=0, waiting_bytes=0)
CLOSED = {
    "Ready": Condition("True", "Closed", "closed by the schedule until Mon 08:00; requests are refused")
}
FAILED = {"Ready": Condition("False", "WakeFailed", "ImagePullFailed: gone")}


@pytest.mark.parametrize(
    ("situation", "stream", "response", "expected"),
    [
        (COLD, True, "KeepAlive", Wait(900, comments=True, at_once=True)),
        (COLD, False, "KeepAlive", Wait(300, comments=False, at_once=True)),
        (COLD, True, "Hold", Wait(900, comments=False, at_once=True)),
        (GROWING, True, "KeepAlive", Wait(900, comments=True, at_once=False)),
        (GROWING, False, "KeepAlive", Wait(300, comments=False, at_once=False)),
        (BUSY, True, "KeepAlive", Wait(60, comments=False, at_once=False)),
        (BUSY, False, "Reject", Wait(60, comments=False, at_once=False)),
    ],
)
def test_who_waits_and_how_long(situation, stream, response, expected):
    assert ask(fleet(Policy(response=response)), situation, stream=stream) == expected


@pytest.mark.parametrize(
    ("spec", "situation", "status", "code", "wait"),
    [
        (fleet(Policy(response="Reject"), FleetStatus(cold_start_seconds=45)), COLD, 503, "Waking", 45),
        (fleet(replicas=0), COLD, 503, "ScaledToZeroExternally", 60),
        (fleet(mode="Recommend"), COLD, 503, "Recommend", 60),
        (fleet(mode="Paused", status=FleetStatus(desired_replicas=0)), COLD, 503, "Paused", 60),
        (fleet(mode="Paused", status=FleetStatus(CLOSED, 0, opens=NOW + 9)), COLD, 503, "Paused", 60),
        (fleet(mode="Paused", replicas=0), COLD, 503, "ScaledToZeroExternally", 60),
        (fleet(status=FleetStatus(CLOSED, opens=NOW + 40_000)), COLD, 503, "Closed", 40_000),
        (fleet(status=FleetStatus(CLOSED)), COLD, 503, "Closed", 3600),
        (fleet(status=FleetStatus(FAILED, next_attempt=NOW + 20)), COLD, 503, "WakeFailed", 20),
        (fleet(status=FleetStatus(FAILED)), COLD, 503, "WakeFailed", 60),
        (
            fleet(status=FleetStatus({"Ready": Condition("False", "SpecInvalid", "x")})),
            COLD,
            503,
            "SpecInvalid",
            60,
        ),
        (fleet(Policy(max_held_requests=0), FleetStatus(cold_start_seconds=45)), COLD, 503, "Waking", 45),
        (fleet(Policy(max_held_bytes=99)), COLD, 503, "Waking", 60),
        (fleet(Policy(max_held_requests=0)), BUSY, 429, "QueueFull", 10),
        (fleet(Policy(max_held_requests=0)), GROWING, 503, "Waking", 60),
        (fleet(status=FleetStatus(cold_start_seconds=301)), COLD, 503, "Waking", 301),
    ],
)
def test_who_is_refused_and_when_to_come_back(spec, situation, status, code, wait):
    verdict = ask(spec, situation)
    assert isinstance(verdict, Refusal)
    assert (verdict.status, verdict.code, verdict.retry_after) == (status, code, wait)
    jittered = ask(spec, situation, jitter=1.0)
    assert isinstance(jittered, Refusal)
    most = 60 if code == "Closed" else wait  # nobody comes back hours after an opening
    assert jittered.retry_after == wait + min(wait * 0.25, most)


def test_in_closed_hours_the_opening_is_named_and_met():
    spec = fleet(status=FleetStatus(CLOSED, opens=NOW + 40_000))
    latest = ask(spec, COLD, jitter=1.0)
    assert latest.message == "ns/llm is closed by the schedule until Mon 08:00; requests are refused"
    assert latest.retry_after == 40_060
    assert ask(fleet(status=FleetStatus(CLOSED, opens=NOW + 8)), COLD, jitter=1.0).retry_after == 10
    assert isinstance(ask(fleet(status=FleetStatus(CLOSED, opens=NOW)), COLD), Wait)
    assert isinstance(ask(spec, BUSY), Wait)  # what still answers may


def test_a_mode_refuses_nobody_where_replicas_are_wanted():
    for name in ("Recommend", "Paused"):
        assert isinstance(ask(fleet(mode=name), BUSY), Wait)
        assert isinstance(ask(fleet(mode=name, status=FleetStatus(desired_replicas=1)), COLD), Wait)
        assert isinstance(ask(fleet(mode=name, replicas=2), COLD), Wait)


def test_a_unary_request_never_waits_longer_than_a_stream():
    assert ask(fleet(Policy(hold_seconds=10)), COLD) == Wait(10, comments=False, at_once=True)


def test_a_failure_whose_next_attempt_is_due_is_waited_for():
    assert isinstance(ask(fleet(status=FleetStatus(FAILED, next_attempt=NOW - 1)), COLD), Wait)


def test_a_failure_does_not_matter_while_a_pod_answers():
    assert isinstance(ask(fleet(status=FleetStatus(FAILED, next_attempt=NOW + 9)), BUSY), Wait)


def test_a_wake_under_way_is_nearly_over():
    spec = fleet(status=FleetStatus(cold_start_seconds=310))
    late = Situation(0, 1, 3, 300, cold_for=30.0)
    assert isinstance(ask(spec, late), Wait)
    assert expected_wake(spec, late) == 280
    assert expected_wake(spec, Situation(0, 1, 0, 0, cold_for=1000.0)) == 31  # never "come back at once"


def test_rejected_clients_hear_how_much_of_the_wake_is_left():
    refusal = ask(
        fleet(Policy(response="Reject"), FleetStatus(cold_start_seconds=40)), Situation(0, 1, 0, 0, 25.0)
    )
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after == pytest.approx(15)


def test_too_late_says_why():
    assert too_late(fleet(), BUSY, waited=60, unix_time=NOW, jitter=0).status == 429
    failed = too_late(
        fleet(status=FleetStatus(FAILED, next_attempt=NOW + 9)), COLD, waited=9, unix_time=NOW, jitter=0
    )
    assert (failed.status, failed.code, failed.retry_after) == (503, "WakeFailed", 9)
    assert "ImagePullFailed: gone" in failed.message
    assert too_late(fleet(), COLD, waited=9, unix_time=NOW, jitter=0).code == "Waking"


def test_too_late_says_why_while_the_next_attempt_is_under_way():
    again = FleetStatus(FAILED, next_attempt=NOW - 1)
    assert isinstance(judge(fleet(status=again), COLD, stream=False, size=1, unix_time=NOW, jitter=0), Wait)
    failed = too_late(fleet(status=again), COLD, waited=9, unix_time=NOW, jitter=0)
    assert (failed.status, failed.code) == (503, "WakeFailed")
    assert "ImagePullFailed: gone" in failed.message


@given(
    st.builds(
        Situation,
        st.integers(0, 3),
        st.integers(0, 3),
        st.integers(0, 2000),
        st.integers(0, 1 << 30),
        st.none() | st.floats(0, 1e5),
    ),
    st.builds(
        FleetStatus, st.just({}), st.none(), st.none() | st.floats(0, 1e4), st.none() | st.floats(0, 2e6)
    ),
    st.sampled_from(["Hold", "KeepAlive", "Reject"]),
    st.booleans(),
    st.floats(0, 1),
    st.integers(0, 1 << 29),
)
def test_every_refusal_has_a_retry_after(situation, status, response, stream, jitter, size):  # noqa: PLR0917
    verdict = ask(
        fleet(Policy(response=response), status), situation, stream=stream, jitter=jitter, size=size
    )
    if isinstance(verdict, Refusal):
        assert verdict.status in (429, 503)
        assert verdict.retry_after is not None
        assert verdict.retry_after >= 1
    else:
        assert verdict.seconds > 0
        assert not verdict.comments or stream


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, b""),
        (0.2, b"Retry-After: 1\r\n"),
        (59.5, b"Retry-After: 60\r\n"),
        (60.1, b"Retry-After: 61\r\nx-should-retry: false\r\n"),
    ],
)
def test_a_long_retry_after_keeps_clients_from_hammering(seconds, text):
    assert retry_headers(seconds) == text
