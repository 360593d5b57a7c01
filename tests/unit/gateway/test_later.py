"""When refused clients come back: as measured, spread out, and in whole seconds that differ."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.later import JITTER, LEAST_JITTER_SECONDS, Drain, jittered


@given(st.floats(0, 1e6), st.floats(0, 1))
def test_nobody_is_told_to_come_earlier_nor_much_later(wait, jitter):
    most = max(JITTER * wait, LEAST_JITTER_SECONDS)
    assert wait <= jittered(wait, jitter) <= (wait + most) * (1 + 1e-12)


def test_a_crowd_with_a_short_wait_comes_back_in_more_than_one_second():
    told = [math.ceil(jittered(1.0, step / 1000)) for step in range(1000)]
    assert max(map(told.count, set(told))) <= 0.6 * len(told)


def test_nothing_is_said_before_something_was_measured():
    drain = Drain()
    assert (drain.rate, drain.seconds(10)) == (None, None)
    drain.look(100.0)
    drain.left()
    drain.look(100.5)
    assert drain.seconds(10) is None, "half a second says little"


def test_an_even_flow_is_measured_exactly_from_the_beginning():
    drain, now = Drain(), 50.0
    drain.look(now)
    for _ in range(400):
        for _ in range(3):
            drain.left()
        now += 0.25
        drain.look(now)
        if now >= 51.5:
            assert drain.rate == pytest.approx(12.0)
    assert drain.seconds(60) == pytest.approx(5.0)


def test_a_line_that_stands_still_is_found_out_within_a_minute():
    drain, now = Drain(), 0.0
    for _ in range(400):
        drain.look(now)
        drain.left()
        now += 0.25
    before = drain.rate
    for _ in range(240):
        drain.look(now)
        now += 0.25
    assert before is not None
    assert drain.rate < before / 50


def test_time_in_which_nobody_waited_or_no_pod_was_there_does_not_count():
    drain = Drain()
    for start in (0.0, 10_000.0):
        for step in range(41):
            drain.look(start + step / 4)
            drain.left()
        drain.rest()
    assert drain.rate == pytest.approx(4.0, rel=0.05)


@given(st.lists(st.tuples(st.floats(0.01, 60), st.integers(0, 100)), min_size=1, max_size=50))
def test_the_rate_lies_between_the_slowest_and_the_fastest_that_was_seen(looks):
    drain, now, rates = Drain(), 0.0, []
    drain.look(now)
    for seconds, left in looks:
        for _ in range(left):
            drain.left()
        now += seconds
        drain.look(now)
        rates.append(left / seconds)
    if drain.rate is not None:
        assert min(rates) * 0.999 <= drain.rate <= max(rates) * 1.001
