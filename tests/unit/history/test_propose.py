"""Hours out of a week of arrivals, and a choice among candidates."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from torpor.history import propose
from torpor.history.backtest import Range, Row

MONDAY = 1_767_571_200.0  # 2026-01-05, 00:00 UTC
DAY = 86_400.0
SLOT = 20.0


def week(begins: float, ends: float, days: range, every: float = 5.0) -> np.ndarray:
    """Arrivals of two weeks: one each `every` seconds from hour to hour of those days, in UTC."""
    per_day = [
        np.arange(begins * 3600, ends * 3600, every) + day * DAY for day in range(14) if day % 7 in days
    ]
    return np.concatenate(per_day)


def hours(arrivals: np.ndarray, zone: str = "UTC", **more: Any) -> list[dict[str, Any]]:
    needs = np.zeros(int(14 * DAY / SLOT), np.int64)
    places = (arrivals / SLOT).astype(int)
    needs[places] = 3
    return propose.hours(
        arrivals,
        needs,
        slot=SLOT,
        start=MONDAY,
        end=MONDAY + 14 * DAY,
        zone=ZoneInfo(zone),
        cold_start=120.0,
        **more,
    )


def test_office_hours_become_one_window_of_five_days() -> None:
    (window,) = hours(week(8, 18, range(5)))
    assert window["days"] == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    assert (window["start"], window["end"], window["minReplicas"]) == ("08:00", "18:00", 3)
    assert window["readyBy"] == "Start"


def test_hours_are_told_in_the_zone_that_was_asked_for() -> None:
    evening, night = hours(week(8, 18, range(5)), zone="Asia/Tokyo")  # 17:00 to 3:00 there
    assert (evening["start"], evening["end"], evening["days"][0]) == ("17:00", "24:00", "Mon")
    assert (night["start"], night["end"], night["days"][-1]) == ("00:00", "03:00", "Sat")


def test_a_day_that_failed_to_come_once_closes_its_hours() -> None:
    arrivals = week(8, 18, range(5))
    holiday = arrivals[(arrivals < 9 * DAY) | (arrivals >= 10 * DAY)]  # the second Wednesday
    (window,) = hours(holiday)
    assert window["days"] == ["Mon", "Tue", "Thu", "Fri"]
    # Where nobody watched on that day, it says nothing against the hours.
    assert hours(holiday, hidden=[(9 * DAY, 10 * DAY)])[0]["days"] == ["Mon", "Tue", "Wed", "Thu", "Fri"]


def test_what_is_always_busy_or_never_needs_no_hours() -> None:
    assert hours(week(0, 24, range(7))) == []
    assert hours(week(8, 18, range(5), every=3000.0)) == []  # a request now and then is worth no idling


def test_a_pause_at_noon_is_bridged_and_a_night_is_not() -> None:
    assert len(hours(np.sort(np.concatenate([week(8, 12, range(5)), week(13, 18, range(5))])))) == 1
    assert len(hours(np.sort(np.concatenate([week(6, 9, range(5)), week(17, 20, range(5))])))) == 2


def row(name: str, replica_hours: float, attained: float) -> Row:
    def flat(value: float) -> Range:
        return Range(value, value, value)

    return Row(name, flat(replica_hours), flat(attained), flat(0), flat(0), flat(0), flat(1), [(0.0, 1)])


def test_the_cheapest_of_those_that_are_nearly_as_good_is_chosen() -> None:
    figures = {
        "sleeps": (50.0, 95.0),
        "always-one": (168.0, 99.4),
        "hours": (70.0, 99.2),
        "sleeps-after-900s": (72.0, 99.3),
    }
    tried = propose.candidates(4, [], "UTC") | {"hours": {"minReplicas": 0, "maxReplicas": 4}}
    found = propose.propose(4, tried, lambda name, scaling: row(name, *figures[name]))
    assert found.name == "hours"
    assert found.patch() == {
        "spec": {"scaling": {"idleSeconds": None, "schedule": None, "minReplicas": 0, "maxReplicas": 4}}
    }


@pytest.mark.parametrize("floor", [1, 9])
def test_floors_never_exceed_the_ceiling(floor: int) -> None:
    window = {"name": "a", "days": ["Mon"], "start": "08:00", "end": "10:00", "minReplicas": floor}
    found = propose.candidates(4, [window], "UTC")
    assert all(
        w["minReplicas"] <= 4 for s in found.values() for w in s.get("schedule", {}).get("windows", [])
    )
    assert ("hours-with-one" in found) == (floor > 1)
