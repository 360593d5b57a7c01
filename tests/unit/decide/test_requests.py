"""What is asked by name: which request is due, what the decision makes of it, and what becomes of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api import constants as c
from torpor.decide import Demand, Engine, Memory, Observation, Policy, decide
from torpor.decide.requests import (
    LATEST,
    RESTART,
    SLEEP,
    WAKE,
    Record,
    docket,
    read,
    scaled,
)
from torpor.decide.schedule import Limits, Standing, State

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
AT_NOON = "2026-11-22T12:00:00Z"
QUIET = Demand(held=0.0, queued=0.0, in_flight=0.0, complete=True, gap="")
POLICY = Policy(
    min_replicas=0,
    max_replicas=4,
    queue_target=4,
    kv_target=0.8,
    idle_seconds=600,
    window_seconds=120,
    credit_seconds=240,
)
BUSY = Engine("a", ready=True, running=3.0, waiting=0.0, kv=0.1)
CLOSED = Standing(State(("night",), Limits(None, 0)), None, None, None)


def look(asked, replicas, demand=QUIET, *, policy=POLICY, memory=None, now=1000.0, **more):
    engines = tuple(replace(BUSY, name=str(number)) for number in range(replicas))
    seen = Observation(replicas, engines, demand, asked=asked, **more)
    decision, memory = decide(seen, policy, memory or Memory(), now)
    return decision, memory, scaled(asked, AT_NOON, seen, decision, written=True) if asked else None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (AT_NOON, NOON),
        ("2026-11-22t12:00:00.25z", NOON + 0.25),
        ("2026-11-22T13:00:00+01:00", NOON),
        ("2026-11-22T12:00:00", None),  # whose noon?
        ("2026-13-22T12:00:00Z", None),
        ("now", None),
        ("", None),
        ("20261122T120000Z", None),
        ("2026-11-22T12:00:00Z" + "0" * 99, None),
    ],
)
def test_a_time_has_a_zone_and_one_form(text, at):
    request = read(WAKE, text)
    assert request.at == at
    assert len(request.text) <= 64


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text):
    docket([read(WAKE, text)], {}, NOON)


def test_a_request_is_due_at_its_time_and_only_once():
    early = docket([read(WAKE, AT_NOON)], {}, NOON - 30)
    assert (early.asked, early.later, early.records[0].state) == ("", 30, c.STATE_PENDING)
    due = docket([read(WAKE, AT_NOON)], {WAKE: early.records[0]}, NOON)
    assert (due.asked, due.later) == (WAKE, None)
    done = Record(WAKE, AT_NOON, c.STATE_DONE, "0 -> 1 replicas")
    again = docket([read(WAKE, AT_NOON)], {WAKE: done}, NOON + 5)
    assert (again.asked, again.records) == ("", (done,))
    other = docket([read(WAKE, "2026-11-22T12:00:03Z")], {WAKE: done}, NOON + 5)
    assert other.asked == WAKE


def test_a_record_outlives_its_annotation_unless_nothing_was_done():
    done, waits = Record(WAKE, AT_NOON, c.STATE_DONE), Record(SLEEP, AT_NOON, c.STATE_PENDING)
    assert docket([], {WAKE: done, SLEEP: waits}, NOON).records == (done,)


def test_what_is_too_late_is_missed_with_the_reason_it_had():
    put_off = Record(SLEEP, AT_NOON, c.STATE_PENDING, "requests wait")
    found = docket([read(SLEEP, AT_NOON)], {SLEEP: put_off}, NOON + LATEST + 1)
    assert (found.asked, found.records[0].state) == ("", c.STATE_MISSED)
    assert "requests wait" in found.records[0].message
    assert docket([read(SLEEP, AT_NOON)], {}, NOON + LATEST).asked == SLEEP


def test_of_wake_and_sleep_the_later_one_counts_and_wake_in_doubt():
    later = read(SLEEP, "2026-11-22T12:00:01Z")
    found = docket([read(WAKE, AT_NOON), later, read(RESTART, AT_NOON)], {}, NOON + 9)
    assert (found.asked, found.restart) == (SLEEP, AT_NOON)
    assert found.records[0] == Record(
        WAKE, AT_NOON, c.STATE_MISSED, "sleep-at 2026-11-22T12:00:01Z came after it"
    )
    assert docket([read(WAKE, AT_NOON), read(SLEEP, AT_NOON)], {}, NOON).asked == WAKE


def test_what_cannot_be_read_is_told_and_not_looked_at_again():
    found = docket([read(RESTART, "tomorrow")], {}, NOON)
    assert found.records[0].state == c.STATE_INVALID
    assert "2026-11-22T20:00:00Z" in found.records[0].message
    assert docket([read(RESTART, "tomorrow")], {RESTART: found.records[0]}, NOON).records == found.records


def test_wake_raises_a_sleeping_fleet_and_gives_it_its_idle_time():
    decision, memory, record = look(WAKE, 0)
    assert (decision.replicas, decision.reason) == (1, c.WAKE_REQUESTED)
    assert record == Record(WAKE, AT_NOON, c.STATE_DONE, "0 -> 1 replicas")
    idle = replace(BUSY, running=0.0)
    for second in range(1010, 1650, 10):
        seen = Observation(1, (idle,), QUIET)
        decision, memory = decide(seen, POLICY, memory, float(second))
        if second < 1600:
            assert decision.replicas == 1, second
    assert (decision.replicas, decision.reason) == (0, "IdleToZero")


def test_wake_of_a_fleet_that_is_about_to_sleep_begins_its_idle_time_anew():
    idle, memory = replace(BUSY, running=0.0), Memory()
    for second in range(0, 600, 10):
        _, memory = decide(Observation(1, (idle,), QUIET), POLICY, memory, float(second))
    seen = Observation(1, (idle,), QUIET, asked=WAKE)
    decision, memory = decide(seen, POLICY, memory, 600.0)
    assert decision.replicas == 1
    assert "begins anew" in scaled(WAKE, AT_NOON, seen, decision, written=True).message
    decision, _ = decide(Observation(1, (idle,), QUIET), POLICY, memory, 610.0)
    assert decision.replicas == 1


def test_sleep_needs_no_idle_time_and_lets_run_what_runs():
    decision, _, record = look(SLEEP, 2, replace(QUIET, in_flight=6.0))
    assert (decision.replicas, decision.reason) == (0, c.SLEEP_REQUESTED)
    assert record.message == "2 -> 0 replicas"
    assert look(SLEEP, 0)[2].message == "the fleet slept already"


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (replace(QUIET, held=1.0), "requests wait"),
        (replace(QUIET, queued=2.0), "requests wait"),
        (replace(QUIET, complete=False), "not known"),
        (Demand(), "not known"),
    ],
)
def test_sleep_waits_while_requests_wait_or_nobody_knows(demand, words):
    decision, _, record = look(SLEEP, 2, demand)
    assert decision.replicas > 0
    assert (record.state, words in record.message) == (c.STATE_PENDING, True)


@pytest.mark.parametrize(
    ("asked", "replicas", "changes", "words"),
    [
        (SLEEP, 1, {"min_replicas": 1}, "minReplicas is 1"),
        (SLEEP, 1, {"mode": "Recommend"}, "Recommend"),
        (SLEEP, 1, {"mode": "Paused"}, "Paused"),
        (SLEEP, 1, {"external": 2}, "spec.scaling.replicas is 2"),
        (WAKE, 0, {"mode": "Recommend"}, "Recommend"),
        (WAKE, 0, {"mode": "Paused"}, "Paused"),
        (WAKE, 0, {"external": 0}, "spec.scaling.replicas is 0"),
        (WAKE, 0, {"schedule": replace(CLOSED, refuse_when_closed=True)}, "closed by the schedule (night)"),
    ],
)
def test_who_stands_above_a_request_refuses_it(asked, replicas, changes, words):
    decision, _, record = look(asked, replicas, policy=replace(POLICY, **changes))
    assert (decision.replicas > 0) == (asked == SLEEP)
    assert (record.state, words in record.message) == (c.STATE_REFUSED, True), record


def test_wake_in_closed_hours_is_like_a_request_where_the_hours_let_requests_wake():
    policy = replace(POLICY, schedule=CLOSED)
    decision, memory, record = look(WAKE, 0, policy=policy)
    assert (decision.replicas, record.state) == (1, c.STATE_DONE)
    idle = replace(BUSY, running=0.0)
    for second, number in ((1300, 1), (1320, 1), (1340, 1), (1599, 1), (1601, 0)):
        decision, memory = decide(Observation(1, (idle,), QUIET), policy, memory, float(second))
        assert decision.replicas == number, second


def test_sleep_is_put_off_by_a_rollout():
    decision, _, record = look(SLEEP, 2, rollout=True)
    assert (decision.replicas, record.state, record.message) == (2, c.STATE_PENDING, "put off by Rollout")


def test_a_number_that_was_not_written_is_not_done():
    seen = Observation(0, (), QUIET, asked=WAKE)
    decision, _ = decide(seen, POLICY, Memory(), 0.0)
    assert scaled(WAKE, AT_NOON, seen, decision, written=False).state == c.STATE_PENDING
