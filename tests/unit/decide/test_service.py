"""How well the objectives were kept, and the care that may be given back for it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.decide.service import (
    ALL,
    FEWEST,
    HALF_LIFE,
    NONE,
    PROMISED,
    Service,
    from_dict,
    served,
    to_dict,
)
from torpor.decide.study import MISS, MISS_AT_MOST, chance, share

counts = st.floats(0, 1e9)
rooms = st.floats(0, 1)


def grown(*steps, seconds=60.0):
    """A record after gateways counted (judged, missed) more in each step."""
    service, judged, missed, now = Service(), 0.0, 0.0, 1000.0
    service = served(service, judged, missed, now)
    for more, worse in steps:
        judged, missed, now = judged + more, missed + worse, now + seconds
        service = served(service, judged, missed, now)
    return service


def test_few_requests_say_nothing():
    assert grown((FEWEST / 2, 0)).share is None
    assert grown((FEWEST / 2, 0)).room == 0
    assert grown((FEWEST * 2, 0)).room == 1


@pytest.mark.parametrize(
    ("of_promise", "room"),
    [(0, 1), (ALL / 2, 1), (ALL, 1), ((ALL + NONE) / 2, 0.5), (NONE, 0), (1, 0), (50, 0)],
)
def test_the_room_is_in_proportion_to_what_is_kept_better_than_promised(of_promise, room):
    service = Service(1e6, 1e6 * PROMISED * of_promise)
    assert service.room == pytest.approx(room, abs=1e-9)


def test_what_was_counted_before_the_first_look_is_a_base():
    service = served(Service(), 1e6, 1e6, 50.0)
    assert (service.judged, service.missed) == (0, 0)
    assert served(service, 1e6 + 10, 1e6 + 1, 60.0).judged == pytest.approx(10, rel=0.01)


def test_half_is_forgotten_in_a_day():
    service = grown((10_000, 10))
    later = served(service, service.all_judged, service.all_missed, service.at + HALF_LIFE)
    assert later.judged == pytest.approx(service.judged / 2)
    assert later.share == service.share


def test_a_bad_hour_takes_the_room_away():
    good = grown(*[(1000, 1)] * 24, seconds=3600.0)
    assert good.room == 1
    bad = served(good, good.all_judged + 1000, good.all_missed + 300, good.at + 3600.0)
    assert bad.room == 0


@pytest.mark.parametrize("sums", [(math.nan, 0), (math.inf, 0), (-1, 0), (0, math.nan), (0, -1)])
def test_impossible_sums_change_nothing(sums):
    service = grown((5000, 10))
    assert served(service, *sums, service.at + 10) == service


def test_a_sum_that_went_back_is_where_the_next_growth_begins():
    service = grown((5000, 10))
    back = served(service, 100, 5, service.at + 10)
    assert (back.judged, back.missed) == pytest.approx((service.judged, service.missed), rel=0.01)
    again = served(back, 200, 6, back.at + 10)
    assert again.judged - back.judged == pytest.approx(100, rel=0.01)


@given(counts, counts, counts, counts, st.floats(0.001, 1e6))
def test_a_record_is_always_possible(judged, missed, more, worse, seconds):
    service = served(served(Service(), judged, missed, 0.0), more, worse, seconds)
    assert 0 <= service.missed <= service.judged
    assert 0 <= service.room <= 1


@given(counts, st.floats(0, 1), st.floats(0, 1))
def test_more_misses_never_give_more_room(judged, one, other):
    low, high = sorted((one, other))
    assert Service(judged, judged * high).room <= Service(judged, judged * low).room


@given(st.floats(0, 3600), rooms, rooms)
def test_more_room_never_asks_for_more(cold_start, one, other):
    low, high = sorted((one, other))
    rounding = 1 + 1e-12
    assert share(cold_start, high) <= share(cold_start, low) * rounding
    assert chance(low) <= chance(high) * rounding
    assert share(cold_start, 0) == share(cold_start)
    assert chance(0) == pytest.approx(MISS)
    assert chance(1) == pytest.approx(MISS_AT_MOST)


def test_it_survives_a_restart():
    service = grown((5000, 10), (3000, 2))
    kept = from_dict(to_dict(service))
    assert kept is not None
    assert kept.at is None  # of this process's clock
    assert (kept.judged, kept.missed) == pytest.approx((service.judged, service.missed), abs=0.1)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"version": 2, "judged": 1, "missed": 0},
        {"version": 1, "judged": 1, "missed": 2},
        {"version": 1, "judged": True, "missed": 0},
        {"version": 1, "judged": "1", "missed": 0},
        {"version": 1, "judged": 1e300, "missed": 0},
        {"version": 1, "judged": 5, "missed": math.nan},
        {"version": 1, "judged": 5},
    ],
)
def test_damage_is_nothing(document):
    assert from_dict(document) is None
