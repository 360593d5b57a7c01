"""The arrival profile: what is usual at a time of the week."""

import json
import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.minutes import Minute
from torpor.decide.profile import FORGET, SLOT_MINUTES, Profile

DAY, WEEK = 1440, 7 * 1440  # minutes
MONDAY = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp()) // 60
rates = st.floats(0, 1e6)
slots = st.lists(st.tuples(st.integers(0, 2 * WEEK // SLOT_MINUTES), rates), max_size=30).map(sorted)


def watched(minutes, profile=None, offset=0.0):
    """The profile after (minute, rate) pairs, and a last minute elsewhere that ends the last slot."""
    profile = profile or Profile()
    number = None
    for number, rate in minutes:
        profile = profile.add(Minute(number, rate), offset)
    return profile if number is None else profile.add(Minute(number + SLOT_MINUTES, 0.0), offset)


def constant(slot, rate, start=MONDAY):
    """The minutes of one slot."""
    return [(start + slot * SLOT_MINUTES + minute, rate) for minute in range(SLOT_MINUTES)]


def visited(visits, start=MONDAY):
    return watched([minute for slot, rate in visits for minute in constant(slot, rate, start)])


def usual(profile, minute, offset=0.0):
    return profile.ahead(minute, 1, offset, 0.5)[0]


def test_an_empty_profile_knows_nothing():
    assert Profile().ahead(MONDAY, 30, 0.0, 0.9) == (None, None)
    assert Profile().seen == 0


def test_a_slot_that_was_not_watched_is_unknown_and_not_zero():
    profile = watched(constant(0, 5.0)[:2])
    assert profile.seen == 0
    assert usual(profile, MONDAY + WEEK) is None


def test_a_silent_slot_is_zero_and_not_unknown():
    assert usual(watched(constant(0, 0.0)), MONDAY + WEEK + 2) == 0.0


def test_yesterday_and_last_week_both_tell():
    profile = watched(constant(0, 5.0))
    for days in (1, 3, 6, 7, 14):
        assert usual(profile, MONDAY + days * DAY + 2) == pytest.approx(5.0, rel=1e-3)


def test_the_own_weekday_outweighs_the_others_when_it_was_seen_often():
    weeks = [(day * 288 + week * 2016, 1.0 if day == 5 else 9.0) for week in range(4) for day in range(7)]
    profile = visited(weeks)
    assert usual(profile, MONDAY + 4 * WEEK + 5 * DAY + 2) < 5.0
    assert usual(profile, MONDAY + 4 * WEEK + 2 * DAY + 2) > 8.0


def test_one_holiday_moves_the_usual_day_little():
    days = [(day * 288, 0.0 if day == 3 else 8.0) for day in range(5)]
    assert usual(visited(days), MONDAY + 5 * DAY + 2) > 6.0


def test_a_habit_that_changed_is_forgotten_within_weeks():
    weeks = [(week * 2016, 8.0 if week < 6 else 2.0) for week in range(12)]
    profile = visited(weeks)
    assert usual(profile, MONDAY + 12 * WEEK + 2) == pytest.approx(2.0 + 6.0 * (1 - FORGET) ** 6, rel=0.01)


def test_minutes_that_stray_show_in_the_quantile():
    calm, wild = watched(constant(0, 5.0)), watched([(MONDAY + m, r) for m, r in enumerate((1, 3, 5, 7, 19))])
    at = MONDAY + DAY
    assert calm.ahead(at, 2, 0.0, 0.9)[1] == pytest.approx(5.0, rel=1e-3)
    assert wild.ahead(at, 2, 0.0, 0.5)[1] == pytest.approx(5.0, rel=1e-3)
    assert wild.ahead(at, 2, 0.0, 0.9)[1] == pytest.approx(14.2, rel=1e-2)


def test_daylight_saving_time_does_not_move_eight_o_clock():
    """Berlin left summer time on 2026-10-25: the same local time is another time in UTC."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    profile = Profile()
    before = datetime(2026, 10, 24, 8, 0, tzinfo=berlin)
    for minute in range(SLOT_MINUTES + 1):
        when = before.astimezone(UTC) + timedelta(minutes=minute)
        offset = before.utcoffset().total_seconds()
        profile = profile.add(Minute(int(when.timestamp()) // 60, 7.0), offset)
    after = datetime(2026, 10, 26, 8, 2, tzinfo=berlin)
    number, offset = int(after.timestamp()) // 60, after.utcoffset().total_seconds()
    assert usual(profile, number, offset) == pytest.approx(7.0, rel=1e-3)
    assert usual(profile, number + 60, offset) is None


@settings(max_examples=40)
@given(slots, st.integers(1, 45), st.integers(1, 45), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_the_peak_rises_with_the_horizon_and_with_the_share(visits, one, other, low, high):
    profile = visited(visits)
    near, far = min(one, other), max(one, other)
    for at in (MONDAY + WEEK, MONDAY + 2 * WEEK + 17):
        peaks = [
            profile.ahead(at, minutes, 0.0, share)[1]
            for minutes, share in ((near, min(low, high)), (far, min(low, high)), (far, max(low, high)))
        ]
        known = [-1.0 if peak is None else peak * (1 + place * 1e-9) for place, peak in enumerate(peaks)]
        assert known == sorted(known)


@settings(max_examples=40)
@given(slots)
def test_what_is_usual_stays_within_what_came(visits):
    profile = visited(visits)
    top = max((rate for _, rate in visits), default=0.0)
    for at in range(MONDAY + WEEK, MONDAY + WEEK + 60, 7):
        now, peak = profile.ahead(at, 10, 0.0, 0.99)
        assert now is None or 0 <= now <= top * 1.001 + 1e-3
        assert peak is None or 0 <= peak <= top * 1.001 + 1e-3


@settings(max_examples=40)
@given(slots, st.integers(-3, 3), st.integers(-13, 14))
def test_a_shift_by_weeks_or_zones_changes_nothing(visits, weeks, hours):
    moved = MONDAY + weeks * WEEK - hours * 60
    profile = visited(visits)
    other = Profile()
    for slot, rate in visits:
        for number, value in constant(slot, rate, moved):
            other = other.add(Minute(number, value), hours * 3600.0)
    if visits:
        other = other.add(Minute(moved + (visits[-1][0] + 2) * SLOT_MINUTES, 0.0), hours * 3600.0)
    assert other.table == profile.table
    at = MONDAY + 2 * WEEK
    assert other.ahead(at - hours * 60, 20, hours * 3600.0, 0.9) == profile.ahead(at, 20, 0.0, 0.9)


@settings(max_examples=40)
@given(slots)
def test_profiles_survive_json_in_bounded_size(visits):
    profile = visited(visits)
    text = json.dumps(profile.dump())
    assert len(text) < 14 * 1024
    again = Profile.load(json.loads(text))
    assert again.table == profile.table
    assert again.dump() == profile.dump()


@pytest.mark.parametrize(
    "data",
    [
        None, [], {},
        {"v": 2, "slotMinutes": 5, "table": "AA=="}, {"v": 1, "slotMinutes": 5, "table": "AA=="},
        {"v": 1, "slotMinutes": 5, "table": "%%"}, {"v": 1, "slotMinutes": 5, "table": "ä"},
        {"v": 1, "slotMinutes": 5, "table": 7}, {"v": 1, "slotMinutes": 10, "table": ""},
    ],
)  # fmt: skip
def test_a_damaged_profile_is_empty(data):
    assert Profile.load(data) == Profile()
