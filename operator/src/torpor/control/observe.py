"""From the world to the arguments of `decide`.

Here a report that is too old becomes unknown, and a number that the engine does not give becomes unknown with
the name of the metric: whatever reaches `decide` is either fresh or says why not. What the owner asks for is
`decide.owner`'s, and the hours join it here.
"""

from dataclasses import replace

from torpor.api import constants
from torpor.api.engine_flags import whole_number
from torpor.api.spec import Engine as EngineSpec
from torpor.api.spec import KvCacheUtilization, QueueDepth
from torpor.api.types import InferenceService
from torpor.cluster.gateway_view import FleetDemand, PodReport
from torpor.control.cold_start import ColdStarts
from torpor.control.pods import Pod
from torpor.control.world import World
from torpor.decide import Demand, Engine, Observation, Policy, Standing, Unknown, Value, measured, utilization
from torpor.decide.hardware import Hardware
from torpor.decide.owner import LONGEST_WINDOW, owner_policy


def observe(world: World, *, rollout: bool) -> Observation:
    """Return what `decide` may know about the world."""
    return Observation(
        replicas=world.replicas,
        engines=tuple(_engine(world, pod) for pod in world.living),
        demand=_demand(world.demand),
        rollout=rollout,
        new=world.deployment is None,
    )


def policy(
    world: World,
    service: InferenceService,
    cold: ColdStarts,
    *,
    revision: str = "",
    hardware: Hardware | None = None,
    last_seqs: int | None = None,
) -> Policy:
    """Return what the owner asks for, with the periods that the measured cold starts give.

    hardware: what replicas of `revision` run on, None where that is not known. last_seqs: sequences that its
    engines ran at once when they were heard last.
    """
    hours = world.hours
    ends = hours.until if isinstance(hours, Standing) else None
    flag = whole_number(service.spec.engine.args, "max-num-seqs")
    places = _reported_max_num_seqs(world) or flag or last_seqs
    return replace(
        owner_policy(service, cold.p95, places),
        schedule=hours,
        schedule_ends_in=None if ends is None else max(0.0, (ends - world.now).total_seconds()),
        hardware=hardware,
        revision=revision,
    )


def stopgap_policy(world: World) -> Policy:
    """Return the policy of a fleet of which no valid spec is known: it may sleep and wake, but not grow.

    This happens where the operator started after the spec was broken: the children of the last good one still
    serve.
    """
    return Policy(
        min_replicas=0,
        max_replicas=max(1, world.replicas),
        queue_target=float(QueueDepth().target),
        kv_target=KvCacheUtilization().target_percent / 100,
        idle_seconds=float(constants.DEFAULT_IDLE_SECONDS),
        window_seconds=LONGEST_WINDOW,
        credit_seconds=float(EngineSpec().startup_seconds),
        mode=_mode_of(world),
    )


def _mode_of(world: World) -> str:
    """The mode in a spec that is not valid elsewhere: who paused a fleet and then broke its spec meant it."""
    scaling = (world.fleet.get("spec") or {}).get("scaling")
    mode = scaling.get("mode") if isinstance(scaling, dict) else None
    return mode if mode in (constants.RECOMMEND, constants.PAUSED) else constants.AUTO


def _reported_max_num_seqs(world: World) -> int | None:
    sizes = [_max_num_seqs(report) for report in world.demand.pods.values()]
    return min((size for size in sizes if size), default=None)


def _max_num_seqs(report: PodReport) -> int | None:
    value = measured(report.stats.get("maxNumSeqs"), low=1.0)
    return None if isinstance(value, Unknown) else int(value)


def _engine(world: World, pod: Pod) -> Engine:
    report = world.demand.pods.get(pod.name)
    failing = pod.failure is not None and pod.failure.reason != constants.UNSCHEDULABLE
    running, waiting, kv = _gauges(report)
    return Engine(
        name=pod.name,
        ready=world.is_ready(pod),
        age=pod.age(world.now),
        failing=failing,
        running=running,
        waiting=waiting,
        kv=kv,
        max_num_seqs=_max_num_seqs(report) if report else None,
    )


def _gauges(report: PodReport | None) -> tuple[Value, Value, Value]:
    """Running, waiting for capacity, KV utilization; unknown where the report or its numbers are too old."""
    if report is None:
        unknown = Unknown("no gateway has a report of its launcher")
        return unknown, unknown, unknown
    own_age = measured(report.stats.get("metricsAgeSeconds"))
    age = report.age + (0.0 if isinstance(own_age, Unknown) else own_age)
    if age > constants.STATS_FRESH_SECONDS:
        unknown = Unknown(f"the report is {age:.0f} s old", age)
        return unknown, unknown, unknown
    stats = report.stats
    waiting = stats.get("waitingCapacity")
    return (
        measured(stats.get("running")),
        measured(stats.get("waiting") if waiting is None else waiting),
        utilization(stats.get("kvUtilization")),
    )


def _demand(demand: FleetDemand) -> Demand:
    if not demand.reporting:
        return Demand(arrivals=demand.arrivals, gap=demand.gap)
    return Demand(
        held=float(demand.held),
        queued=float(demand.queued),
        in_flight=float(demand.in_flight),
        arrivals=demand.arrivals,
        complete=not demand.gap,
        gap=demand.gap,
    )
