"""From the world to the arguments of `decide`.

Here a report that is too old becomes unknown, and a number that the engine does not give becomes unknown with
the name of the metric: whatever reaches `decide` is either fresh or says why not. Counters go along with the
moment at which they were told, and not at which somebody looked: two seconds' growth over three seconds is an
engine a third slower than it is. What the owner asks for is `decide.owner`'s, and the hours join it here.
"""

from dataclasses import replace

from torpor.api import constants, zones
from torpor.api.engine_flags import whole_number
from torpor.api.spec import Engine as EngineSpec
from torpor.api.spec import KvCacheUtilization
from torpor.api.types import InferenceService
from torpor.cluster.gateway_view import FleetDemand, PodReport
from torpor.control.cold_start import ColdStarts
from torpor.control.pods import Pod
from torpor.control.world import World
from torpor.decide import Demand, Engine, Observation, Policy, Standing, Unknown, Value, measured, utilization
from torpor.decide.hardware import Hardware
from torpor.decide.owner import LONGEST_WINDOW, owner_policy
from torpor.decide.samples import MOST_COUNTED, Counters


def observe(world: World, *, rollout: bool) -> Observation:
    """Return what `decide` may know about the world."""
    return Observation(
        replicas=world.replicas,
        engines=tuple(_engine(world, pod) for pod in world.living),
        demand=_demand(world.demand),
        rollout=rollout,
        new=world.deployment is None,
        wall=world.now.timestamp(),
        offset=_offset(world),
        asked=world.docket.asked,
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
        queue_target=float(constants.DEFAULT_QUEUE_TARGET),
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
    told = world.demand.pods.get(pod.name)
    report = _fresh(told)
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
        max_num_seqs=_max_num_seqs(told) if told else None,  # which does not change with time
        counters=_counters(pod.name, report) if isinstance(report, PodReport) else None,
        report_age=_age(report) if isinstance(report, PodReport) else None,
    )


def _fresh(report: PodReport | None) -> PodReport | Unknown:
    """The report, or why it says nothing about now: it or the numbers in it are too old, or there is none."""
    if report is None:
        return Unknown("no gateway has a report of its launcher")
    age = _age(report)
    if age <= constants.STATS_FRESH_SECONDS:
        return report
    # Without its seconds, because a text that ticks would be a new status with every look.
    return Unknown(f"the report is older than {constants.STATS_FRESH_SECONDS:g} s", age)


def _age(report: PodReport) -> float:
    """Seconds since the engine's numbers were read."""
    return report.age + _own_age(report)


def _own_age(report: PodReport) -> float:
    """How old the engine's numbers were when the launcher told them, seconds."""
    age = measured(report.stats.get("metricsAgeSeconds"))
    return 0.0 if isinstance(age, Unknown) else age


def _gauges(report: PodReport | Unknown) -> tuple[Value, Value, Value]:
    """Running, waiting for capacity, KV utilization; unknown where the report is."""
    if isinstance(report, Unknown):
        return report, report, report
    stats = report.stats
    waiting = stats.get("waitingCapacity")
    return (
        measured(stats.get("running")),
        measured(stats.get("waiting") if waiting is None else waiting),
        utilization(stats.get("kvUtilization")),
    )


def _counters(replica: str, report: PodReport) -> Counters | None:
    """What the engine counted since its launcher began; None where it counts no tokens (yet), or where the
    launcher does not say who it is.

    Cached are the prompt tokens that were not computed; an engine that does not count them has the hits of
    its prefix cache instead, which is more while requests wait for room. vLLM counts one gap per output, and
    with speculative decoding an output has several tokens: every token but the first of its request is the
    end of a gap, so that sum and number give the time per token.
    """
    stats = report.stats
    boot = stats.get("bootId")
    generated, prompts = _count(report, "generationTokensTotal"), _count(report, "promptTokensTotal")
    if not (isinstance(boot, str) and boot) or (
        isinstance(generated, Unknown) and isinstance(prompts, Unknown)
    ):
        return None
    running, waiting, kv = _gauges(report)
    capacity = _count(report, "kvCapacityTokens")
    cached = _count(report, "cachedPromptTokensTotal")
    return Counters(
        replica,
        boot,
        report.at - _own_age(report),
        running=running,
        waiting=waiting,
        kv_tokens=_product(kv, capacity),
        generated=generated,
        prompts=prompts,
        cached=_count(report, "prefixHitsTotal") if isinstance(cached, Unknown) else cached,
        gaps=_gaps(report, generated),
        gap_seconds=_count(report, "interTokenSeconds"),
    )


def _gaps(report: PodReport, generated: Value) -> Value:
    outputs, firsts = _count(report, "interTokenCount"), _count(report, "firstTokensTotal")
    if isinstance(outputs, Unknown) or isinstance(generated, Unknown) or isinstance(firsts, Unknown):
        return outputs
    return max(outputs, generated - firsts)


def _product(one: Value, other: Value) -> Value:
    if isinstance(one, Unknown):
        return one
    return other if isinstance(other, Unknown) else one * other


def _count(report: PodReport, name: str) -> Value:
    return measured(report.stats.get(name), high=MOST_COUNTED)


def _offset(world: World) -> float:
    """Seconds by which local time is ahead of UTC where the fleet's schedule is, 0 where it has none."""
    schedule = world.service.spec.scaling.schedule if world.service else None
    zone = None if schedule is None else zones.load(schedule.time_zone)
    ahead = None if zone is None else world.now.astimezone(zone).utcoffset()
    return 0.0 if ahead is None else ahead.total_seconds()


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
        tally=demand.tally,
        waiting_prompt_tokens=measured(demand.waiting_prompt_tokens, high=MOST_COUNTED),
        age=demand.age,
    )
