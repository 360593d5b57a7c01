"""The lives of a fleet, each as the object that the operator's own code leaves, with what tools make of it.

Unit tests compare the conditions, integration tests ask the tools themselves.
"""

from dataclasses import dataclass, replace

from torpor.api import constants as c
from torpor.api.names import FleetKey
from torpor.api.routes import Conflict
from torpor.build import revision_of
from torpor.control.cold_start import ColdStarts
from torpor.control.findings import Facts, findings
from torpor.control.observe import observe, policy, stopgap_policy
from torpor.control.rollout import Rollout, rollout
from torpor.control.status import status_of
from torpor.decide import Memory, Standing, decide
from torpor.decide.schedule import Limits, State

from tests.unit.control.worlds import container, demand, fleet, pod, stamp, world

CURRENT, IN_PROGRESS, FAILED, TERMINATING = "Current", "InProgress", "Failed", "Terminating"
HEALTHY, PROGRESSING, SUSPENDED, DEGRADED = "Healthy", "Progressing", "Suspended", "Degraded"

CRASHED = container({"terminated": {"exitCode": 70, "message": "engine exited with 1"}})
NO_IMAGE = container({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}, image="nowhere:1")
NIGHT = Standing(State(("night",), Limits(ceiling=0)), None, None, None, refuse_when_closed=True)
OPEN_NIGHT = replace(NIGHT, refuse_when_closed=False)
SAME_NAMESPACE = Conflict("team/llm", FleetKey("team", "older"))
BARE = Conflict("llm", FleetKey("other", "older"))
OLD = "0123456789"  # a revision that no spec has


@dataclass(frozen=True)
class Life:
    """status: of kstatus. argo: of our health check for Argo CD; None: Argo CD says it before asking us.
    reason: what the condition that decides says.
    """

    name: str
    item: dict
    status: str
    argo: str | None
    reason: str


def looked(seen, external=None, taken=(), refused=()):
    """The object after a look at `seen`."""
    rules = policy(seen, seen.service, ColdStarts()) if seen.service else stopgap_policy(seen)
    decision, _ = decide(observe(seen, rollout=False), rules, Memory(), seen.clock)
    change = rollout(seen, seen.service, revision_of(seen.service)) if seen.service else Rollout()
    facts = Facts(seen, decision, change, external, taken, refused, rules)
    return seen.fleet | {"status": status_of(facts, findings(facts), ColdStarts(), cluster_domain="x")}


def mode(name, **scaling):
    return fleet(scaling={"mode": name} | scaling)


def changed(item, **metadata):
    return item | {"metadata": item["metadata"] | metadata}


def refused_pods(seconds):
    seen = world(replicas=1)
    told = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}
    seen.deployment["status"] = {"conditions": [told | {"lastTransitionTime": stamp(seconds)}]}
    return seen


def roomless(seconds, budget=600):
    raw = fleet(engine={"type": "Simulated", "startupSeconds": budget})
    return world(raw, replicas=1, pods=[pod(unschedulable=seconds)])


