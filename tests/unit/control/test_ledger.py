"""Sums over processes that come, go, break and begin anew: nothing twice, nothing lost."""

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.api.names import FleetKey
from torpor.cluster.gateway_view import GatewayView, merge
from torpor.cluster.ledger import MOST_BOOTS, Ledger
from torpor.decide.observation import Tally

KEY = FleetKey("team", "llm")


class Process:
    """A gateway process that serves requests of 100 + 10 tokens. `began` on the listener's clock."""

    def __init__(self, boot, began=0.0):
        self.boot, self.began, self.served, self.lives = boot, began, 0, 0

    def hello(self, now, kind="heartbeat"):
        told = {"type": kind, "bootId": self.boot, "gateway": "gw", "state": "Serving", "synced": True}
        return told | {"ageSeconds": now - self.began}

    def line(self, uid="u", **more):
        n = self.served
        numbers = {
            "arrivals": n,
            "retries": 0,
            "arrivedPromptTokens": 100 * n,
            "completed": n,
            "outputTokens": 10 * n,
            "promptSquares": 10_000.0 * n,
            "outputSquares": 100.0 * n,
            "products": 1000.0 * n,
            "waitingPromptTokens": 0,
            "judged": n,
            "missed": 0.5 * n,
        }
        who = {"type": "fleet", "bootId": self.boot, "gateway": "gw", "namespace": "team", "name": "llm"}
        return who | {"uid": uid} | numbers | more


def tally(n):
    return Tally(n, 100.0 * n, n, 10.0 * n, 10_000.0 * n, 100.0 * n, 1000.0 * n, n, 0.5 * n)


class World:
    """One address at which one process after the other listens, and what was counted of them."""

    def __init__(self, since=0.0):
        self.ledger = Ledger(since)
        self.view = GatewayView("10.0.0.1:8081")

    def connect(self, process, now):
        """A stream is opened: who, a heartbeat, everything known, a heartbeat."""
        self.view.connected()
        self.take(now, process.hello(now, "hello"), process.hello(now), process.line(), process.hello(now))

    def take(self, now, *lines):
        for line in lines:
            self.view.take(line, now, self.ledger)

    def merged(self, now, uid="u"):
        return merge([self.view], KEY, uid, self.ledger, now)


def test_what_a_restarted_gateway_served_before_its_stream_was_open_counts():
    world, first = World(), Process("b1")
    world.connect(first, 1.0)
    first.served = 40
    world.take(2.0, first.line())
    second = Process("b2", began=3.0)
    second.served = 7  # in the two seconds until the operator is back
    world.connect(second, 5.0)
    assert world.merged(5.0).tally == tally(47)
    world.connect(second, 6.0)
    second.served = 8
    world.take(6.5, second.line())
    assert world.merged(6.5).tally == tally(48)


def test_the_past_of_an_older_process_is_not_ours():
    world, old = World(since=100.0), Process("b1", began=50.0)
    old.served = 1000
    world.connect(old, 101.0)
    assert world.merged(101.0).tally == Tally()
    assert world.merged(101.0).arrivals == 0
    old.served = 1002
    world.take(102.0, old.line())
    assert world.merged(102.0).tally == tally(2)


def test_a_process_that_was_given_up_and_comes_back_goes_on_where_it_was():
    world, process = World(), Process("b1", began=5.0)
    process.served = 30
    world.connect(process, 10.0)
    assert world.merged(10.0).tally == tally(30)
    world.view = GatewayView("10.0.0.1:8081")  # it was not listed for a while, and silent
    process.served = 33
    world.connect(process, 90.0)
    assert world.merged(90.0).tally == tally(33)


def test_what_was_served_while_the_stream_was_broken_counts_once():
    world, process = World(), Process("b1", began=-9.0)
    world.connect(process, 1.0)
    process.served = 12
    world.connect(process, 8.0)
    assert world.merged(8.0).tally == tally(12)


def test_a_namesake_has_sums_of_its_own():
    world, process = World(), Process("b1")
    world.connect(process, 1.0)
    process.served = 5
    world.take(2.0, process.line())
    process.served = 2  # the gateway met another fleet under the old name
    world.take(3.0, process.line(uid="other"))
    assert world.merged(3.0, uid="other").tally == tally(2)
    assert world.merged(3.0, uid="other").arrivals == 2
    world.ledger.forget(KEY)
    process.served = 3
    world.take(4.0, process.line(uid="other"))
    assert world.merged(4.0, uid="other").tally == tally(1)  # what went before was forgotten with the fleet


def test_where_a_gateway_does_not_count_lengths_they_are_unknown_and_not_zero():
    world, process = World(), Process("b1")
    world.connect(process, 1.0)
    old = process.line()
    del old["arrivedPromptTokens"]
    world.take(2.0, old | {"arrivals": 4})
    assert world.merged(2.0).tally is None
    assert world.merged(2.0).arrivals == 4


