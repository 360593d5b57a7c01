"""Schedules: tables worked out by hand, and laws for all zones, dates and schedules."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torpor.decide.local_time import instant
from torpor.decide.schedule import DatedException, Limits, Schedule, Window, standing

from tests.unit.decide.zones import ZONES

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))
WEEKDAYS = frozenset(range(5))
MINUTE = timedelta(minutes=1)


def minutes(clock):
    hours, rest = clock.split(":")
    return int(hours) * 60 + int(rest)


def window(start, end, floor=1, ceiling=None, *, name="office", days=EVERY_DAY, early=False):
    limits = Limits(floor, ceiling)
    return Window(name, frozenset(days), minutes(start), minutes(end), limits, early)


def exception(*dates, floor=None, ceiling=None, name="holidays"):
    return DatedException(name, frozenset(map(date.fromisoformat, dates)), Limits(floor, ceiling))


def schedule(*windows, zone=BERLIN, exceptions=(), outside=Limits(ceiling=0), **more):  # noqa: B008
    return Schedule(zone, str(zone), windows, tuple(exceptions), outside, **more)


def local(text, zone=BERLIN, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def limits_at(plan, text, lead=timedelta(0), zone=BERLIN, fold=0):
    state = standing(plan, local(text, zone, fold), lead).state
    return state.limits.floor, state.limits.ceiling


def transitions(plan, begin, number, lead=timedelta(0)):
    """The next transitions as (UTC, names)."""
    found, at = [], begin
    for _ in range(number):
        now = standing(plan, at, lead)
        if now.until is None:
            break
        at = now.until
        found.append((f"{at:%m-%dT%H:%M}", standing(plan, at, lead).names))
    return found


# --- windows, outside, exceptions -------------------------------------------------------------------


def test_a_window_includes_its_start_and_not_its_end():
    plan = schedule(window("08:00", "20:00"))
    assert limits_at(plan, "2026-11-20T07:59:59") == (None, 0)
    assert limits_at(plan, "2026-11-20T08:00:00") == (1, None)
    assert limits_at(plan, "2026-11-20T19:59:59") == (1, None)
    assert limits_at(plan, "2026-11-20T20:00:00") == (None, 0)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_starts():
    plan = schedule(window("22:00", "06:00", days=[4]))  # Fridays
    assert limits_at(plan, "2026-11-20T23:00") == (1, None)
    assert limits_at(plan, "2026-11-21T05:59") == (1, None)  # Saturday
    assert limits_at(plan, "2026-11-21T06:00") == (None, 0)
    assert limits_at(plan, "2026-11-21T23:00") == (None, 0)
    assert limits_at(plan, "2026-11-20T05:00") == (None, 0)


def test_a_whole_day_is_written_with_24_and_days_in_a_row_are_one():
    plan = schedule(window("00:00", "24:00", days=[4, 5]))
    begin = local("2026-11-19T12:00")
    assert transitions(plan, begin, 2) == [("11-19T23:00", "office"), ("11-21T23:00", "outside")]


def test_of_several_windows_the_highest_floor_and_the_lowest_ceiling_count():
    plan = schedule(
        window("08:00", "20:00", 1, 6),
        window("12:00", "14:00", 3, None, name="lunch"),
        window("13:00", "15:00", None, 4, name="cap"),
    )
    assert limits_at(plan, "2026-11-20T11:00") == (1, 6)
    assert limits_at(plan, "2026-11-20T12:30") == (3, 6)
    assert limits_at(plan, "2026-11-20T13:30") == (3, 4)
    assert limits_at(plan, "2026-11-20T14:30") == (1, 4)
    assert standing(plan, local("2026-11-20T13:30")).names == "office and lunch and cap"


def test_a_nested_window_raises_and_nothing_else():
    plan = schedule(window("08:00", "20:00", 1), window("10:00", "11:00", 5, name="peak"))
    told = [names for _, names in transitions(plan, local("2026-11-20T00:00"), 4)]
    assert told == ["office", "office and peak", "office", "outside"]


def test_a_floor_above_a_ceiling_is_reported_as_it_is():
    plan = schedule(window("08:00", "20:00", 5), window("09:00", "10:00", None, 2, name="cap"))
    assert limits_at(plan, "2026-11-20T09:30") == (5, 2)


def test_an_exception_beats_windows_and_outside_for_its_local_date():
    plan = schedule(window("08:00", "20:00"), exceptions=[exception("2026-12-25", ceiling=2, floor=2)])
    assert limits_at(plan, "2026-12-24T23:59:59") == (None, 0)
    assert limits_at(plan, "2026-12-25T00:00") == (2, 2)
    assert limits_at(plan, "2026-12-25T12:00") == (2, 2)
    assert limits_at(plan, "2026-12-25T23:59:59") == (2, 2)
    assert limits_at(plan, "2026-12-26T00:00") == (None, 0)


def test_an_exception_cuts_what_runs_into_it_and_cancels_what_starts_on_it():
    plan = schedule(window("22:00", "06:00"), exceptions=[exception("2026-12-25", ceiling=0)])
    assert limits_at(plan, "2026-12-24T23:59") == (1, None)
    assert limits_at(plan, "2026-12-25T00:00") == (None, 0)  # cut
    assert limits_at(plan, "2026-12-25T23:00") == (None, 0)  # cancelled,
    assert limits_at(plan, "2026-12-26T05:00") == (None, 0)  # its part after midnight included
    assert limits_at(plan, "2026-12-26T22:00") == (1, None)


def test_two_exceptions_of_one_date_join_like_windows():
    plan = schedule(
        exceptions=[
            exception("2026-12-24", floor=1),
            exception("2026-12-24", floor=2, ceiling=3, name="sale"),
        ]
    )
    assert limits_at(plan, "2026-12-24T12:00") == (2, 3)


def test_leap_days_are_dates():
    plan = schedule(exceptions=[exception("2028-02-29", floor=2)])
    found = standing(plan, local("2026-01-01T00:00"))
    assert found.until == local("2028-02-29T00:00")
    assert standing(plan, found.until).until == local("2028-03-01T00:00")


def test_a_day_that_never_was_has_no_instant():
    apia = ZoneInfo("Pacific/Apia")
    plan = schedule(zone=apia, outside=Limits(), exceptions=[exception("2011-12-30", floor=2)])
    assert standing(plan, local("2011-12-29T12:00", apia)).until is None
    daily = schedule(window("08:00", "20:00"), zone=apia)
    assert transitions(daily, local("2011-12-29T21:00", apia), 2) == [
        ("12-30T18:00", "office"),  # Saturday the 31st, 08:00: Friday has no office hours
        ("12-31T06:00", "outside"),
    ]


def test_what_never_changes_has_no_next_transition():
    assert standing(schedule(), local("2026-01-01T00:00")).until is None
    assert standing(schedule(window("00:00", "24:00")), local("2026-01-01T00:00")).until is None
    past = schedule(exceptions=[exception("2020-01-01", floor=1)])
    assert standing(past, local("2026-01-01T00:00")).until is None


# --- summer and winter time -----------------------------------------------------------------------------


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


# --- ready by the start ---------------------------------------------------------------------------------


LEAD = timedelta(minutes=5)


def test_a_pre_warm_lifts_the_night_to_the_floor_of_its_window():
    plan = schedule(window("08:00", "20:00", 2, 6, early=True))
    assert limits_at(plan, "2026-11-20T07:54:59", LEAD) == (None, 0)
    assert limits_at(plan, "2026-11-20T07:55", LEAD) == (2, 2)
    assert limits_at(plan, "2026-11-20T08:00", LEAD) == (2, 6)
    closed = standing(plan, local("2026-11-20T07:00"), LEAD)
    assert closed.until == local("2026-11-20T07:55")
    assert closed.opens == local("2026-11-20T08:00")
    assert closed.opens_text == "Fri 2026-11-20 08:00 Europe/Berlin"


def test_without_ready_by_nothing_begins_early():
    assert limits_at(schedule(window("08:00", "20:00", 2)), "2026-11-20T07:59", LEAD) == (None, 0)


def test_a_pre_warm_goes_where_its_window_goes():
    plan = schedule(window("00:00", "06:00", 2, early=True), exceptions=[exception("2026-12-25", ceiling=0)])
    assert limits_at(plan, "2026-12-23T23:58", LEAD) == (2, 2)
    assert limits_at(plan, "2026-12-24T23:58", LEAD) == (None, 0)  # cancelled with its window
    assert limits_at(plan, "2026-12-25T23:54", LEAD) == (None, 0)
    assert limits_at(plan, "2026-12-25T23:58", LEAD) == (2, 2)  # lifts the ceiling of the exception before


def test_a_pre_warm_asks_for_no_more_than_its_window_will_have():
    cap = window("07:00", "09:00", None, 1, name="cap")
    plan = schedule(window("08:00", "20:00", 3, early=True), cap)
    assert limits_at(plan, "2026-11-20T07:58", LEAD) == (1, 1)


def test_a_cold_start_longer_than_the_pause_keeps_the_replicas_from_the_close_on():
    plan = schedule(window("08:00", "12:00", early=True), window("13:00", "17:00", early=True, name="late"))
    lead = timedelta(hours=2)
    assert limits_at(plan, "2026-11-20T11:30", lead) == (1, None)
    assert limits_at(plan, "2026-11-20T12:00", lead) == (1, 1)
    assert limits_at(plan, "2026-11-20T13:00", lead) == (1, None)


def test_a_cold_start_longer_than_the_window_begins_early_all_the_same():
    plan = schedule(window("08:00", "08:10", early=True))
    assert limits_at(plan, "2026-11-20T06:30", timedelta(hours=2)) == (1, 1)
    assert limits_at(plan, "2026-11-20T08:10", timedelta(hours=2)) == (None, 0)


def test_a_pre_warm_is_measured_in_true_time_across_a_jump():
    plan = schedule(window("03:30", "20:00", early=True))
    found = standing(plan, local("2026-03-29T00:00"), timedelta(hours=1))
    assert found.until == local("2026-03-29T03:30") - timedelta(hours=1)


# --- closed hours ---------------------------------------------------------------------------------------


def test_the_opening_is_the_next_time_the_ceiling_rises():
    plan = schedule(window("08:00", "20:00", days=WEEKDAYS), exceptions=[exception("2026-11-23", ceiling=0)])
    found = standing(plan, local("2026-11-20T21:00"))  # Friday evening; Monday is a holiday
    assert found.until == local("2026-11-23T00:00")
    assert found.opens == local("2026-11-24T08:00")
    assert standing(schedule(), local("2026-11-20T21:00")).opens is None


@pytest.mark.parametrize("length", range(50, 64))
def test_the_opening_after_a_long_holiday_is_found(length):
    days = [date(2026, 12, 1) + timedelta(days=n) for n in range(length)]
    plan = schedule(window("08:00", "20:00", days=[6]), exceptions=[exception(*map(str, days), ceiling=0)])
    found = standing(plan, local("2026-11-30T21:00"))
    sunday = next(day for n in range(1, 8) if (day := days[-1] + timedelta(days=n)).weekday() == 6)
    assert found.opens == local(f"{sunday}T08:00")


def test_a_pre_warm_that_adds_nothing_is_no_transition():
    plan = schedule(
        window("00:00", "24:00", 2, early=True), window("08:00", "20:00", 1, early=True, name="low")
    )
    found = standing(plan, local("2026-11-20T07:58"), LEAD)
    assert found.state.warming == ()
    assert found.until == local("2026-11-20T08:00")
    assert standing(schedule(window("00:00", "24:00", early=True)), found.until, LEAD).until is None


# --- laws ---------------------------------------------------------------------------------------------


CLOCKS = st.integers(0, 95).map(lambda quarter: quarter * 15)
NUMBERS = st.one_of(st.none(), st.integers(0, 4))
DATES = st.dates(date(2025, 1, 1), date(2028, 12, 31))


@st.composite
def windows(draw):
    start = draw(CLOCKS)
    end = draw(st.one_of(CLOCKS, st.just(1440)))
    assume(start != end)
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    limits = Limits(draw(NUMBERS), draw(NUMBERS))
    return Window(draw(st.sampled_from("abc")), days, start, end, limits, draw(st.booleans()))


@st.composite
def cases(draw):
    """A schedule, and a moment near one of the days on which something may be odd."""
    dated = draw(st.lists(DATES, max_size=4))
    plan = Schedule(
        draw(st.sampled_from(ZONES)),
        "zone",
        tuple(draw(st.lists(windows(), max_size=3))),
        tuple(
            DatedException(f"x{n}", frozenset([day]), Limits(draw(NUMBERS), draw(NUMBERS)))
            for n, day in enumerate(dated)
        ),
        Limits(draw(NUMBERS), draw(NUMBERS)),
    )
    jumps = [date(2026, 3, 29), date(2026, 10, 25), date(2026, 3, 8), date(2026, 11, 1), date(2026, 4, 5)]
    day = draw(st.sampled_from([*jumps, *dated, draw(DATES)]))
    moment = instant(day, 0, plan.zone, last=False) + timedelta(minutes=draw(st.integers(-2880, 2880)))
    return plan, moment, timedelta(minutes=draw(st.sampled_from([0, 1, 7, 90])))


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
