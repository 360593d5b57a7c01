"""What to say about a fleet: one function per condition, each from the same facts.

`Ready=True` means that a request sent now will be answered: by a replica, or by one that a sleeping fleet
will start for it. So a fleet asleep at night is Ready, and one that cannot start is not, whatever the number
of its pods. The other conditions say the rest; a word that means two things is the beginning of a phase
machine.

`FINDINGS` at the end is the list of everything that is said; `health` sorts it for the tools that deploy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torpor.api import constants as c
from torpor.api.conditions import Finding
from torpor.control.health import health
from torpor.control.pods import Failure, Pod, failure, parse_time
from torpor.control.rollout import Rollout
from torpor.control.world import World, condition_of
from torpor.decide import Decision, Policy, Standing, Unknown

ROOM_PATIENCE = 15.0  # seconds without a node after which a wake counts as failed


@dataclass(frozen=True, slots=True)
class Facts:
    """A look's results. decision is None where no spec is known to decide by; rules: what it was decided by;
    taken: children that are not ours.
    """

    world: World
    decision: Decision | None
    rollout: Rollout
    external: int | None = None
    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    rules: Policy | None = None

    @property
    def desired(self) -> int:
        """The number that holds after this look."""
        return self.decision.replicas if self.decision else self.world.replicas

    @property
    def mode(self) -> str:
        """The mode that the decision was made in."""
        return self.rules.mode if self.rules else c.AUTO

    @property
    def kept(self) -> bool:
        """Whether the mode keeps the number as it is."""
        return self.mode != c.AUTO and self.external is None


def start_failure(world: World) -> Failure | None:
    """Why no replica starts: the pods' own reason, or that the pods may not be made at all."""
    failures = [found for pod in world.living if (found := _failure_of(world, pod))]
    if failures:
        return failures[0]
    refused = condition_of(world.deployment, "ReplicaFailure")
    if refused.get("status") == "True" and world.replicas > len(world.living):
        return failure(c.PODS_REFUSED, f"pods are refused: {refused.get('message', '')}")
    return None


def may_find_room(world: World) -> bool:
    """Whether pods lack nothing but room, a node or a quota, and none for longer than a start may take."""
    failed = start_failure(world)
    if failed is None or failed.reason not in (c.UNSCHEDULABLE, c.PODS_REFUSED) or world.service is None:
        return False
    if failed.reason == c.UNSCHEDULABLE:
        since = [pod.unschedulable_since for pod in world.living if pod.unschedulable_since]
    else:
        refused = parse_time(condition_of(world.deployment, "ReplicaFailure").get("lastTransitionTime"))
        since = [refused] if refused else []
    budget = world.service.spec.engine.startup_seconds
    return bool(since) and all((world.now - at).total_seconds() < budget for at in since)


def _failure_of(world: World, pod: Pod) -> Failure | None:
    if pod.failure is None or world.is_ready(pod):
        return None
    if pod.unschedulable_since is not None:
        # While a pod of its own still leaves, there is no room yet and will be: that is waiting, not failing.
        waited = min((world.now - pod.unschedulable_since).total_seconds(), world.roomless_for)
        return pod.failure if waited >= ROOM_PATIENCE else None
    return pod.failure


def ready(facts: Facts) -> Finding:
    """Whether a request sent now will be answered."""
    world = facts.world
    if facts.taken:
        told = f"{', '.join(facts.taken)} exists and is not this fleet's; rename or delete it"
        return Finding(c.READY, "False", c.NAME_TAKEN, told)
    if any("/" in conflict.model for conflict in world.conflicts):
        return Finding(c.READY, "False", c.ROUTE_CONFLICT, world.conflicts[0].message)
    if world.ready:
        return Finding(c.READY, "True", c.SERVING, f"{_replicas(len(world.ready))} answering")
    if world.problems:
        return Finding(c.READY, "False", c.SPEC_INVALID, "; ".join(world.problems))
    if facts.refused:
        return Finding(c.READY, "False", c.CONFIG_ERROR, "; ".join(facts.refused))
    if facts.desired == 0:
        if facts.external == 0:
            told = "spec.scaling.replicas is 0; raise it, or remove it to let Torpor decide"
            return Finding(c.READY, "False", c.SCALED_TO_ZERO_EXTERNALLY, told)
        if facts.kept:
            told = f"no replicas, and spec.scaling.mode is {facts.mode}: requests are refused; set it to Auto"
            return Finding(c.READY, "False", facts.mode, told)
        hours = world.hours
        if isinstance(hours, Standing) and hours.state.closed and facts.external is None:
            closed = f"closed by the schedule{_until(hours.opens_text)}"
            if hours.refuse_when_closed:
                return Finding(c.READY, "True", c.CLOSED, f"{closed}; requests are refused")
            told = f"asleep, {closed}; the next request wakes up to {_replicas(hours.closed_ceiling)}"
            return Finding(c.READY, "True", c.ASLEEP, told)
        return Finding(c.READY, "True", c.ASLEEP, "asleep; the next request wakes it")
    failed = start_failure(world)
    if failed is not None:
        return Finding(c.READY, "False", c.WAKE_FAILED, f"{failed.reason}: {failed.message}")
    return Finding(c.READY, "True", c.WAKING, f"{_replicas(facts.desired)} starting; requests are held")