def test_lengths_that_are_told_late_begin_there():
    world, old = World(since=100.0), Process("b1", began=50.0)
    old.served = 1000
    world.take(101.0, old.hello(101.0), old.line(products=None))
    world.take(102.0, old.line())
    assert world.merged(102.0).tally == Tally()
    old.served = 1003
    world.take(103.0, old.line())
    assert world.merged(103.0).tally == tally(3)


def test_a_gateway_that_judges_nobody_counts_all_the_same():
    world, process = World(), Process("b1")
    world.connect(process, 1.0)
    process.served = 4
    line = process.line()
    del line["judged"], line["missed"]
    world.take(2.0, line)
    told = world.merged(2.0).tally
    assert told is not None
    assert (told.completed, told.judged, told.missed) == (4, 0, 0)


def test_prompts_that_wait_are_added_up_where_all_tell_them():
    world, process = World(), Process("b1")
    world.connect(process, 1.0)
    world.take(2.0, process.line(waitingPromptTokens=700, held={"count": 3}))
    other, second = GatewayView("10.0.0.2:8081"), Process("b2")
    for line in (second.hello(2.0), second.line(waitingPromptTokens=50), second.hello(2.0)):
        other.take(line, 2.0, world.ledger)
    both = merge([world.view, other], KEY, "u", world.ledger, 2.0)
    assert both.waiting_prompt_tokens == 750
    untold = second.line()
    del untold["waitingPromptTokens"]
    other.take(untold, 3.0, world.ledger)
    assert merge([world.view, other], KEY, "u", world.ledger, 3.0).waiting_prompt_tokens is None


def test_without_any_gateway_nothing_is_known():
    world, process = World(), Process("b1")
    process.served = 3
    world.connect(process, 1.0)
    assert world.merged(100.0).tally is None
    assert world.merged(100.0).arrivals == 3  # what was counted stays counted


def test_a_fleet_that_nobody_mentions_has_had_no_requests():
    world, process = World(), Process("b1")
    world.take(1.0, process.hello(1.0))
    assert world.merged(1.0).tally == Tally()


@pytest.mark.parametrize(
    "broken",
    [
        {"arrivals": None},
        {"arrivals": float("nan")},
        {"arrivals": "5"},
        {"retries": -1},
        {"products": float("inf")},
        {"products": None},
        {"outputTokens": True},
    ],
)
def test_a_line_that_cannot_be_read_does_not_count_the_past_again(broken):
    world, process = World(), Process("b1")
    process.served = 100
    world.connect(process, 1.0)
    world.take(2.0, process.line(**broken))
    process.served = 103
    world.take(3.0, process.line())
    assert world.merged(3.0).tally == tally(103)
    assert world.merged(3.0).arrivals == 103


def test_sums_of_squares_may_exceed_what_other_counters_may():
    world, process = World(), Process("b1")
    world.connect(process, 1.0)
    world.take(2.0, process.line(promptSquares=3e16))
    assert world.merged(2.0).tally.prompt_squares == 3e16


def test_the_number_of_processes_that_are_remembered_is_bounded_and_none_counts_twice():
    world = World()
    first = Process("first", began=1.0)
    first.served = 10
    world.connect(first, 2.0)
    for n in range(MOST_BOOTS):
        after = 60.0 * n / MOST_BOOTS
        process = Process(f"b{n}", began=3.0 + after)
        process.served = 1
        world.connect(process, 4.0 + after)
    assert len(world.ledger._boots) == MOST_BOOTS
    assert world.merged(70.0).tally == tally(10 + MOST_BOOTS)
    first.served = 11
    world.connect(first, 90.0)
    assert world.merged(90.0).tally == tally(10 + MOST_BOOTS)  # forgotten, so its past is left out
    young = Process("young", began=6.0)  # later than any forgotten one was heard of
    young.served = 2
    world.connect(young, 92.0)
    assert world.merged(92.0).tally == tally(12 + MOST_BOOTS)


STEPS = st.lists(
    st.tuples(st.sampled_from(["serve", "tell", "reconnect", "restart", "replace"]), st.integers(0, 20)),
    max_size=40,
)


@given(STEPS, st.floats(-5, 5))
@settings(max_examples=200)
def test_the_sums_are_what_the_processes_told(steps, since):
    """Of every process its last word, less what an older one had served before its first."""
    world, now, boots = World(since), 10.0, 1
    process = Process("b0", began=0.0)
    told = process.served = 3
    world.connect(process, now)
    expected_before = 0 if since <= 0 else -told
    last = 0.0
    for step, n in steps:
        now += 1.0
        if step == "serve":
            process.served += n
        elif step == "tell":
            world.take(now, process.line())
            told = process.served
        elif step == "reconnect":
            world.connect(process, now)
            told = process.served
        else:
            expected_before += told
            process = Process(f"b{boots}", began=now - 0.5)
            process.served = n  # served before the stream is open
            boots += 1
            if step == "replace":
                world.view = GatewayView("10.0.0.2:8081")
            world.connect(process, now)
            told = n
        total = world.merged(now).tally
        assert astuple(total) == astuple(tally(expected_before + told))
        assert total.arrivals >= last
        last = total.arrivals
