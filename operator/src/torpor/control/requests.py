"""Requests by annotation, between the object and the decision: `wake-at`, `sleep-at`, `restart-at`.

`torpor.decide.requests` says what is due and what became of it; here is what it is read from and where it is
written. The records live in the status and, between its writes, in the leader's memory: a number that was
written by a leader that died before its status is found done by the next one (awake already, asleep already),
and a restart puts its own time into the pod template, so that doing it twice is doing it once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias, cast

from torpor.api import constants as c
from torpor.api.conditions import shortened, timestamp
from torpor.api.status import RequestStatus
from torpor.build.deployment import restarted_of
from torpor.cluster.resources import DEPLOYMENTS, Object
from torpor.control.executor import Outcome
from torpor.control.observe import observe
from torpor.control.pods import parse_time
from torpor.control.world import World
from torpor.decide import Decision
from torpor.decide.requests import RESTART, SLEEP, VERBS, WAKE, Docket, Record, docket, read, scaled

Requests: TypeAlias = dict[str, Record]
"""What became of the last request of each verb."""

ANNOTATIONS = {
    WAKE: c.ANNOTATION_WAKE_AT,
    SLEEP: c.ANNOTATION_SLEEP_AT,
    RESTART: c.ANNOTATION_RESTART_AT,
}
LONGEST_MESSAGE = 1024
RETRY_SECONDS = 5.0  # until a request that was put off is looked at again
STATES = (c.STATE_PENDING, c.STATE_DONE, c.STATE_REFUSED, c.STATE_MISSED, c.STATE_INVALID)


def requests_of(status: Mapping[str, Any]) -> Requests:
    """Read the records that an earlier leader left; what somebody mangled is none."""
    found = {}
    listed = status.get("requests")
    for item in listed if isinstance(listed, list) else ():
        known = isinstance(item, Mapping) and item.get("name") in VERBS and item.get("state") in STATES
        if known and isinstance(item.get("value"), str):
            message = str(item.get("message") or "")
            found[item["name"]] = Record(item["name"], item["value"], item["state"], message)
    return found


def open_docket(fleet: Object, before: Requests, now: datetime) -> Docket:
    """Return what the object's annotations ask for at this moment."""
    annotations = fleet["metadata"].get("annotations") or {}
    asked = [read(verb, str(annotations[key])) for verb, key in ANNOTATIONS.items() if key in annotations]
    return docket(asked, before, now.timestamp())


def after(world: World, decision: Decision | None, outcome: Outcome) -> Requests:
    """Return the records after a look that made these writes."""
    records = {record.verb: record for record in world.docket.records}
    for request in world.docket.due:
        if request.verb == RESTART:
            records[RESTART] = _restarted(world, request.text, outcome)
        elif decision is None:
            told = "there is no valid spec to decide by"
            records[request.verb] = Record(request.verb, request.text, c.STATE_REFUSED, told)
        else:
            seen = observe(world, rollout=False)
            records[request.verb] = scaled(request.verb, request.text, seen, decision, written=outcome.scaled)
    return records


def _restarted(world: World, text: str, outcome: Outcome) -> Record:
    if world.service is None:
        return Record(RESTART, text, c.STATE_REFUSED, "there is no valid spec to make pods by")
    if not world.living:
        return Record(RESTART, text, c.STATE_DONE, "no replica runs; the next start is a new one")
    applied = any(place[0] == DEPLOYMENTS for place, _ in outcome.left_behind)
    if not applied and restarted_of(world.deployment) != text:
        told = "the pods could not be written; it is tried again"
        return Record(RESTART, text, c.STATE_PENDING, told)
    return Record(RESTART, text, c.STATE_DONE, "replicas are replaced as in a rollout")


def look_in(world: World, records: Requests) -> float | None:
    """Return the seconds until a look has something to do about a request; None: at other news."""
    times = [] if world.docket.later is None else [world.docket.later]
    pending = [request for request in world.docket.due if not records[request.verb].over]
    return min([*times, *([RETRY_SECONDS] if pending else ())], default=None)


def request_statuses(records: Requests, before: Mapping[str, Any], now: datetime) -> list[RequestStatus]:
    """Return the records as the status has them, with the time since when each state holds."""
    listed = before.get("requests")
    was = {
        (item.get("name"), item.get("value"), item.get("state")): item.get("time")
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, Mapping)
    }
    found = []
    for verb in VERBS:
        if (record := records.get(verb)) is None:
            continue
        since = was.get((verb, record.text, record.state))
        found.append(
            RequestStatus(
                name=cast("Any", verb),
                value=record.text,
                state=cast("Any", record.state),
                message=shortened(record.message, LONGEST_MESSAGE),
                time=str(since) if parse_time(since) else timestamp(now),
            )
        )
    return found
