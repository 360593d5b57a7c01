"""The meter: it never runs back, cutting an interval or changing the leader changes nothing, and it agrees
with the integrals it stands for.
"""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api.saved import LONGEST_AHEAD, MOST, Account, Rates, Totals, account_of, saved
from torpor.control.saved import record

START = int(datetime(2026, 11, 22, 8, 0, tzinfo=UTC).timestamp())
GPUS = st.integers(0, 64)
RATES = st.builds(Rates, used=GPUS, asleep=GPUS, max=GPUS, peak=GPUS)
MOMENTS = st.floats(0, 1e6).map(lambda seconds: START + seconds)
PARTS = ("used", "asleep", "saved_max", "saved_peak")


@st.composite
def lives(draw):
    """Changes of the rates in the order of time: [(Unix seconds, rates, peak replicas)]."""
    times = sorted(draw(st.lists(MOMENTS, min_size=1, max_size=8)))
    return [(time, draw(RATES), draw(st.integers(0, 8))) for time in times]


def lived(changes, account=None):
    account = account or Account.opened(START)
    for time, rates, peak in changes:
        account = account.changed(rates, peak, time)
    return account


def stored(account, price=None):
    """The account as a successor finds it in the object."""
    return {"saved": record(account, price).to_wire()}


@given(changes=lives(), moments=st.lists(MOMENTS, max_size=8))
def test_no_total_ever_falls(changes, moments):
    events = sorted([*((time, change) for time, *change in changes), *((time, None) for time in moments)],
                    key=lambda event: event[0])  # fmt: skip
    account, shown = Account.opened(START), Totals()
    for time, change in events:
        before = account.at(time)
        account = account.changed(*change, time) if change else account
        told = account.at(time)
        assert told == before, "a change counts from now on"
        assert all(getattr(told, part) >= getattr(shown, part) for part in PARTS)
        shown = told


@given(changes=lives(), end=MOMENTS)
def test_the_totals_are_the_integrals(changes, end):
    """Second by second, in other words: seconds of each interval times its rate, by hand."""
    end = max(end, changes[-1][0])
    expected = dict.fromkeys(PARTS, 0)
    steps = [(START, Rates()), *((int(time), rates) for time, rates, _ in changes)]
    for (begin, rates), until in zip(steps, [*(time for time, _ in steps[1:]), int(end)], strict=True):
        seconds = until - begin
        expected["used"] += rates.used * seconds
        expected["asleep"] += rates.asleep * seconds
        expected["saved_max"] += seconds * (rates.max - rates.used if rates.max > rates.used else 0)
        expected["saved_peak"] += seconds * (rates.peak - rates.used if rates.peak > rates.used else 0)
    assert lived(changes).at(end) == Totals(**expected)


@given(rates=RATES, cuts=st.lists(MOMENTS, max_size=6), end=MOMENTS)
def test_where_an_interval_is_cut_changes_nothing(rates, cuts, end):
    whole = Account.opened(START).changed(rates, 1, START)
    account = whole
    for cut in sorted(cut for cut in cuts if cut <= end):
        account = account.changed(replace(rates, used=rates.used + 1), 1, cut).changed(rates, 1, cut)
    assert account.at(end) == whole.at(end)


@given(changes=lives(), restarts=st.sets(st.integers(0, 7)), end=MOMENTS)
def test_a_new_leader_goes_on_where_the_last_one_stopped(changes, restarts, end):
    end = max(end, changes[-1][0])
    account = Account.opened(START)
    for number, (time, rates, peak) in enumerate(changes):
        account = account.changed(rates, peak, time)
        if number in restarts:
            account = account_of(stored(account))
    assert account == lived(changes)
    told = saved(stored(account), end)
    assert (told.totals, told.rates) == (account.at(end), account.rates)


@given(
    most=st.integers(1, 64),
    steps=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 64)), min_size=1, max_size=8),
)
def test_what_is_used_and_what_is_saved_is_always_on(most, steps):
    """As long as maxReplicas is what it is and nothing holds more; and a fleet that is either whole or asleep
    has saved by sleeping alone.
    """
    time, account = START, Account.opened(START)
    for seconds, used in steps:
        held = min(used, most)
        account = account.changed(Rates(held, 0 if held else most, most, most), 1, time)
        time += seconds
    told = account.at(time)
    assert told.used + told.saved_max == most * (time - START)
    assert told.asleep <= told.saved_max == told.saved_peak
    if all(used == 0 or used >= most for _, used in steps):
        assert told.used + told.asleep == most * (time - START)


def test_a_rollout_that_holds_more_than_always_on_takes_nothing_back():
    account = Account.opened(START).changed(Rates(used=3, max=2, peak=1), 1, START)
    assert account.at(START + 10) == Totals(used=30)


def test_a_clock_that_is_set_back_counts_no_second_twice():
    account = Account.opened(START).changed(Rates(used=2, max=8, peak=4), 2, START)
    account = account.changed(Rates(used=4, max=8, peak=4), 2, START + 100)
    back = account.changed(Rates(used=1, max=8, peak=4), 2, START + 40)
    assert back.as_of == START + 100
    assert back.at(START + 100) == account.at(START + 100) == Totals(200, 0, 600, 200)
    assert back.at(START + 110).used == 210


def test_a_record_of_a_clock_that_was_far_ahead_does_not_stop_the_meter():
    account = lived([(START + 10 * LONGEST_AHEAD, Rates(used=2), 1)])
    now = START + 5
    assert account.at(now) == account.totals
    going = account.changed(Rates(used=1), 1, now)
    assert going.as_of == now
    assert going.at(now + 10).used == account.totals.used + 10


def test_equal_rates_are_no_change():
    account = lived([(START, Rates(used=1), 1)])
    assert account.changed(Rates(used=1), 1, START + 1000) is account


def test_nobody_counts_beyond_what_json_can_say():
    account = lived([(START, Rates(used=2**31 - 1), 1)])
    assert account.at(START + 1e9).used == MOST


def test_the_worked_example_of_the_page():
    """docs/reference/saved.md: at most 4 replicas of 2 GPUs; one for 6 hours, three for 2, asleep for 16."""
    account = Account.opened(START)
    hours = [(0, 1, 1), (6, 3, 3), (8, 0, 3)]
    for hour, replicas, peak in hours:
        rates = Rates(2 * replicas, 0 if replicas else 8, 8, 2 * peak)
        account = account.changed(rates, peak, START + 3600 * hour)
    told = saved(stored(account, "2.50"), START + 24 * 3600)
    assert told.totals == Totals(24 * 3600, 128 * 3600, 168 * 3600, 96 * 3600)
    assert told.share == 0.875
    assert told.money(told.totals.saved_max) == 420.0
    assert told.since.timestamp() == START


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"saved": None},
        {"saved": {}},
        {"saved": "much"},
        {"saved": stored(Account.opened(START))["saved"] | {"asOf": "yesterday"}},
        {"saved": stored(Account.opened(START))["saved"] | {"asOf": "2026-11-22T08:00:00"}},
        {"saved": stored(Account.opened(START))["saved"] | {"gpuSecondsUsed": -1}},
        {"saved": stored(Account.opened(START))["saved"] | {"pricePerGpuHour": "1e9"}},
    ],
)
def test_what_cannot_be_read_is_no_account(status):
    assert saved(status, START) is None
    assert account_of(status) is None


def test_without_a_price_there_is_no_money_and_before_the_first_second_no_share():
    told = saved(stored(Account.opened(START)), START)
    assert told.money(3600) is None
    assert told.share is None
