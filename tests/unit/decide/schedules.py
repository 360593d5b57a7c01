"""Schedules written in a line, what they say at a time, and arbitrary ones near odd days."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume
from hypothesis import strategies as st
from torpor.decide.local_time import instant
from torpor.decide.schedule import DatedException, Limits, Schedule, Window, standing

from tests.unit.decide.zones import ZONES

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))
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
