"""Where a fleet stands in its schedule, asked at every look and worked out at every transition.

`torpor.decide.schedule` says what holds and until when; here is what the pure part must not know: the spec it
comes from, the zone's data, the fleet's measured cold starts and the answer of the look before. An answer is
kept while its time lasts. A clock that went backwards, a new spec or another cold start ask again, except for
the latter while a pre-warm runs: the start that it makes is measured, and a lead that shrinks by it would
send the replicas home minutes before they are due. A new leader learns from the status that one runs.

`offset` shifts the clock that schedules are read by, and nothing else: a test sees a night within minutes.
Times in an answer are those of the true clock; only the texts, in local time, show the shifted one.
"""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final, TypeAlias

from torpor.api import zones
from torpor.api.schedule import DAYS, ScheduleException, ScheduleOutside, ScheduleWindow
from torpor.api.schedule import Schedule as ScheduleSpec
from torpor.api.types import InferenceService
from torpor.decide import Schedule, Standing, Unknown, standing
from torpor.decide.schedule import DatedException, Limits, Window

# How early replicas begin for `readyBy: Start` where no cold start was measured yet, and at most; seconds.
UNMEASURED_LEAD: Final = 600.0
LONGEST_LEAD: Final = 7200.0

MISSING: Final = Unknown("this installation has no time-zone data; install the tzdata package in its image")

Answer: TypeAlias = Standing | Unknown | None


class Hours:
    """One fleet's schedule. `offset`: how far its clock is ahead of the true one. `warming`: until when an
    earlier leader let replicas start early, if it did.
    """

    def __init__(self, offset: timedelta = timedelta(0), warming: datetime | None = None) -> None:
        self._offset, self._warming = offset, warming
        self._service: InferenceService | None = None
        self._schedule: Schedule | Unknown | None = None
        self._answer: Standing | None = None
        self._since: datetime | None = None
        self._lead = timedelta(0)

    def at(self, service: InferenceService | None, now: datetime, p95: float | None) -> Answer:
        """Return what the schedule of `service` allows at the aware time `now`.

        None: there is no schedule. Unknown: there is no time-zone data. p95: seconds of a cold start.
        """
        if service is not self._service:
            self._service, self._answer = service, None
            spec = service.spec.scaling.schedule if service else None
            self._schedule = None if spec is None else read(spec)
        if service is None or not isinstance(self._schedule, Schedule):
            return self._schedule if isinstance(self._schedule, Unknown) else None
        lead = lead_of(service, p95)
        if self._answer is None or not self._lasts(self._answer, now, lead):
            if self._warming is not None:
                begun = min(self._warming - now, timedelta(seconds=LONGEST_LEAD))
                lead, self._warming = max(lead, begun), None
            found = standing(self._schedule, now + self._offset, lead)
            self._answer = replace(
                found,
                until=None if found.until is None else found.until - self._offset,
                opens=None if found.opens is None else found.opens - self._offset,
            )
            self._since, self._lead = now, lead
        return self._answer

    def _lasts(self, answer: Standing, now: datetime, lead: timedelta) -> bool:
        if self._since is None or now < self._since or (answer.until is not None and now >= answer.until):
            return False
        return lead == self._lead or bool(answer.state.warming)


def lead_of(service: InferenceService, p95: float | None) -> timedelta:
    """Return how early `readyBy: Start` begins: a cold start, at most the start-up budget and two hours."""
    wanted = UNMEASURED_LEAD if p95 is None else p95
    return timedelta(seconds=round(min(wanted, service.spec.engine.startup_seconds, LONGEST_LEAD)))


def read(spec: ScheduleSpec) -> Schedule | Unknown:
    """Turn a valid `spec.scaling.schedule` into what `decide` works with."""
    zone = zones.load(spec.time_zone)
    if zone is None:
        return MISSING
    return Schedule(
        zone=zone,
        zone_name=spec.time_zone,
        windows=tuple(_window(window) for window in spec.windows),
        exceptions=tuple(
            DatedException(one.name, frozenset(map(date.fromisoformat, one.dates)), _limits(one))
            for one in spec.exceptions
        ),
        outside=Limits() if spec.outside is None else _limits(spec.outside),
        refuse_when_closed=spec.when_closed == "Reject",
        closed_ceiling=spec.when_closed_max_replicas,
    )


def _window(window: ScheduleWindow) -> Window:
    return Window(
        name=window.name,
        days=frozenset(DAYS.index(day) for day in window.days),
        start=_minutes(window.start),
        end=_minutes(window.end),
        limits=_limits(window),
        ready_by_start=window.ready_by == "Start",
    )


def _limits(spec: ScheduleWindow | ScheduleOutside | ScheduleException) -> Limits:
    return Limits(spec.min_replicas, spec.max_replicas)


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