READY = pod(ready=True)
OLD_READY = pod(ready=True, revision=OLD)
OLD_LEAVES = pod("old", revision=OLD, terminating=True)
NEW = "llm-1"
ASLEEP = looked(world())
LIVES = (
    Life("created", changed(fleet(status={"observedGeneration": 0})), IN_PROGRESS, PROGRESSING, ""),
    Life("asleep", ASLEEP, CURRENT, HEALTHY, c.ASLEEP),
    Life("asleep, by the clock", looked(world(hours=OPEN_NIGHT)), CURRENT, HEALTHY, c.ASLEEP),
    Life("closed", looked(world(hours=NIGHT)), CURRENT, HEALTHY, c.CLOSED),
    Life("changed while asleep", changed(ASLEEP, generation=2), IN_PROGRESS, PROGRESSING, ""),
    Life("first request", looked(world(seen=demand(held=1))), IN_PROGRESS, PROGRESSING, c.WAKING),
    Life("starting", looked(world(replicas=1, pods=[pod()])), IN_PROGRESS, PROGRESSING, c.WAKING),
    Life("serving", looked(world(replicas=1, pods=[READY])), CURRENT, HEALTHY, c.SERVING),
    Life("one more starts", looked(world(replicas=2, pods=[READY, pod(NEW)])), CURRENT, HEALTHY, c.SERVING),
    Life("one leaves", looked(world(replicas=1, pods=[READY, pod(NEW, terminating=True)])),
         CURRENT, HEALTHY, c.SERVING),
    Life("one more crashes", looked(world(replicas=2, pods=[READY, pod(NEW, status=CRASHED)])),
         CURRENT, HEALTHY, c.SERVING),
    Life("crashes", looked(world(replicas=1, pods=[pod(status=CRASHED)])), FAILED, DEGRADED, c.WAKE_FAILED),
    Life("no image", looked(world(replicas=1, pods=[pod(status=NO_IMAGE)])), FAILED, DEGRADED, c.WAKE_FAILED),
    Life("no node yet", looked(roomless(599)), IN_PROGRESS, PROGRESSING, c.WAKE_FAILED),
    Life("no node", looked(roomless(600)), FAILED, DEGRADED, c.WAKE_FAILED),
    Life("no quota yet", looked(refused_pods(1799)), IN_PROGRESS, PROGRESSING, c.WAKE_FAILED),
    Life("no quota", looked(refused_pods(1800)), FAILED, DEGRADED, c.WAKE_FAILED),
    Life("invalid from birth", looked(world(service=None, problems=["spec: bad"])),
         FAILED, DEGRADED, c.SPEC_INVALID),
    Life("invalid, the last good one serves", looked(world(replicas=1, pods=[READY], problems=["spec: bad"])),
         FAILED, DEGRADED, c.SPEC_INVALID),
    Life("invalid, the last good one sleeps", looked(world(problems=["spec: bad"])),
         FAILED, DEGRADED, c.SPEC_INVALID),
    Life("name taken", looked(world(), taken=("Service llm",)), FAILED, DEGRADED, c.NAME_TAKEN),
    Life("model name taken", looked(world(conflicts=[SAME_NAMESPACE])), FAILED, DEGRADED, c.ROUTE_CONFLICT),
    Life("bare name taken", looked(world(conflicts=[BARE])), CURRENT, HEALTHY, c.ASLEEP),
    Life("child refused", looked(world(), refused=("Deployment llm is refused: quota",)),
         FAILED, DEGRADED, c.CONFIG_ERROR),
    Life("child refused, replicas serve",
         looked(world(replicas=1, pods=[READY]), refused=("Service llm is refused: quota",)),
         FAILED, DEGRADED, c.CONFIG_ERROR),
    Life("paused and serving", looked(world(mode(c.PAUSED), replicas=1, pods=[READY])),
         CURRENT, HEALTHY, c.SERVING),
    Life("recommend and serving", looked(world(mode(c.RECOMMEND), replicas=1, pods=[READY])),
         CURRENT, HEALTHY, c.SERVING),
    Life("paused at zero", looked(world(mode(c.PAUSED))), IN_PROGRESS, SUSPENDED, c.PAUSED),
    Life("recommend at zero", looked(world(mode(c.RECOMMEND))), IN_PROGRESS, SUSPENDED, c.RECOMMEND),
    Life("scaled to zero", looked(world(fleet(scaling={"replicas": 0})), external=0),
         IN_PROGRESS, SUSPENDED, c.SCALED_TO_ZERO_EXTERNALLY),
    Life("new revision", looked(world(replicas=1, pods=[OLD_READY, pod(NEW)])),
         IN_PROGRESS, PROGRESSING, c.SURGE_ROLLOUT),
    Life("new revision, no node yet", looked(world(replicas=1, pods=[OLD_READY, pod(NEW, unschedulable=99)])),
         IN_PROGRESS, PROGRESSING, c.IN_PLACE_ROLLOUT),
    Life("new revision crashes", looked(world(replicas=1, pods=[OLD_READY, pod(NEW, status=CRASHED)])),
         FAILED, DEGRADED, c.ROLLOUT_FAILED),
    Life("new revision serves", looked(world(replicas=1, pods=[READY, OLD_LEAVES])),
         CURRENT, HEALTHY, c.SERVING),
    Life("deleted", changed(ASLEEP, deletionTimestamp=stamp(1)), TERMINATING, None, ""),
)  # fmt: skip