def awake(facts: Facts) -> Finding:
    """Whether a replica answers."""
    world = facts.world
    if world.ready:
        return Finding(c.AWAKE, "True", c.REPLICAS_READY, f"{_replicas(len(world.ready))} ready")
    if facts.desired:
        return Finding(c.AWAKE, "False", c.STARTING, f"{_replicas(facts.desired)} starting")
    if world.pods:
        return Finding(c.AWAKE, "False", c.STOPPING, f"{_replicas(len(world.pods))} stopping")
    return Finding(c.AWAKE, "False", c.NO_REPLICAS, "no replicas")


def progressing(facts: Facts) -> Finding:
    """Whether the fleet is on its way to another state."""
    world, change = facts.world, facts.rollout
    if facts.refused:
        return Finding(c.PROGRESSING, "False", c.CONFIG_ERROR, "; ".join(facts.refused))
    if change.stalled and change.failure:
        told = f"{change.failure.reason}: {change.failure.message}"
        return Finding(c.PROGRESSING, "False", c.ROLLOUT_FAILED, told)
    if change.running and change.in_place:
        told = "replicas are replaced one after the other; requests are held where none is left"
        return Finding(c.PROGRESSING, "True", c.IN_PLACE_ROLLOUT, told)
    if change.running:
        told = "a new replica starts before an old one stops"
        return Finding(c.PROGRESSING, "True", c.SURGE_ROLLOUT, told)
    if len(world.ready) < facts.desired:
        told = f"{len(world.ready)} of {_replicas(facts.desired)} ready"
        return Finding(c.PROGRESSING, "True", c.SCALING_OUT, told)
    if len(world.pods) > facts.desired:
        told = f"{_replicas(len(world.pods) - facts.desired)} stopping"
        return Finding(c.PROGRESSING, "True", c.SCALING_IN, told)
    told = f"kept by spec.scaling.mode {facts.mode}" if facts.kept else "as decided"
    return Finding(c.PROGRESSING, "False", c.STABLE, f"{_replicas(facts.desired)} {told}")


def pods_scheduled(facts: Facts) -> Finding:
    """Whether every replica found a node."""
    world = facts.world
    if not world.living:
        refused = start_failure(world)
        if refused is not None and facts.desired:
            return Finding(c.PODS_SCHEDULED, "False", refused.reason, refused.message)
        return Finding(c.PODS_SCHEDULED, "True", c.NO_PODS, "no replica needs a node")
    waiting = [pod for pod in world.living if pod.unschedulable_since is not None]
    if waiting:
        told = waiting[0].failure.message if waiting[0].failure else ""
        return Finding(c.PODS_SCHEDULED, "False", c.UNSCHEDULABLE, f"{waiting[0].name}: {told}")
    return Finding(c.PODS_SCHEDULED, "True", c.SCHEDULED, "every replica has a node")


def signals_available(facts: Facts) -> Finding:
    """Whether the decision sees what it needs."""
    if facts.decision is None:
        return Finding(c.SIGNALS_AVAILABLE, "Unknown", c.UNKNOWN, "there is no valid spec to decide by")
    if facts.mode == c.PAUSED:
        told = "spec.scaling.mode is Paused: no signal is read"
        return Finding(c.SIGNALS_AVAILABLE, "Unknown", c.PAUSED, told)
    if facts.world.demand.gap and not facts.world.demand.reporting:
        return Finding(c.SIGNALS_AVAILABLE, "False", c.UNKNOWN, facts.world.demand.gap)
    waiting_for_first = facts.desired > 0 and not facts.world.ready
    gaps = [
        f"{r.name}: {r.unknown.reason if r.unknown else r.gap}"
        for r in facts.decision.signals
        if (r.unknown is not None and not waiting_for_first) or r.partial
    ]
    if gaps:
        return Finding(c.SIGNALS_AVAILABLE, "False", c.PARTLY_UNKNOWN, "; ".join(gaps))
    return Finding(c.SIGNALS_AVAILABLE, "True", c.AVAILABLE, "every signal is known")


def spec_valid(facts: Facts) -> Finding:
    """Whether the newest spec is followed."""
    if facts.world.problems:
        return Finding(c.SPEC_VALID, "False", c.SPEC_INVALID, "; ".join(facts.world.problems))
    return Finding(c.SPEC_VALID, "True", c.VALID, "")


