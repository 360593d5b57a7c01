"""Borders of local time, worked out by hand: gaps, folds, missing midnights, a day that never was."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.local_time import instant

from tests.unit.decide.zones import ZONES


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def at(day, clock, zone, *, last=False):
    hours, minutes = map(int, clock.split(":"))
    return instant(date.fromisoformat(day), hours * 60 + minutes, ZoneInfo(zone), last=last)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/New_York", "2026-03-08", 23),
        ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Africa/Casablanca", "2026-02-15", 25),
        ("Africa/Casablanca", "2026-03-22", 23),
        ("Pacific/Apia", "2011-12-30", 0),
        ("America/Sao_Paulo", "2018-11-04", 23),
        ("Asia/Kolkata", "2026-03-29", 24),
    ],
)
def test_days_are_as_long_as_they_are(zone, day, hours):
    length = at(day, "24:00", zone, last=True) - at(day, "00:00", zone)
    assert length == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "day", "clock", "first", "last"),
    [
        ("Europe/Berlin", "2026-07-01", "08:00", "2026-07-01T06:00", "2026-07-01T06:00"),
        # A gap: the first instant after it, for both.
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29", "02:00", "2026-03-29T01:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T01:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-03-29", "01:59", "2026-03-29T00:59", "2026-03-29T00:59"),
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:30", "2026-10-03T15:30"),
        ("America/Sao_Paulo", "2018-11-04", "00:00", "2018-11-04T03:00", "2018-11-04T03:00"),
        ("America/Sao_Paulo", "2018-11-03", "24:00", "2018-11-04T03:00", "2018-11-04T03:00"),
        ("Pacific/Apia", "2011-12-30", "13:37", "2011-12-30T10:00", "2011-12-30T10:00"),
        # A fold: the first occurrence for a start, the second for an end.
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30", "2026-10-25T01:30"),
        ("America/New_York", "2026-11-01", "01:30", "2026-11-01T05:30", "2026-11-01T06:30"),
        ("Australia/Lord_Howe", "2026-04-05", "01:45", "2026-04-04T14:45", "2026-04-04T15:15"),
        ("America/Havana", "2026-11-01", "00:00", "2026-11-01T04:00", "2026-11-01T05:00"),
    ],
)
def test_borders_by_hand(zone, day, clock, first, last):
    assert at(day, clock, zone) == utc(first)
    assert at(day, clock, zone, last=True) == utc(last)


@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2036, 1, 1)), st.integers(0, 1439))
@settings(max_examples=300)
def test_a_border_reads_as_it_was_asked_or_ends_a_gap(zone, day, minute):
    wanted = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minute)
    found = instant(day, minute, zone, last=False)
    read = found.astimezone(zone).replace(tzinfo=None)
    if read != wanted:
        just_before = (found - timedelta(microseconds=1)).astimezone(zone).replace(tzinfo=None)
        assert just_before < wanted < read


@given(
    st.sampled_from(ZONES),
    st.dates(date(1990, 1, 1), date(2036, 1, 1)),
    st.integers(0, 1440),
    st.integers(0, 1440),
    st.booleans(),
)
@settings(max_examples=300)
def test_borders_keep_the_order_of_the_clock(zone, day, one, other, last):
    low, high = sorted((one, other))
    assert instant(day, low, zone, last=last) <= instant(day, high, zone, last=last)
    assert instant(day, low, zone, last=False) <= instant(day, low, zone, last=True)
