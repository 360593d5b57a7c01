"""Whole minutes out of irregular looks, and distributions that forget."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.histogram import Histogram, Scale
from torpor.decide.minutes import Meter, Minute
from torpor.decide.values import Unknown

START = 1_700_000_040.0  # a whole minute
SCALE = Scale(low=1.0, ratio=1.5, bins=20, limit=100.0)
samples = st.lists(st.floats(0, 1e5), max_size=150)


def read(looks, meter=None):
    """Feed (rate, since, until), return the minutes that ended."""
    meter = meter or Meter()
    closed = []
    for rate, since, until in looks:
        meter, ended = meter.read(rate, since, until)
        closed += ended
    return closed


def filled(values, scale=SCALE):
    histogram = Histogram(scale)
    for value in values:
        histogram = histogram.add(value)
    return histogram


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.5, 90)), min_size=1, max_size=40))
def test_no_work_is_lost_or_counted_twice(looks):
    times = list(itertools.accumulate((length for _, length in looks), initial=START))
    rows = [
        (rate, since, until) for (rate, _), since, until in zip(looks, times[:-1], times[1:], strict=True)
    ]
    closed = read(rows)
    end = START + 60 * len(closed)
    came = sum(rate * (min(until, end) - since) for rate, since, until in rows if since < end)
    assert sum(minute.rate * 60 for minute in closed) == pytest.approx(came, abs=1e-4)
    assert [minute.number for minute in closed] == list(range(int(START // 60), int(end // 60)))


@pytest.mark.parametrize("unseen", [Unknown("gateways are silent"), float("nan"), -1.0, float("inf")])
def test_a_minute_that_was_hardly_seen_is_unknown_and_not_zero(unseen):
    looks = [(4.0, START, START + 60), (unseen, START + 60, START + 110), (4.0, START + 110, START + 240)]
    assert read(looks) == [Minute(int(START // 60) + n, 4.0) for n in (0, 2, 3)]


def test_a_minute_that_was_seen_for_the_most_part_has_the_mean_of_what_was_seen():
    looks = [
        (4.0, START, START + 40),
        (Unknown("stale"), START + 40, START + 60),
        (0.0, START + 60, START + 61),
    ]
    assert read(looks) == [Minute(int(START // 60), 4.0)]


def test_overlapping_looks_are_counted_once():
    looks = [(6.0, START, START + 40), (0.0, START, START + 40), (0.0, START + 20, START + 60)]
    assert read(looks) == [Minute(int(START // 60), 4.0)]


def test_a_mean_over_too_long_a_time_tells_nothing_of_its_minutes():
    assert read([(4.0, START, START + 3600)]) == []


def test_a_clock_that_is_set_back_starts_anew():
    looks = [(1.0, START, START + 30), (1.0, START - 600, START - 580), (3.0, START - 540, START - 480)]
    assert read(looks) == [Minute(int(START // 60) - 9, 3.0)]


@settings(max_examples=60)
@given(samples, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_and_stay_within_the_scale(values, first, second):
    histogram = filled(values)
    low, high = histogram.quantile(min(first, second)), histogram.quantile(max(first, second))
    if not values:
        assert low is None
        assert high is None
    else:
        assert SCALE.low <= low <= high <= SCALE.high * (1 + 1e-9)


@settings(max_examples=60)
@given(samples.filter(bool), st.floats(0, 1e5), st.floats(0, 1e5))
def test_the_tail_falls(values, first, second):
    histogram = filled(values)
    near, far = min(first, second), max(first, second)
    assert 0 <= histogram.above(far) <= histogram.above(near) <= 1
    assert histogram.mean_up_to(near) <= histogram.mean_up_to(far) <= far


@settings(max_examples=60)
@given(samples)
def test_histograms_survive_json_and_stay_bounded(values):
    histogram = filled(values)
    again = Histogram.load(SCALE, json.loads(json.dumps(histogram.dump())))
    assert again.dump() == histogram.dump()
    assert again.quantile(0.7) == histogram.quantile(0.7)
    assert histogram.weight < SCALE.limit


@pytest.mark.parametrize(
    "data", [None, "12", 3, {}, [1, -1], [float("nan")], [True], ["1"], [1.0] * 21, [1e30]]
)
def test_a_damaged_histogram_is_empty(data):
    assert Histogram.load(SCALE, data) == Histogram(SCALE)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_sample_that_is_no_amount_is_refused(value):
    with pytest.raises(ValueError, match="finite and not negative"):
        Histogram(SCALE).add(value)


def test_old_evidence_fades():
    before = filled([10.0] * 90)
    assert before.quantile(0.5) < 20
    assert filled([10.0] * 90 + [1000.0] * 200).quantile(0.2) > 500
