"""Schedules where clocks jump and days go missing: tables by hand, and laws for all zones and dates."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torpor.decide.schedule import Limits, standing

from tests.unit.decide.schedules import (
    MINUTE,
    cases,
    exception,
    local,
    schedule,
    transitions,
    window,
)


@pytest.mark.parametrize(
    ("zone", "begin", "start", "end", "expected"),
    [
        # Over the night of the jump the window is an hour shorter or longer in truth, never on the wall.
        ("Europe/Berlin", "2026-03-28T12:00", "22:00", "06:00", ["03-28T21:00", "03-29T04:00"]),
        ("Europe/Berlin", "2026-10-24T12:00", "22:00", "06:00", ["10-24T20:00", "10-25T05:00"]),
        # A start in the gap begins after it; an end in the gap is the first instant after it.
        ("Europe/Berlin", "2026-03-28T12:00", "02:30", "05:00", ["03-29T01:00", "03-29T03:00"]),
        ("Europe/Berlin", "2026-03-28T12:00", "01:00", "02:30", ["03-29T00:00", "03-29T01:00"]),
        # Wholly in the gap: not that day.
        ("Europe/Berlin", "2026-03-28T12:00", "02:10", "02:50", ["03-30T00:10", "03-30T00:50"]),
        # In the fold: from the first occurrence to the last.
        ("Europe/Berlin", "2026-10-24T12:00", "02:15", "02:45", ["10-25T00:15", "10-25T01:45"]),
        ("America/New_York", "2026-03-07T12:00", "02:30", "03:30", ["03-08T07:00", "03-08T07:30"]),
        ("America/New_York", "2026-10-31T12:00", "01:30", "03:00", ["11-01T05:30", "11-01T08:00"]),
        ("Australia/Lord_Howe", "2026-10-03T12:00", "02:15", "04:00", ["10-03T15:30", "10-03T17:00"]),
        ("Australia/Lord_Howe", "2026-04-04T12:00", "01:45", "02:00", ["04-04T14:45", "04-04T15:30"]),
        ("Africa/Casablanca", "2026-02-14T12:00", "02:30", "08:00", ["02-15T01:30", "02-15T08:00"]),
        ("Africa/Casablanca", "2026-03-21T12:00", "02:30", "08:00", ["03-22T02:00", "03-22T07:00"]),
        ("America/Sao_Paulo", "2018-11-03T12:00", "00:00", "01:30", ["11-04T03:00", "11-04T03:30"]),
    ],
)
def test_windows_across_the_jumps(zone, begin, start, end, expected):
    zone = ZoneInfo(zone)
    found = transitions(schedule(window(start, end), zone=zone), local(begin, zone), 2)
    assert [when for when, _ in found] == expected


def test_a_day_that_never_was_has_no_instant():
    apia = ZoneInfo("Pacific/Apia")
    plan = schedule(zone=apia, outside=Limits(), exceptions=[exception("2011-12-30", floor=2)])
    assert standing(plan, local("2011-12-29T12:00", apia)).until is None
    daily = schedule(window("08:00", "20:00"), zone=apia)
    assert transitions(daily, local("2011-12-29T21:00", apia), 2) == [
        ("12-30T18:00", "office"),  # Saturday the 31st, 08:00: Friday has no office hours
        ("12-31T06:00", "outside"),
    ]


def test_a_pre_warm_is_measured_in_true_time_across_a_jump():
    plan = schedule(window("03:30", "20:00", early=True))
    found = standing(plan, local("2026-03-29T00:00"), timedelta(hours=1))
    assert found.until == local("2026-03-29T03:30") - timedelta(hours=1)


@given(cases(), st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=6))
@settings(max_examples=80, deadline=None)
def test_between_two_transitions_nothing_changes_and_at_one_something_does(case, places):
    plan, at, lead = case
    for _ in range(4):
        now = standing(plan, at, lead)
        until = now.until or at + timedelta(days=20)
        assert until > at
        for place in (*places, 0.999999):
            moment = min(at + (until - at) * place, until - timedelta(microseconds=1))
            between = standing(plan, moment, lead)
            assert between.state == now.state
            assert between.until == now.until
        if now.until is None:
            break
        assert standing(plan, now.until, lead).state == now.after != now.state
        at = now.until


@given(cases())
@settings(max_examples=80, deadline=None)
def test_every_minute_that_reads_inside_a_window_is_covered(case):
    """A jump never shortens: whatever the clock reads inside the window belongs to it."""
    plan, at, _ = case
    plan = replace(plan, exceptions=(), windows=tuple(replace(w, limits=Limits(2)) for w in plan.windows))
    read = at.astimezone(plan.zone)
    minute, day = read.hour * 60 + read.minute, read.weekday()
    names = standing(plan, at).state.names
    for one in plan.windows:
        overnight = one.end <= one.start
        today = day in one.days and one.start <= minute and (overnight or minute < one.end)
        yesterday = overnight and (day - 1) % 7 in one.days and minute < one.end
        if today or (yesterday and _had_a_yesterday(read)):
            assert one.name in names


def _had_a_yesterday(read):
    """Apia's 31 December 2011 has none; the test's dates have all."""
    return read.year > 2012


@given(cases())
@settings(max_examples=80, deadline=None)
def test_far_from_any_jump_a_window_is_exactly_what_the_clock_reads(case):
    plan, at, _ = case
    plan = replace(plan, exceptions=())
    offsets = {(at + timedelta(days=n)).astimezone(plan.zone).utcoffset() for n in range(-3, 4)}
    assume(len(offsets) == 1)
    read = at.astimezone(plan.zone)
    minute, day = read.hour * 60 + read.minute, read.weekday()
    expected = {
        one.name
        for one in plan.windows
        if (day in one.days and one.start <= minute and (one.end <= one.start or minute < one.end))
        or (one.end <= one.start and (day - 1) % 7 in one.days and minute < one.end)
    }
    found = set(standing(plan, at).state.names) - {"outside"}
    assert found == expected


@given(cases())
@settings(max_examples=80, deadline=None)
def test_on_an_exceptions_date_nothing_else_speaks(case):
    plan, at, _ = case
    day = at.astimezone(plan.zone).date()
    names = {one.name for one in plan.exceptions if day in one.dates}
    if names:
        assert names <= set(standing(plan, at).state.names)
        assert not set(standing(plan, at).state.names) & {"a", "b", "c", "outside"}


@given(cases())
@settings(max_examples=80, deadline=None)
def test_a_pre_warm_only_adds_and_only_before_its_window(case):
    plan, at, lead = case
    plain, warm = standing(plan, at).state, standing(plan, at, lead).state
    if plain == warm:
        return
    assert lead
    assert warm.names == plain.names
    assert (warm.limits.floor or 0) >= (plain.limits.floor or 0)
    assert plain.limits.ceiling is None or warm.limits.ceiling >= plain.limits.ceiling
    later = at + lead
    assert any(
        one.ready_by_start and one.name in warm.warming and one.name in standing(plan, moment).state.names
        for one in plan.windows
        for moment in (later, *(at + MINUTE * n for n in range(1, int(lead / MINUTE) + 1)))
    )


@given(cases())
@settings(max_examples=60, deadline=None)
def test_the_opening_is_where_closed_hours_end(case):
    plan, at, lead = case
    found = standing(plan, at, lead)
    if not found.state.closed:
        assert found.opens is None
    elif found.opens is not None:
        assert found.opens > at
        assert not standing(plan, found.opens).state.closed
        assert standing(plan, found.opens - timedelta(seconds=1)).state.closed
