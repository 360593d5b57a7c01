"""What somebody asks of a fleet by name: wake, sleep or restart, at a time.

A request is an annotation of the object with an RFC 3339 time. It is an act and no state: carried out once,
at its time or as soon after it as somebody can, and then over, whatever becomes of the fleet. So each verb
leaves a record, and a time that has its record is not looked at again: the record is what a leader that comes
later finds in the status.

Waking and sleeping go through the decision like any other reason for a number (`clamps`), so that the owner's
bounds, hours, mode and `spec.scaling.replicas` stand above them: where one of those has another number the
request is refused, with that reason, and not kept for better days. Going to sleep waits while requests do.
What could not be done for `LATEST` seconds is missed and never done by surprise. Of wake and sleep that are
both due the later one counts, and of equal ones wake.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from torpor.api import constants as c
from torpor.decide.decision import Decision
from torpor.decide.observation import Demand, Observation
from torpor.decide.values import Unknown, measured

WAKE: Final = "wake"
SLEEP: Final = "sleep"
RESTART: Final = "restart"
VERBS: Final = (WAKE, SLEEP, RESTART)
LATEST: Final = 3600.0  # seconds after its time in which a request is still carried out
LONGEST_TEXT: Final = 64

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")
_MAY_PASS = ("Rollout", "ScheduleUnknown")  # clamps against sleep that end by themselves


@dataclass(frozen=True, slots=True)
class Request:
    """One annotation. text: its value, cut to `LONGEST_TEXT`. at: seconds since the epoch, None where it
    cannot be read.
    """

    verb: str
    text: str
    at: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """What became of the request of a verb with that text: a `STATE_` of the constants, and why."""

    verb: str
    text: str
    state: str
    message: str = ""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state != c.STATE_PENDING


@dataclass(frozen=True, slots=True)
class Docket:
    """The requests of one look. records: of every verb that has one, before anything is done. due: to be
    carried out now, at most one of wake and sleep, and restart. later: seconds until the next is due.
    """

    records: tuple[Record, ...] = ()
    due: tuple[Request, ...] = ()
    later: float | None = None

    @property
    def asked(self) -> str:
        """WAKE, SLEEP or "": what the number of replicas is asked to be."""
        return next((request.verb for request in self.due if request.verb != RESTART), "")

    @property
    def restart(self) -> str:
        """The text of a restart that is due, "" where none is."""
        return next((request.text for request in self.due if request.verb == RESTART), "")


NO_REQUESTS: Final = Docket()


def read(verb: str, text: str) -> Request:
    """Read an annotation's value. Never raises."""
    kept, at = text[:LONGEST_TEXT], None
    if text == kept and _RFC_3339.fullmatch(text):
        try:
            at = datetime.fromisoformat(text.upper()).timestamp()
        except (ValueError, OverflowError):  # a thirteenth month, a year 0 with an offset
            at = None
    return Request(verb, kept, at)


def docket(asked: Iterable[Request], before: Mapping[str, Record], now: float) -> Docket:
    """Sort what is asked at `now` (seconds since the epoch) by what is to be done about it.

    before: the records so far, by verb. A record of a request that was withdrawn before it was carried out is
    dropped; that of one that is over is kept, so that the same value set again is not another request.
    """
    records = {verb: record for verb, record in before.items() if record.over}
    due: list[Request] = []
    waits = []
    for request in asked:
        known = before.get(request.verb)
        if known is not None and known.text == request.text and known.over:
            continue
        if request.at is None:
            told = "is no RFC 3339 time with a zone; write it like 2026-11-22T20:00:00Z"
            records[request.verb] = Record(request.verb, request.text, c.STATE_INVALID, told)
        elif request.at > now:
            records[request.verb] = _pending(request, "its time has not come")
            waits.append(request.at - now)
        elif now - request.at > LATEST:
            why = f"; {known.message}" if known and known.text == request.text and known.message else ""
            told = f"could not be done within {LATEST:.0f} s of its time{why}; set another time"
            records[request.verb] = Record(request.verb, request.text, c.STATE_MISSED, told)
        else:
            due.append(request)
    rivals = sorted((r for r in due if r.verb != RESTART), key=lambda r: (r.at or 0.0, r.verb == WAKE))
    for late in rivals[:-1]:
        due.remove(late)
        told = f"{rivals[-1].verb}-at {rivals[-1].text} came after it"
        records[late.verb] = Record(late.verb, late.text, c.STATE_MISSED, told)
    for request in due:
        records[request.verb] = _pending(request, "")
    ordered = tuple(records[verb] for verb in VERBS if verb in records)
    return Docket(ordered, tuple(due), min(waits, default=None))


def hindrance(demand: Demand) -> str:
    """Say what a fleet that is asked to sleep waits for; "" where nothing."""
    if not demand.complete:
        return "whether requests wait is not known; done once every gateway reports that none does"
    for waiting in (measured(demand.held), measured(demand.queued)):
        if isinstance(waiting, Unknown) or waiting > 0:
            return "requests wait; done once none does"
    return ""


def scaled(verb: str, text: str, observation: Observation, decision: Decision, *, written: bool) -> Record:
    """Say what became of a request to wake or to sleep. written: the Deployment has the decided number."""
    got = decision.replicas > 0 if verb == WAKE else decision.replicas == 0
    if got and not written:
        return Record(verb, text, c.STATE_PENDING, "the number could not be written; it is tried again")
    if got:
        moved = decision.replicas != decision.current
        there = (
            "the fleet was awake; its idle time begins anew" if verb == WAKE else "the fleet slept already"
        )
        told = f"{decision.current} -> {decision.replicas} replicas" if moved else there
        return Record(verb, text, c.STATE_DONE, told)
    if verb == SLEEP and decision.reason != c.PAUSED:
        why = hindrance(observation.demand)
        if why or decision.reason in _MAY_PASS:
            return Record(verb, text, c.STATE_PENDING, why or f"put off by {decision.reason}")
    return Record(verb, text, c.STATE_REFUSED, decision.message)


def _pending(request: Request, message: str) -> Record:
    return Record(request.verb, request.text, c.STATE_PENDING, message)
