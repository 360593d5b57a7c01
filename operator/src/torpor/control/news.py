"""What is worth an Event: changes, never states.

Events follow from the difference between what the status said and what it says now, so the same state seen a
thousand times tells nothing. Their reasons are those of the decision and the conditions, word for word.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torpor.api import constants as c
from torpor.api.conditions import Finding
from torpor.cluster.events import NORMAL, WARNING
from torpor.decide import Decision

_KEPT = (c.RECOMMEND, c.PAUSED)
_ASKED = {"wake": c.WAKE_REQUESTED, "sleep": c.SLEEP_REQUESTED, "restart": c.RESTART_REQUESTED}
_OVER = {
    c.STATE_DONE: (NORMAL, ""),
    c.STATE_REFUSED: (WARNING, c.REQUEST_REFUSED),
    c.STATE_MISSED: (WARNING, c.REQUEST_MISSED),
    c.STATE_INVALID: (WARNING, c.REQUEST_INVALID),
}


@dataclass(frozen=True, slots=True)
class News:
    """One Event to be."""

    severity: str
    reason: str
    message: str


def scaled(decision: Decision) -> News | None:
    """The number changed."""
    if decision.replicas == decision.current:
        return None
    told = f"{decision.current} -> {decision.replicas} replicas: {decision.message}"
    return News(NORMAL, decision.reason, told)


def recommended(before: Mapping[str, Any], decision: Decision | None) -> News | None:
    """In the mode Recommend: another number than the status told last."""
    if decision is None or decision.reason != c.RECOMMEND:
        return None
    told = before.get("decision")
    if isinstance(told, dict) and told.get("recommendedReplicas") == decision.recommended:
        return None
    message = f"{decision.replicas} replicas kept, {decision.recommended} recommended: {decision.message}"
    return News(NORMAL, c.RECOMMEND, message)


def transitions(before: Mapping[str, Any], found: Iterable[Finding]) -> list[News]:
    """What the conditions say now and did not say before."""
    listed = before.get("conditions")
    was = {
        str(item.get("type")): (item.get("status"), item.get("reason"))
        for item in (listed if isinstance(listed, list) else ())
        if isinstance(item, dict)
    }
    news = []
    for finding in found:
        old_status, old_reason = was.get(finding.type, (None, None))
        if (old_status, old_reason) == (finding.status, finding.reason):
            continue
        told = _severity(finding, old_status, old_reason)
        if told is not None:
            news.append(News(told, finding.reason, f"{finding.type} is {finding.status}: {finding.message}"))
    # Two conditions may change for one reason: that is one story.
    return list({(item.severity, item.reason): item for item in reversed(news)}.values())[::-1]


def hours(before: Mapping[str, Any], after: Mapping[str, Any], found: Iterable[Finding]) -> list[News]:
    """The schedule went from one state to another: told once, whoever was leading when it happened."""
    was, now = (_active(status) for status in (before, after))
    if was is None or now is None or was == now:
        return []
    told = next((finding.message for finding in found if finding.type == c.SCHEDULE_APPLIED), "")
    return [News(NORMAL, c.SCHEDULE_CHANGED, f"{was.get('name')} ends; {told}")]


def requests(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[News]:
    """What became of the requests by annotation, told when it is over; that one waits is in the status."""
    was = {item.get("name"): item for item in _requests(before)}
    told = []
    for item in _requests(after):
        old = was.get(item["name"], {})
        if (old.get("value"), old.get("state")) == (item["value"], item["state"]):
            continue
        if item["state"] in _OVER:
            severity, reason = _OVER[item["state"]]
            message = f"{item['name']}-at {item['value']}: {item['message']}"
            told.append(News(severity, reason or _ASKED[item["name"]], message))
    return told


def _requests(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = status.get("requests")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def _active(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schedule = status.get("schedule")
    active = schedule.get("active") if isinstance(schedule, dict) else None
    return active if isinstance(active, dict) else None


def _severity(finding: Finding, old_status: object, old_reason: object) -> str | None:
    """How loud a change of a condition is; None: not worth an Event."""
    if finding.type == c.READY and finding.reason in _KEPT:
        return NORMAL  # somebody asked for it
    if finding.type in (c.READY, c.SPEC_VALID, c.ROUTE_ACCEPTED, c.PODS_SCHEDULED):
        if finding.status == "False":
            return WARNING
        return NORMAL if old_status == "False" else None
    if finding.type == c.PROGRESSING:
        if finding.reason in (c.ROLLOUT_FAILED, c.CONFIG_ERROR):
            return WARNING
        return NORMAL if finding.reason in (c.SURGE_ROLLOUT, c.IN_PLACE_ROLLOUT) else None
    if finding.type == c.SCHEDULE_APPLIED:
        return WARNING if finding.reason in (c.FLOOR_ABOVE_CEILING, c.TIME_ZONE_DATA_MISSING) else None
    if finding.type == c.SCALING_ACTIVE:
        return NORMAL if finding.reason in _KEPT or old_reason in _KEPT else None
    if finding.type == c.EXTERNALLY_SCALED:
        return NORMAL if finding.status == "True" or old_status == "True" else None
    return None
