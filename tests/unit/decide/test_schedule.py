"""Schedules on ordinary days: windows, dates, what starts early and what is closed, worked out by hand."""

from datetime import date, timedelta

import pytest
from torpor.decide.schedule import standing

from tests.unit.decide.schedules import exception, limits_at, local, schedule, transitions, window

WEEKDAYS = frozenset(range(5))


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


def test_what_never_changes_has_no_next_transition():
    assert standing(schedule(), local("2026-01-01T00:00")).until is None
    assert standing(schedule(window("00:00", "24:00")), local("2026-01-01T00:00")).until is None
    past = schedule(exceptions=[exception("2020-01-01", floor=1)])
    assert standing(past, local("2026-01-01T00:00")).until is None


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
