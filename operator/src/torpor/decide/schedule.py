"""A schedule: how few and how many replicas the hours allow.

Windows repeat by the days of the week, dated exceptions cover single dates, `outside` is the rest. At each
instant one of the three speaks, in this order: the exceptions of that date, else the windows that are open,
else `outside`. Of several that speak the highest floor and the lowest ceiling count. What nobody sets is left
to the fleet's own bounds.

- A window belongs to the day on which it starts; one whose end is not after its start ends on the next day.
- An exception covers its local date from 00:00 to 24:00. A window that runs into it ends there, because the
  exception speaks; one that would start on it does not happen, its part after midnight included.
- `ready_by_start`: the replicas of a window begin `lead` before it, so that they answer when it starts. This
  pre-warm belongs to its window: it goes where the window goes, and lifts a lower ceiling that is in force
  before the start (a closed night, an exception of the day before) to the number that the window will have.
- A ceiling of 0 is called closed; a pre-warm lifts it, and then the fleet is closed no more.

`standing` says what holds at an instant and until when. Between two of its transitions nothing changes, so
who asks may keep an answer for as long as it says. Nothing here reads a clock or a file: the instant and the
zone are arguments. How borders meet gaps and folds is the rule of `local_time`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from torpor.decide.local_time import MINUTES_PER_DAY, instant, local_day, told

OUTSIDE: Final = "outside"

# A week and what reaches into it: after so many days without a transition and without an exception the week
# repeats itself. A window in a gap needs one more week day to show up.
_LOOK_AHEAD: Final = 10
_LOOK_BACK: Final = 2  # a window of the day before yesterday may end in a fold of this morning
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """The fewest and the most replicas; None: nothing is said."""

    floor: int | None = None
    ceiling: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Hours that repeat. days: of the week, Monday is 0. start, end: minutes after midnight, 0 to 1440, never
    equal; an end that is not after the start is on the next day.
    """

    name: str
    days: frozenset[int]
    start: int
    end: int
    limits: Limits
    ready_by_start: bool = False


