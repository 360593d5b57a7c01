"""Forecasts: what they foresee, when they abstain, and how they earn their place."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.forecast import forecast, horizon_minutes, newsvendor
from torpor.decide.histogram import Histogram
from torpor.decide.minutes import Minute
from torpor.decide.profile import Profile
from torpor.decide.track import ERRORS, LONGEST_HORIZON, Track, pinball
from torpor.decide.values import Unknown
from torpor.decide.views import NO_BELIEF, NO_LEVELS

DAY, WEEK = 1440, 7 * 1440  # minutes
START = 20_000 * DAY
SHARE, HORIZON = 0.9, 10
EIGHT, NOON = 8 * 60, 12 * 60


def office(number):
    """Requests per second in a minute: nobody at night, a ramp from 8:00 to 8:30, ten until 20:00."""
    minute = number % DAY
    steady = min(max(minute - EIGHT, 0) / 3, 10.0) if minute < 20 * 60 else 0.0
    return steady * (1 + 0.1 * math.sin(number * 12.9898))  # minutes stray by a tenth


class Fleet:
    """A profile and a track that are fed minute by minute."""

    def __init__(self, profile=None, track=None, offset=0.0):
        self.profile, self.track, self.offset = profile or Profile(), track or Track(), offset
        self.number = None

    def live(self, minutes, rate_of):
        for number in minutes:
            minute = Minute(number, rate_of(number))
            self.track = self.track.add(minute, self.profile, self.offset, HORIZON, SHARE)
            self.profile = self.profile.add(minute, self.offset)
            self.number = number
        return self

    def copy(self):
        fleet = Fleet(self.profile, self.track, self.offset)
        fleet.number = self.number
        return fleet

    def foresees(self, rate=0.0, later=0.0):
        return forecast(self.track, (self.number + 1) * 60.0 + later, rate)


@pytest.fixture(scope="module")
def trained():
    """An office that was watched for four days, up to midnight."""
    return Fleet().live(range(START, START + 4 * DAY), office)


@pytest.fixture(scope="module")
def morning(trained):
    """The same at 7:55 of the fifth day."""
    return trained.copy().live(range(START + 4 * DAY, START + 4 * DAY + EIGHT - 5), office)


def test_a_new_fleet_has_no_forecast_and_says_why():
    assert forecast(Track(), 0.0, 5.0).rate is None
    first_day = Fleet().live(range(START, START + EIGHT + 60), office).foresees(9.0)
    assert first_day.rate is None
    assert "no earlier day" in first_day.reason


def test_the_second_day_foresees_the_morning():
    fleet = Fleet().live(range(START, START + DAY + EIGHT - 5), office)
    assert fleet.foresees().rate > 1.0


def test_the_morning_is_foreseen_before_anybody_came(morning):
    answer = morning.foresees()
    assert 1.5 < answer.rate < 6.0
    assert answer.naive < 0.5
    early = Fleet(morning.profile, morning.track).live([START + 4 * DAY + EIGHT - 65], office)
    assert early.foresees().rate < 0.5


def test_the_forecast_covers_what_comes_and_not_much_more(trained):
    fleet, covered, lost, naive = trained.copy(), 0, 0.0, 0.0
    day = range(START + 4 * DAY, START + 5 * DAY)
    for number in day:
        answer = fleet.live([number], office).foresees()
        came = max(office(after) for after in range(number + 1, number + 1 + HORIZON))
        covered += came <= answer.rate + 1e-9
        lost += pinball(came, answer.rate, SHARE)
        naive += pinball(came, answer.naive, SHARE)
    assert covered > 0.8 * len(day)
    assert lost < 0.6 * naive


@pytest.mark.parametrize("rate", [Unknown("silent"), float("nan"), -3.0])
def test_an_unknown_present_does_not_lower_the_forecast(morning, rate):
    assert morning.foresees(rate).rate == morning.foresees(0.0).rate


def test_a_forecast_is_never_below_the_present(morning):
    for rate in (0.0, 1.0, 3.0, 50.0, 1e9):
        assert morning.foresees(rate).rate >= rate


def test_a_forecast_of_minutes_ago_is_none_of_now(morning):
    assert morning.foresees(later=100).rate is not None
    late = morning.foresees(later=600)
    assert late.rate is None
    assert "600 s ago" in late.reason
    assert morning.foresees(later=-600).rate is None


def test_a_holiday_does_not_keep_the_fleet_up(trained):
    fleet = trained.copy()
    holiday = START + 4 * DAY
    fleet.live(range(holiday, holiday + EIGHT - 5), lambda _: 0.0)
    assert fleet.foresees().rate > 1.0  # nobody told
    fleet.live(range(holiday + EIGHT - 5, holiday + EIGHT + 60), lambda _: 0.0)
    answer = fleet.foresees()
    assert answer.rate is None
    assert "far below" in answer.reason
    fleet.live(range(holiday + EIGHT + 60, holiday + DAY + EIGHT - 5), lambda _: 0.0)
    assert fleet.foresees().rate > 1.0  # the day after is foreseen again


def test_minutes_that_were_not_seen_are_not_zero(trained):
    noon = START + 4 * DAY + NOON
    fleet = trained.copy().live(range(noon - 60, noon), office)
    before = fleet.foresees().rate
    after = fleet.copy().live([noon + 20], office).foresees().rate
    assert after == pytest.approx(before, rel=0.2)
    much_later = fleet.copy().live([noon + 120], office)
    assert len(much_later.track.recent) == 1
    assert much_later.foresees().rate == pytest.approx(before, rel=0.3)


def test_a_day_of_twice_the_usual_is_foreseen_at_twice(trained):
    noon = START + 4 * DAY + NOON
    usual = trained.copy().live(range(noon - 90, noon), office).foresees().rate
    double = trained.copy().live(range(noon - 90, noon), lambda n: 2 * office(n)).foresees().rate
    assert double == pytest.approx(2 * usual, rel=0.15)


def test_a_useless_forecast_is_noticed(trained):
    """The profile says office hours; from the fifth day on work comes at night instead."""
    fleet, start = trained.copy(), START + 4 * DAY
    dropped = []
    for number in range(start, start + DAY):
        fleet.live([number], lambda n: office(n + DAY // 2))
        dropped.append(fleet.track.dropped)
    assert any(dropped)
    last = max(number for number, bad in enumerate(dropped) if bad)
    assert trained.track.dropped is False
    assert last > 0


def test_a_dropped_forecast_is_not_used_and_taken_up_again_when_it_is_good(trained):
    bad = replace(trained.track, loss=2 * trained.track.naive_loss, dropped=True)
    fleet, start = Fleet(trained.profile, bad), START + 4 * DAY
    answer = fleet.live([start], office).foresees(3.0)
    assert answer.rate is None
    assert "lose 2.0" in answer.reason
    assert answer.expected is not None  # it goes on being made
    fleet.live(range(start + 1, start + DAY + NOON), office)
    assert not fleet.track.dropped
    assert fleet.foresees().rate is not None


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_newsvendor_orders_more_when_late_costs_more(late, more, idle):
    share = newsvendor(late, idle)
    assert 0.5 <= share <= 0.99
    assert newsvendor(late + more, idle) >= share
    assert newsvendor(late, idle + more) <= share


def test_the_newsvendor_orders_nine_of_ten_when_late_costs_nine_times():
    assert newsvendor(9.0, 1.0) == pytest.approx(0.9)
    assert newsvendor(0.0, 0.0) == 0.5
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="not negative"):
            newsvendor(bad, 1.0)


@given(st.floats(-10, 1e9), st.floats(0, 1e9), st.floats(0, 100))
def test_the_horizon_covers_the_cold_start(cold_start, more, interval):
    minutes = horizon_minutes(cold_start, interval)
    assert 1 <= minutes <= LONGEST_HORIZON
    assert minutes == LONGEST_HORIZON or 60 * (minutes - 1) >= cold_start + interval - 1e-6
    assert horizon_minutes(cold_start + more, interval) >= minutes


peaks = st.floats(0, 1000)


@settings(max_examples=60)
@given(one=peaks, other=peaks, low=st.floats(0.5, 0.99), high=st.floats(0.5, 0.99))
def test_more_that_is_usual_or_a_larger_share_never_asks_for_less(morning, one, other, low, high):
    track = morning.track
    less = track.foresee(min(one, other), HORIZON, min(low, high))
    more = track.foresee(max(one, other), HORIZON, max(low, high))
    assert 0 <= less.blend <= more.blend * (1 + 1e-9)
    assert 0 <= less.quantile <= more.quantile * (1 + 1e-9)
    assert less.naive_quantile <= more.naive_quantile


def test_more_never_asks_for_less_where_quiet_hours_become_busy(morning):
    """Quiet hours stray threefold here, busy ones not at all."""
    quiet, busy = Histogram(ERRORS), Histogram(ERRORS)
    for _ in range(100):
        quiet, busy = quiet.add(3.0), busy.add(1.0)
    track = replace(morning.track, quiet=quiet, busy=busy)
    promises = [track.foresee(peak / 10, HORIZON, SHARE) for peak in range(300)]
    assert {promise.busy for promise in promises} == {True, False}
    asked = [promise.quantile for promise in promises]
    assert asked == sorted(asked)


@settings(max_examples=25)
@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=40),
    st.sampled_from([-2, 1, 5]),
    st.integers(-12, 12),
)
def test_a_shift_by_weeks_and_zones_changes_nothing(morning, rates, weeks, hours):
    shift = weeks * WEEK - hours * 60
    one, other = Fleet(morning.profile), Fleet(morning.profile, offset=hours * 3600.0)
    start = START + 5 * DAY + NOON
    one.live(range(start, start + len(rates)), lambda n: rates[n - start])
    other.live(range(start + shift, start + shift + len(rates)), lambda n: rates[n - shift - start])
    assert other.foresees() == one.foresees()
    assert other.track.dump() == one.track.dump()


@settings(max_examples=25)
@given(st.lists(st.floats(0.1, 100), min_size=30, max_size=60))
def test_the_unit_does_not_matter(rates):
    one, other = Fleet(), Fleet()
    for start, minutes in ((START, len(rates)), (START + DAY, len(rates) // 2)):
        one.live(range(start, start + minutes), lambda n, start=start: rates[n - start])
        other.live(range(start, start + minutes), lambda n, start=start: 1000 * rates[n - start])
    one_told, other_told = one.track.promises[-1], other.track.promises[-1]
    assert other_told.blend == pytest.approx(1000 * one_told.blend, rel=0.01)
    assert other_told.quantile == pytest.approx(1000 * one_told.quantile, rel=0.01)


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(-5, 100), st.floats(0, 1e12)), max_size=60))
def test_any_row_of_minutes_gives_a_finite_forecast_and_bounded_memory(rows):
    fleet, number = Fleet(), START
    for gap, rate in rows:
        number += gap
        fleet.live([number], lambda _, rate=rate: rate)
        answer = fleet.foresees(rate)
        assert answer.rate is None or rate <= answer.rate < math.inf
        assert answer.reason
    assert len(fleet.track.recent) <= LONGEST_HORIZON
    assert len(fleet.track.promises) <= LONGEST_HORIZON


def test_what_was_learned_survives_a_restart(morning):
    text = json.dumps(morning.track.dump())
    assert len(text) < 3 * 1024
    again = Track.load(json.loads(text))
    assert again.dump() == morning.track.dump()
    assert replace(morning.track, recent=(), levels=NO_LEVELS, promises=()) == again
    profile = Profile.load(json.loads(json.dumps(morning.profile.dump())))
    restarted = Fleet(profile, again).live([morning.number + 1], office)
    assert restarted.foresees().rate == pytest.approx(morning.foresees().rate, rel=0.5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 2),
        ("typical", -1),
        ("typical", math.nan),
        ("scored", "1"),
        ("belief", None),
        ("belief", {}),
    ],
)
def test_a_damaged_track_is_empty(morning, key, value):
    assert Track.load({**morning.track.dump(), key: value}) == Track()
    assert Track.load(None) == Track()


def test_views_are_equal_before_the_first_error_and_add_up_to_one():
    assert sum(NO_BELIEF.weights()) == pytest.approx(1.0)
    assert len(set(NO_BELIEF.weights())) == 1
    told = NO_BELIEF
    for _ in range(50):
        told = told.add(10.0, (10.0, 30.0, 10.0, 0.0, 9.0, 10.5))
    assert sum(told.weights()) == pytest.approx(1.0)
    assert told.blend((10.0, 30.0, 10.0, 0.0, 9.0, 10.5)) == pytest.approx(10.0, rel=0.05)


def test_a_view_that_is_always_off_by_the_same_factor_is_corrected():
    told = NO_BELIEF
    for came in [8.0, 2.0, 12.0, 6.0] * 40:
        told = told.add(came, (came / 2, 5.0, 5.0, 5.0, 5.0, 5.0))
    assert told.corrections()[0] == pytest.approx(2.0)
    assert told.blend((3.0, 5.0, 5.0, 5.0, 5.0, 5.0)) == pytest.approx(6.0, rel=0.05)