def route_accepted(facts: Facts) -> Finding:
    """Whether the fleet has the model names it asked for."""
    if facts.world.conflicts:
        told = "; ".join(conflict.message for conflict in facts.world.conflicts)
        return Finding(c.ROUTE_ACCEPTED, "False", c.ROUTE_CONFLICT, told)
    if not facts.world.bare:
        told = "this installation gives the namespace no bare model names; use NAMESPACE/MODEL"
        return Finding(c.ROUTE_ACCEPTED, "True", c.QUALIFIED_NAME_ONLY, told)
    return Finding(c.ROUTE_ACCEPTED, "True", c.ACCEPTED, "")


def externally_scaled(facts: Facts) -> Finding:
    """Whether somebody else decides the number."""
    if facts.external is None:
        return Finding(c.EXTERNALLY_SCALED, "False", c.DECIDED_BY_TORPOR, "")
    told = f"spec.scaling.replicas is {facts.external}; remove it to let Torpor decide"
    return Finding(c.EXTERNALLY_SCALED, "True", c.REPLICAS_SET, told)


def schedule_applied(facts: Facts) -> Finding:
    """Whether the hours have their way."""
    hours, service = facts.world.hours, facts.world.service
    if hours is None or service is None:
        return Finding(c.SCHEDULE_APPLIED, "True", c.NO_SCHEDULE, "")
    if isinstance(hours, Unknown):
        told = f"{hours.reason}; until then the number of replicas is not lowered"
        return Finding(c.SCHEDULE_APPLIED, "False", c.TIME_ZONE_DATA_MISSING, told)
    if facts.external is not None:
        told = f"spec.scaling.replicas is {facts.external}; remove it to let the schedule decide"
        return Finding(c.SCHEDULE_APPLIED, "False", c.REPLICAS_SET, told)
    if facts.kept:
        told = f"spec.scaling.mode is {facts.mode}; set it to Auto to let the schedule decide"
        return Finding(c.SCHEDULE_APPLIED, "False", facts.mode, told)
    scaling, limits = service.spec.scaling, hours.state.limits
    floor = max(scaling.min_replicas, limits.floor or 0)
    ceiling = scaling.max_replicas if limits.ceiling is None else min(scaling.max_replicas, limits.ceiling)
    if floor > ceiling:
        told = (
            f"{hours.names}: at least {_replicas(floor)} and at most {ceiling} are asked for; the lower "
            f"number holds{_until(hours.until_text)}; change a minReplicas or maxReplicas of either"
        )
        return Finding(c.SCHEDULE_APPLIED, "False", c.FLOOR_ABOVE_CEILING, told)
    if hours.state.closed:
        return Finding(
            c.SCHEDULE_APPLIED, "True", c.CLOSED, f"{hours.names}: closed{_until(hours.opens_text)}"
        )
    told = f"{hours.names}: {floor} to {_replicas(ceiling)}{_until(hours.until_text)}"
    return Finding(c.SCHEDULE_APPLIED, "True", c.OPEN, told)


def scaling_active(facts: Facts) -> Finding:
    """Whether Torpor changes the number of replicas."""
    if facts.decision is None:
        return Finding(c.SCALING_ACTIVE, "Unknown", c.UNKNOWN, "there is no valid spec to decide by")
    if facts.external is not None:
        told = f"spec.scaling.replicas is {facts.external}; remove it to let Torpor decide"
        return Finding(c.SCALING_ACTIVE, "False", c.REPLICAS_SET, told)
    if facts.mode == c.RECOMMEND:
        told = "spec.scaling.mode is Recommend: status.decision has the number that Auto would follow"
        return Finding(c.SCALING_ACTIVE, "False", c.RECOMMEND, told)
    if facts.mode == c.PAUSED:
        told = "spec.scaling.mode is Paused: no number is worked out; set it to Auto or Recommend"
        return Finding(c.SCALING_ACTIVE, "False", c.PAUSED, told)
    return Finding(c.SCALING_ACTIVE, "True", c.AUTO, "")


FINDINGS: tuple[Callable[[Facts], Finding], ...] = (
    ready,
    awake,
    progressing,
    pods_scheduled,
    signals_available,
    spec_valid,
    route_accepted,
    externally_scaled,
    schedule_applied,
    scaling_active,
)


def findings(facts: Facts) -> list[Finding]:
    """Everything that is to be said about the fleet."""
    found = [find(facts) for find in FINDINGS]
    return [*found, *health(by_type(found), may_find_room=may_find_room(facts.world))]


def by_type(found: list[Finding]) -> Mapping[str, Finding]:
    """Index findings by condition type."""
    return {finding.type: finding for finding in found}


def _replicas(number: int) -> str:
    return f"{number} replica" if number == 1 else f"{number} replicas"


def _until(text: str) -> str:
    return f" until {text}" if text else ""
