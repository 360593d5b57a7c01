"""The world around one fleet at one moment, gathered from the watches and the streams.

Everything a look needs, in one frozen value: whoever holds a `World` can decide and plan without asking
anybody again, and a test can write one down. Gathering reads memory only; no request is made.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from torpor.api import constants, names
from torpor.api.names import FleetKey
from torpor.api.routes import Conflict
from torpor.api.types import InferenceService
from torpor.build.deployment import restarted_of
from torpor.cluster.gateway_view import FleetDemand
from torpor.cluster.resources import CHILDREN, CONFIG_MAPS, DEPLOYMENTS, Object, Resource
from torpor.control.drift import replicas_of
from torpor.control.pods import Pod
from torpor.decide import Standing, Unknown
from torpor.decide.requests import NO_REQUESTS, Docket


@dataclass(frozen=True, slots=True)
class World:
    """One fleet and everything around it.

    service: the spec that is followed (the newest valid one; None where none is known). problems: why the
    newest is not followed. now: wall clock, for what people read; clock: monotonic seconds, for periods.
    bare: the installation gives this namespace bare model names. conflicts: names that an older fleet has.
    roomless_for: seconds since a pod of the fleet, one on its way out included, last held room on a node.
    hours: what the schedule allows; Unknown where that cannot be told, None where there is no schedule.
    docket: what is asked of the fleet by annotation.
    """

    key: FleetKey
    fleet: Object
    service: InferenceService | None
    problems: tuple[str, ...]
    children: Mapping[tuple[Resource, str], Object]
    pods: tuple[Pod, ...]
    demand: FleetDemand
    now: datetime
    clock: float
    bare: bool = True
    conflicts: tuple[Conflict, ...] = ()
    roomless_for: float = math.inf
    hours: Standing | Unknown | None = None
    docket: Docket = NO_REQUESTS

    @property
    def uid(self) -> str:
        """The identity of the fleet's object."""
        return str(self.fleet["metadata"].get("uid", ""))

    @property
    def generation(self) -> int:
        """The generation of the fleet's object."""
        return int(self.fleet["metadata"].get("generation") or 0)

    @property
    def deployment(self) -> Object | None:
        """The engine Deployment, where it exists and is this fleet's."""
        return self.children.get((DEPLOYMENTS, names.engines(self.key.name)))

    @property
    def config(self) -> Object | None:
        """The fleet's ConfigMap, where it exists."""
        return self.children.get((CONFIG_MAPS, names.config(self.key.name)))

    @property
    def restarted(self) -> str:
        """The restart that the pods must have come with: one that is due, else that of the live template. A
        fleet without pods has nothing to restart.
        """
        return (self.docket.restart if self.living else "") or restarted_of(self.deployment)

    @property
    def replicas(self) -> int:
        """How many pods the Deployment asks for now; 0 where it does not exist."""
        return replicas_of(self.deployment or {})

    @property
    def living(self) -> tuple[Pod, ...]:
        """The pods that are not on their way out."""
        return tuple(pod for pod in self.pods if not pod.terminating)

    @property
    def ready(self) -> tuple[Pod, ...]:
        """The pods that answer: the kubelet or, earlier, the launcher says so."""
        return tuple(pod for pod in self.living if self.is_ready(pod))

    @property
    def ready_stats(self) -> tuple[Mapping[str, Any], ...]:
        """What the launchers of the ready pods say, where they are heard."""
        reports = (self.demand.pods.get(pod.name) for pod in self.ready)
        return tuple(report.stats for report in reports if report is not None)

    def is_ready(self, pod: Pod) -> bool:
        """Whether the pod answers requests."""
        report = self.demand.pods.get(pod.name)
        if report is not None and report.age < constants.STATS_FRESH_SECONDS:
            return report.stats.get("state") == constants.STATE_READY
        return pod.ready


def owner_uid(child: Object) -> str | None:
    """Return the uid of the InferenceService that controls a child; None where none does."""
    for owner in child["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and owner.get("kind") == constants.KIND:
            return str(owner.get("uid"))
    return None


def strangers(children: Mapping[tuple[Resource, str], Object], uid: str) -> dict[str, bool]:
    """Name the children that this fleet does not own, as "kind name" -> whether a former fleet of its name
    does. A ConfigMap of nobody is left out: the fleet goes on without one.
    """
    found = {}
    for (resource, name), child in children.items():
        owner = owner_uid(child)
        if resource == CONFIG_MAPS and owner is None:
            continue
        if resource in CHILDREN and owner != uid:
            found[f"{resource.kind} {name}"] = owner is not None
    return found


def condition_of(item: Object | None, type_: str) -> Mapping[str, str]:
    """Return the condition of that type of a Kubernetes object, empty where there is none."""
    for condition in ((item or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == type_:
            return dict(condition)
    return {}


def now_utc() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)