@dataclass(frozen=True, slots=True)
class DatedException:
    """Single dates that differ."""

    name: str
    dates: frozenset[date]
    limits: Limits


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything about one fleet's hours. zone: resolved; zone_name: as people write it.

    refuse_when_closed: requests do not wake the fleet while the ceiling is 0. closed_ceiling: the ceiling
    while there is demand in closed hours, where they do.
    """

    zone: tzinfo
    zone_name: str
    windows: tuple[Window, ...] = ()
    exceptions: tuple[DatedException, ...] = ()
    outside: Limits = Limits()
    refuse_when_closed: bool = False
    closed_ceiling: int = 1


@dataclass(frozen=True, slots=True)
class State:
    """What holds. names: what speaks; warming: windows whose pre-warm runs."""

    names: tuple[str, ...]
    limits: Limits
    warming: tuple[str, ...] = ()

    @property
    def closed(self) -> bool:
        """Whether no replica is allowed."""
        return self.limits.ceiling == 0

    @property
    def told(self) -> str:
        """What speaks, and what is being warmed for, in words."""
        told = " and ".join(self.names) or "no window"
        return f"{told}, ready by the start of {', '.join(self.warming)}" if self.warming else told


@dataclass(frozen=True, slots=True)
class Standing:
    """A state, the instants around it, and the schedule's ways in closed hours. Aware times in UTC.

    until: when another state begins (None: never). after: that state. opens: while closed, when the ceiling
    rises by itself, pre-warms left aside. The texts are local times for people, "" where there is no instant.
    """

    state: State
    until: datetime | None
    after: State | None
    opens: datetime | None
    until_text: str = ""
    opens_text: str = ""
    refuse_when_closed: bool = False
    closed_ceiling: int = 1

    @property
    def names(self) -> str:
        """What speaks, in words."""
        return self.state.told


@dataclass(frozen=True, slots=True)
class _Span:
    """One occurrence of a window, or one date of an exception. warms: its pre-warm is asked for."""

    name: str
    limits: Limits
    begin: datetime
    end: datetime
    dated: bool = False
    warms: bool = False

    def covers(self, at: datetime) -> bool:
        return self.begin <= at < self.end


def standing(schedule: Schedule, at: datetime, lead: timedelta = timedelta(0)) -> Standing:
    """Return what holds at the aware time `at`. `lead`: how early `ready_by_start` begins, below a day."""
    at = at.astimezone(UTC)
    days = _Days(schedule, at)
    state = days.state(at, lead)
    until, after = _next(schedule, at, days, lead, lambda other: other != state)
    opens = None
    if state.closed:
        opens, _ = _next(schedule, at, days, timedelta(0), lambda other: not other.closed)
    return Standing(
        state=state,
        until=until,
        after=after,
        opens=opens,
        until_text=_text(schedule, until),
        opens_text=_text(schedule, opens),
        refuse_when_closed=schedule.refuse_when_closed,
        closed_ceiling=schedule.closed_ceiling,
    )


def _text(schedule: Schedule, at: datetime | None) -> str:
    return "" if at is None else f"{told(at, schedule.zone)} {schedule.zone_name}"


def _next(
    schedule: Schedule, at: datetime, days: "_Days", lead: timedelta, wanted: Callable[[State], bool]
) -> tuple[datetime | None, State | None]:
    """Find the first instant after `at` whose state is `wanted`.

    Days with exceptions are walked through. After those without any the week repeats itself, so the next days
    to look at are those around the next exception.
    """
    while True:
        for border in days.borders(lead):
            if at < border <= days.known_until:
                state = days.state(border, lead)
                if wanted(state):
                    return border, state
        at = days.known_until
        begin = at
        if not days.exempt:
            later = _later_dates(schedule, at)
            if not later:
                return None, None
            begin = max(at, instant(min(later), 0, schedule.zone, last=False) - _ONE_DAY)
        days = _Days(schedule, begin)


def _later_dates(schedule: Schedule, at: datetime) -> list[date]:
    today = local_day(at, schedule.zone)
    return [day for one in schedule.exceptions for day in one.dates if day >= today]


class _Days:
    """The occurrences around one instant, complete up to `known_until`. exempt: a date among them differs."""

    def __init__(self, schedule: Schedule, at: datetime) -> None:
        self._schedule = schedule
        today = local_day(at, schedule.zone)
        first = today - _LOOK_BACK * _ONE_DAY
        listed = [first + number * _ONE_DAY for number in range(_LOOK_BACK + _LOOK_AHEAD + 2)]
        self.known_until = instant(today + _LOOK_AHEAD * _ONE_DAY, 0, schedule.zone, last=False)
        exempt = frozenset[date]().union(*(one.dates for one in schedule.exceptions))
        self.exempt = not exempt.isdisjoint(listed)
        self._spans = [*self._dates(listed), *self._windows(listed, exempt)]

    def _dates(self, days: Iterable[date]) -> Iterable[_Span]:
        zone = self._schedule.zone
        for day in days:
            for one in self._schedule.exceptions:
                if day in one.dates:
                    begin = instant(day, 0, zone, last=False)
                    end = instant(day, MINUTES_PER_DAY, zone, last=True)
                    yield _Span(one.name, one.limits, begin, end, dated=True)

    def _windows(self, days: Iterable[date], exempt: frozenset[date]) -> Iterable[_Span]:
        zone = self._schedule.zone
        for day in days:
            if day in exempt:
                continue
            for window in self._schedule.windows:
                if day.weekday() not in window.days:
                    continue
                overnight = window.end <= window.start
                begin = instant(day, window.start, zone, last=False)
                end = instant(day + overnight * _ONE_DAY, window.end, zone, last=True)
                if begin < end:
                    yield _Span(window.name, window.limits, begin, end, warms=window.ready_by_start)

    def borders(self, lead: timedelta) -> list[datetime]:
        """Every instant at which the state may change, in order."""
        found = {border for span in self._spans for border in (span.begin, span.end)}
        return sorted(found | {span.begin - lead for span in self._spans if span.warms and lead})

    def state(self, at: datetime, lead: timedelta) -> State:
        """What holds at an instant of these days."""
        speaking = self._speaking(at)
        names = tuple(dict.fromkeys(span.name for span in speaking))
        limits = _together(span.limits for span in speaking) if speaking else self._schedule.outside
        if not names and limits != Limits():
            names = (OUTSIDE,)
        return self._warmed(State(names, limits), at, lead)

    def _warmed(self, state: State, at: datetime, lead: timedelta) -> State:
        """Add the pre-warms that run and that ask for more than holds without them."""
        floor, ceiling = state.limits.floor or 0, state.limits.ceiling
        asked = {
            span.name: self._number_at_start(span)
            for span in self._spans
            if span.warms and span.begin - lead <= at < span.begin
        }
        asked = {
            name: number
            for name, number in asked.items()
            if number > floor or (ceiling is not None and number > ceiling)
        }
        if not asked:
            return state
        highest = max(asked.values())
        raised = Limits(max(floor, highest), None if ceiling is None else max(ceiling, highest))
        return State(state.names, raised, tuple(asked))

    def _speaking(self, at: datetime) -> list[_Span]:
        open_ones = [span for span in self._spans if span.covers(at)]
        return [span for span in open_ones if span.dated] or open_ones

    def _number_at_start(self, span: _Span) -> int:
        """The floor that the window will find at its start, under the ceiling that holds there."""
        speaking = self._speaking(span.begin)
        if span not in speaking:
            return 0
        limits = _together(other.limits for other in speaking)
        floor = limits.floor or 0
        return floor if limits.ceiling is None else min(floor, limits.ceiling)


def _together(several: Iterable[Limits]) -> Limits:
    """The highest floor and the lowest ceiling."""
    listed = list(several)
    floors = [limits.floor for limits in listed if limits.floor is not None]
    ceilings = [limits.ceiling for limits in listed if limits.ceiling is not None]
    return Limits(max(floors, default=None), min(ceilings, default=None))
