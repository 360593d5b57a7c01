"""An InferenceService's own account of its replicas, as sentences.

The status holds the trace of the last decision: what each signal said and asked for, what each rule made of
it, what would change it. Here it becomes a page that reads from the cause to the number, in the order of the
deciding. Nothing is worked out again: a sentence that is not in the object would be this version's guess
about what another version did. Texts of an object may come from anybody, so no control character of theirs
reaches the terminal, and what is long is cut.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from torpor.api import constants as c
from torpor.api import validation
from torpor.api.status import (
    Condition,
    Decision,
    InferenceServiceStatus,
    ScheduleStatus,
    SignalReading,
)
from torpor.cli.manners import shown

# How a condition of a fleet with nothing to say about it looks; Ready is always told.
UNREMARKABLE: Final = {
    c.PROGRESSING: ("False", c.STABLE),
    c.PODS_SCHEDULED: ("True", None),
    c.SIGNALS_AVAILABLE: ("True", None),
    c.SPEC_VALID: ("True", None),
    c.ROUTE_ACCEPTED: ("True", None),
    c.EXTERNALLY_SCALED: ("False", None),
    c.SCHEDULE_APPLIED: ("True", None),
    c.SCALING_ACTIVE: ("True", None),
}
# What the numbers, or other conditions, say already.
REPEATED: Final = (c.AWAKE, c.RECONCILING, c.STALLED)


class NoAccountError(Exception):
    """The object gives no account; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and sentences under it."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """What an object says of itself. `facts` is the part of the object that the sentences are made of."""

    name: str
    sections: tuple[Section, ...]
    facts: Mapping[str, Any]

    def text(self) -> str:
        """Return the page."""
        return "\n\n".join(
            "\n".join([section.title, *(f"  {line}" for line in section.lines)]) for section in self.sections
        )

    def document(self) -> dict[str, Any]:
        """Return the same as JSON values: the facts, and the sentences by heading."""
        told = [{"title": section.title, "lines": list(section.lines)} for section in self.sections]
        return {"name": self.name, **self.facts, "sentences": told}


def account(raw: Mapping[str, Any]) -> Account:
    """Return the account of an object as an API server or a file gives it. Raises NoAccountError."""
    name = _name(raw)
    found = raw.get("status")
    if not isinstance(found, Mapping) or not set(found) - {"observedGeneration"}:
        raise NoAccountError(
            f"{name} has no status yet: no operator has looked at it; see that one runs and watches its "
            "namespace (kubectl get pods -A -l app.kubernetes.io/part-of=torpor)"
        )
    try:
        status = InferenceServiceStatus.model_validate(found)
    except ValidationError as error:
        raise NoAccountError(f"{name}: {validation.problems_of(error, 'status')[0]}") from None
    sections = [
        Section(name, tuple(_clean(_replicas(status)))),
        *_decision(status.decision),
        *_schedule(status.schedule),
        *_cold_start(status),
        *_engine(status),
        *_requests(status),
        Section("Conditions", tuple(_clean(_conditions(status.conditions)))),
    ]
    kept = (
        "replicas",
        "readyReplicas",
        "desiredReplicas",
        "decision",
        "schedule",
        "coldStart",
        "engine",
        "requests",
    )
    facts = {key: found[key] for key in (*kept, "conditions") if key in found}
    return Account(name, tuple(section for section in sections if section.lines), facts)


def _name(raw: Mapping[str, Any]) -> str:
    metadata = raw.get("metadata")
    if raw.get("kind") != c.KIND or not isinstance(metadata, Mapping) or not metadata.get("name"):
        raise NoAccountError(f"this is no {c.KIND} with a name; give one as kubectl get -o yaml writes it")
    name = str(metadata["name"])
    return shown(f"{metadata['namespace']}/{name}" if metadata.get("namespace") else name)


def _replicas(status: InferenceServiceStatus) -> Iterator[str]:
    wanted, decision = status.desired_replicas, status.decision
    yield (
        f"{_count(wanted, 'replica')} wanted, {_count(status.replicas, 'pod')} there, "
        f"{'?' if status.ready_replicas is None else status.ready_replicas} ready."
    )
    if decision is None:
        yield "No decision was made: no valid spec is known to decide by."
        return
    if decision.mode in (c.RECOMMEND, c.PAUSED):
        yield f"The mode is {decision.mode}: Torpor does not change the number."
    told = decision.recommended_replicas
    if told is None:
        yield "No number was worked out."
    elif told != decision.desired_replicas:
        yield f"Torpor alone would ask for {told}."


def _decision(decision: Decision | None) -> Iterator[Section]:
    if decision is None:
        return
    lines = [f"{decision.reason}, since {decision.time}: {decision.message}."]
    lines += [_signal(reading) for reading in decision.signals]
    base = decision.clamps[0].from_ if decision.clamps else decision.desired_replicas
    if decision.signals:
        lines.append(f"So the signals leave it at {base}.")
    for number, clamp in enumerate(decision.clamps, 1):
        verb = "raises" if clamp.to > clamp.from_ else "lowers" if clamp.to < clamp.from_ else "keeps"
        change = f"{clamp.from_} to {clamp.to}" if clamp.to != clamp.from_ else f"{clamp.to}"
        lines.append(f"{number}. {clamp.name} {verb} {change}: {clamp.message or 'no reason is given'}.")
    yield Section(f"Why {decision.desired_replicas}", tuple(_clean(lines)))
    changes = tuple(_clean(f"- {sentence}" for sentence in decision.would_change))
    yield Section("What would change it", changes)


def _signal(reading: SignalReading) -> str:
    percent = " %" if reading.name == "kvCacheUtilization" else ""
    target = f", target {reading.target}{percent}" if reading.target else ""
    age = "" if reading.age_seconds is None else f" ({reading.age_seconds} s old)"
    if reading.unknown is not None or reading.value is None:
        told = f"{reading.name} is unknown{age}{target}: {reading.unknown or 'nothing was read'}"
    else:
        told = f"{reading.name} is {reading.value}{percent}{age}{target}"
    if reading.raw_replicas is None:
        told += "; it has no say"
    else:
        told += f"; it asks for {_count(reading.raw_replicas, 'replica')}"
    return f"{told}; it may be more: {reading.lower_bound}." if reading.lower_bound else f"{told}."


def _schedule(schedule: ScheduleStatus | None) -> Iterator[Section]:
    if schedule is None:
        return
    active, following = schedule.active, schedule.next
    lines = [f"{active.name}: {_bounds(active.min_replicas, active.max_replicas)} now."]
    if active.ready_by_time:
        lines.append(f"Replicas start early, to be ready by {active.ready_by_time}.")
    if following is not None:
        bounds = _bounds(following.min_replicas, following.max_replicas)
        lines.append(f"From {following.time} {following.name}: {bounds}.")
    if schedule.opens_time:
        lines.append(f"It opens at {schedule.opens_time}.")
    yield Section("Schedule", tuple(_clean(lines)))


def _bounds(floor: int | None, ceiling: int | None) -> str:
    if floor is None and ceiling is None:
        return "the fleet's own bounds"
    told = [f"at least {floor}"] if floor is not None else []
    told += [f"at most {ceiling}"] if ceiling is not None else []
    return " and ".join(told)


def _cold_start(status: InferenceServiceStatus) -> Iterator[Section]:
    record = status.cold_start
    if record is None:
        return
    lines = []
    if record.last_seconds is not None:
        lines.append(f"The last one took {record.last_seconds} s.")
    if record.p95_seconds is not None:
        lines.append(f"95 of 100 take at most {record.p95_seconds} s.")
    if record.phases:
        parts = ", ".join(f"{phase.name} {phase.seconds} s" for phase in record.phases)
        lines.append(f"Its parts: {parts}.")
    if record.next_attempt_time is not None:
        lines.append(f"The engine crashed and is started again at {record.next_attempt_time}.")
    yield Section("Cold start", tuple(_clean(lines)))


def _engine(status: InferenceServiceStatus) -> Iterator[Section]:
    engine = status.engine
    if engine is None:
        return
    lines = []
    source = f" ({engine.hardware_source})" if engine.hardware_source else ""
    if engine.hardware is not None:
        lines.append(f"A replica is taken for {engine.hardware}{source}.")
    elif engine.hardware_source:
        lines.append(f"{engine.hardware_source}.")
    if engine.max_num_batched_tokens is not None:
        seqs = "" if engine.max_num_seqs is None else f" and {engine.max_num_seqs} sequences at once"
        step = "" if engine.step_milliseconds is None else f", a step of {engine.step_milliseconds} ms"
        lines.append(f"Engines start with {engine.max_num_batched_tokens} tokens per step{seqs}{step}.")
    if engine.message:
        lines.append(
            f"{'Because' if engine.max_num_batched_tokens else 'No budget is set'}: {engine.message}."
        )
    if engine.tuned_replicas is not None:
        lines.append(f"{engine.tuned_replicas} of {status.ready_replicas or 0} ready replicas run so.")
    yield Section("Engine", tuple(_clean(lines)))


def _requests(status: InferenceServiceStatus) -> Iterator[Section]:
    """What was asked of it by annotation, and what became of it."""
    lines = [
        f"{item.name} at {item.value}: {item.state} since {item.time}"
        f"{f': {item.message}' if item.message else ''}."
        for item in status.requests
    ]
    if lines:
        yield Section("Asked for", tuple(_clean(lines)))


def _conditions(conditions: list[Condition]) -> Iterator[str]:
    """Ready, and what is out of the ordinary."""
    for condition in conditions:
        status, reason = UNREMARKABLE.get(condition.type, (None, None))
        ordinary = condition.type in REPEATED or (
            condition.status == status and reason in (None, condition.reason)
        )
        if condition.type == c.READY or not ordinary:
            told = f": {condition.message}" if condition.message else ""
            since = condition.last_transition_time
            yield f"{condition.type} is {condition.status} since {since} ({condition.reason}){told}."


def _count(number: int | None, noun: str) -> str:
    if number is None:
        return f"? {noun}s"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clean(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield shown(f"{line[:-2]}." if line.endswith("..") else line)
