"""`torpor wake`, `sleep` and `restart`: ask for something by annotation, with the owner's word.

The command writes one annotation and nothing else; the operator acts on it once
(docs/reference/annotations.md). It never writes to `/scale`: a number there is an order that stays, and
Torpor would decide no longer. What stands in the way as far as the object tells is said before anything is
written.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from torpor.api import constants as c
from torpor.cli import complete
from torpor.cli.manners import (
    NO,
    USAGE,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    TroubleError,
    Yes,
    check_format,
    confirmed,
    emit,
    finish,
    items,
    mapping,
    pause,
    shown,
)
from torpor.cli.reach import Cluster, connected

KEYS: Final = {
    "wake": c.ANNOTATION_WAKE_AT,
    "sleep": c.ANNOTATION_SLEEP_AT,
    "restart": c.ANNOTATION_RESTART_AT,
}
POLL_SECONDS: Final = 1.0

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The InferenceService.", autocompletion=complete.fleets)
]
At = Annotated[str | None, typer.Option(help="When: RFC 3339, as in 2026-11-22T20:00:00Z; default: now.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the operator says what became of it.")]
Timeout = Annotated[float, typer.Option(min=1, max=86400, help="Seconds for --wait.")]


def _asking(verb: str, told_in_help: str) -> Callable[..., None]:
    """Make the command of a verb: they differ in nothing but the annotation and the first line of help."""

    def ask(
        name: Name,
        *,
        at: At = None,
        yes: Yes = False,
        wait: Wait = False,
        timeout: Timeout = 60.0,
        namespace: Namespace = None,
        output: Output = "table",
        context: Context = None,
        kubeconfig: Kubeconfig = None,
    ) -> None:
        check_format(output)
        when = None if at is None else moment(at)

        async def work() -> Mapping[str, Any]:
            async with connected(kubeconfig, context) as cluster:
                where = namespace or cluster.namespace
                fleet = await cluster.fleet(name, where)
                value = _value(fleet, KEYS[verb], when)
                for line in obstacles(verb, fleet):
                    typer.echo(f"note: {shown(line)}", err=True)
                confirmed(f"{verb} {where}/{name} at {value}", yes=yes)
                answer = await cluster.annotate(name, where, KEYS[verb], value)
                told: dict[str, Any] = {
                    "namespace": where,
                    "name": name,
                    "request": verb,
                    "at": value,
                    "state": c.STATE_PENDING,
                }
                if wait:
                    told |= await _outcome(cluster, verb, answer, value, timeout)
                return told

        told = finish(work())
        emit(told, output, lambda: _sentence(told))
        if told["state"] in (c.STATE_REFUSED, c.STATE_MISSED, c.STATE_INVALID):
            raise typer.Exit(NO)

    ask.__name__ = verb
    ask.__doc__ = f"{told_in_help}\n\nWrites the annotation {KEYS[verb]}, on which the operator acts once."
    return ask


wake = _asking("wake", "Wake a fleet before a request does; it sleeps again after its idle time.")
sleep = _asking(
    "sleep",
    "Put a fleet to sleep once no request waits; what runs is finished, and the next request wakes it.",
)
restart = _asking("restart", "Replace a fleet's pods one after the other, as in a rollout.")


def moment(text: str) -> datetime:
    """Read a time with a zone. Raises TroubleError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or "T" not in text.upper():
        told = f'--at "{text}": must be an RFC 3339 time with its zone; write it like 2026-11-22T20:00:00Z'
        raise TroubleError(told, USAGE)
    return found


def _value(fleet: Mapping[str, Any], key: str, when: datetime | None) -> str:
    """The annotation's new value: another one than is there, or it would be the same request again."""
    at = when or datetime.now(UTC)
    while True:
        value = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if when is not None or mapping(fleet, "metadata", "annotations").get(key) != value:
            return value
        at += timedelta(seconds=1)


def obstacles(verb: str, fleet: Mapping[str, Any]) -> Iterator[str]:
    """Say what of the object stands against a request, or follows from it."""
    scaling, status = mapping(fleet, "spec", "scaling"), mapping(fleet, "status")
    if not status:
        yield "the fleet has no status: no operator has looked at it yet, and one must run to act on this"
    if verb == "restart":
        return
    if scaling.get("replicas") is not None:
        yield f"spec.scaling.replicas is {scaling['replicas']} and decides; remove it first"
    if scaling.get("mode") in (c.RECOMMEND, c.PAUSED):
        yield f"spec.scaling.mode is {scaling['mode']}, so the number does not change; set it to Auto first"
    active = mapping(status, "schedule", "active")
    floor = max(_number(scaling.get("minReplicas")), _number(active.get("minReplicas")))
    if verb == "sleep" and floor:
        yield f"at least {floor} replicas are asked for (minReplicas or the schedule), so it will be refused"
    if verb == "wake" and active.get("maxReplicas") == 0:
        if mapping(scaling, "schedule").get("whenClosed") == "Reject":
            yield "it is closed by its schedule with whenClosed: Reject, so it will be refused"
        else:
            yield "it is closed by its schedule; it wakes as for a request"


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


async def _outcome(
    cluster: Cluster, verb: str, fleet: Mapping[str, Any], value: str, seconds: float
) -> Mapping[str, Any]:
    """Wait for the operator's word about a request."""
    metadata, deadline = mapping(fleet, "metadata"), time.monotonic() + seconds
    while True:
        for item in items(mapping(fleet, "status").get("requests")):
            over = item.get("state") != c.STATE_PENDING
            if (item.get("name"), item.get("value")) == (verb, value) and (over or _late(deadline)):
                return {"state": str(item.get("state")), "message": shown(item.get("message") or "")}
        if _late(deadline):
            told = f"no word of the operator within {seconds:g} s; is it running (torpor status)?"
            return {"message": told}
        await pause(POLL_SECONDS)
        fleet = await cluster.fleet(str(metadata.get("name")), str(metadata.get("namespace")))


def _late(deadline: float) -> bool:
    return time.monotonic() >= deadline


def _sentence(told: Mapping[str, Any]) -> str:
    asked = f"{told['request']} of {told['namespace']}/{told['name']} at {told['at']}"
    if "message" in told:
        return f"{asked}: {told['state']}" + (f", {told['message']}" if told["message"] else "")
    return f"{asked}: asked for; torpor status -n {told['namespace']} {told['name']} says what became of it"
