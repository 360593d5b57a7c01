"""One look's lessons: from what the observation counts to what is known of the fleet.

Each part of `Known` is brought up to date where the observation has something for it, and left as it is
where it has not: a counter that went back, a gateway that is silent, an hour without a wall clock teach
nothing, and nothing is what they change. Learning costs time at every look, so it is bounded: at most
`SAMPLED` replicas are sampled at one look, those whose last sample is oldest first, and the model that is
made of it all is made anew only when it is `MODEL_SECONDS` old.
"""

import math
from dataclasses import astuple, replace

from torpor.decide import economics, learning, samples, traffic
from torpor.decide.forecast import horizon_minutes, newsvendor
from torpor.decide.known import Kept, Known
from torpor.decide.learning import Learned
from torpor.decide.observation import Observation, Policy, Tally
from torpor.decide.samples import Counters
from torpor.decide.traffic import Counts
from torpor.decide.values import Unknown, Value
from torpor.decide.work import utilization
from torpor.decide.work_rate import Load, arriving, expected_utilization, load_of, model_of

SAMPLED = 2  # replicas sampled at one look
FOLLOWED = 16  # replicas whose counters are kept between looks
SAMPLE_SECONDS = 10.0  # between two samples of a replica: shorter ones say little more and cost as much
MODEL_SECONDS = 5.0
LATE, IDLE = 9.0, 1.0  # cost of a replica that is missing, over one that idles for the same time
LOOK_SECONDS = 10.0  # between two looks, at the most usual: how much later than now an order may be given
KEPT_SECONDS = 300.0  # for which periods that follow from the pauses are not worked out again


def study(known: Known, observation: Observation, policy: Policy, now: float) -> Known:
    """Return what is known after a look at `now` (seconds, monotonic)."""
    seconds, counts, known = _counted(known, observation, now)
    if counts is not None:
        known = replace(known, traffic=traffic.observe(known.traffic, counts))
    if not works(policy):
        return known
    known, minute_ended = _metered(known, observation, policy, seconds, counts)
    if not minute_ended:  # one long piece of work a look
        known = _modelled(_learned(known, observation, policy, seconds), policy, now)
    return known if known.model else _modelled(known, policy, now)


def works(policy: Policy) -> bool:
    """Whether arriving work is a signal: somebody knows or guesses the hardware, and says how fast it should
    answer.
    """
    wanted = policy.objectives.ttft_ms is not None or policy.objectives.itl_ms is not None
    return policy.hardware is not None and wanted


def share() -> float:
    """The quantile that the forecast is read at."""
    return newsvendor(LATE, IDLE)


def load(known: Known, observation: Observation, waiting: Value) -> Load | None:
    """What wants the fleet now; None where the gateways have never counted lengths here."""
    demand = observation.demand
    if demand.tally is None:
        if known.tally is None:
            return None
        gone = Unknown("the gateways' counts are missing")
        return Load(gone, gone, waiting, complete=False, gap=demand.gap or gone.reason)
    found = load_of(known.traffic, waiting, complete=demand.complete, gap=demand.gap)
    if not _sound(demand.tally):
        return replace(found, requests=Unknown("the gateways' counts are impossible"))
    return found


def paused(known: Known, need: int | None, now: float) -> Known:
    """Remember how many replicas were needed; None: that is not known."""
    return known if need is None else replace(known, pauses=known.pauses.add(need, now))


def periods(known: Known, policy: Policy, now: float) -> Known:
    """Bring the periods that follow from the pauses up to date (`Known.kept`)."""
    cold_start, kept = policy.cold_start, known.kept
    if cold_start is None or not (math.isfinite(cold_start) and cold_start >= 0):
        return known if kept is None else replace(known, kept=None)
    if kept and kept.cold_start == cold_start and 0 <= now - kept.at < KEPT_SECONDS:
        return known
    pauses = known.pauses
    return replace(
        known,
        kept=Kept(
            now,
            cold_start,
            economics.keep_alive(pauses.surplus, cold_start),
            economics.idle_seconds(pauses.asleep, cold_start),
        ),
    )


def _sound(tally: Tally) -> bool:
    return all(0 <= number <= traffic.LARGEST for number in astuple(tally))


def _counted(known: Known, observation: Observation, now: float) -> tuple[float, Counts | None, Known]:
    """Seconds since the last look, what was counted in them where that is known, and the counters kept."""
    tally, before, at = observation.demand.tally, known.tally, known.tally_at
    seconds = 0.0 if at is None else now - at
    if tally is None or not _sound(tally):
        return seconds, None, known
    if 0 <= seconds < 1e-3 and before is not None:
        return 0.0, None, known
    known = replace(known, tally=tally, tally_at=now)
    if before is None or seconds <= 0:
        return seconds, None, known
    grown = Counts(
        seconds,
        tally.arrivals - before.arrivals,
        tally.prompt_tokens - before.prompt_tokens,
        tally.completed - before.completed,
        tally.output_tokens - before.output_tokens,
        *_squares(tally, before),
    )
    return seconds, grown if grown.sound else None, known


def _squares(tally: Tally, before: Tally) -> tuple[float, float, float] | tuple[None, None, None]:
    """The growth of the sums of squares; nothing where no gateway keeps them."""
    if tally.output_squares <= 0 or tally.prompt_squares <= 0:
        return None, None, None
    return (
        tally.prompt_squares - before.prompt_squares,
        tally.output_squares - before.output_squares,
        tally.products - before.products,
    )


def _metered(
    known: Known, observation: Observation, policy: Policy, seconds: float, counts: Counts | None
) -> tuple[Known, bool]:
    """Feed the minute, and with each minute that ended the forecast and the profile; whether one ended."""
    wall, model = observation.wall, known.model
    if wall is None or model is None or not math.isfinite(wall) or seconds <= 0:
        return known, False
    rate: Value = Unknown("not every gateway counted")
    if counts is not None and observation.demand.complete:
        rate = arriving(model, counts.arrivals, counts.prompt_tokens) / seconds
    meter, ended = known.meter.read(rate, wall - seconds, wall)
    offset = observation.offset if math.isfinite(observation.offset) else 0.0
    track, profile = known.track, known.profile
    horizon = horizon_minutes(policy.cold_start or 0.0, LOOK_SECONDS)
    for minute in ended:
        track = track.add(minute, profile, offset, horizon, share())
        profile = profile.add(minute, offset)
    return replace(known, meter=meter, track=track, profile=profile), bool(ended)


def _learned(known: Known, observation: Observation, policy: Policy, seconds: float) -> Known:
    hardware = policy.hardware
    if hardware is None:
        return known
    learned = _start(known.learned, policy)
    due, kept = _due(known.counters, observation)
    found, at_ends = samples.collect(kept, due, hardware.max_num_batched_tokens)
    learned = learning.learn(learned, found)
    if found and seconds > 0:
        learned = _calibrated(learned, known, observation, found, seconds)
    sampled = {report.replica for report in due}
    counters = (*(report for report in kept if report.replica not in sampled), *at_ends)
    return replace(known, learned=learned, counters=counters)


def _start(learned: Learned | None, policy: Policy) -> Learned:
    """What is known of the engine of this revision, or the start for its hardware."""
    hardware = policy.hardware
    assert hardware is not None
    start = (hardware.a, hardware.b, hardware.c, hardware.d)
    if learned is None:
        return learning.begin(hardware, policy.revision)
    if learned.start != start and not (learned.proven and learned.revision == policy.revision):
        return learning.begin(hardware, policy.revision)
    return learning.renew(learned, policy.revision)


def _due(
    kept: tuple[Counters, ...], observation: Observation
) -> tuple[tuple[Counters, ...], tuple[Counters, ...]]:
    """The reports to take samples of now, and the kept ones of replicas that still answer."""
    reports = {
        engine.name: engine.counters
        for engine in observation.engines
        if engine.ready and engine.counters is not None
    }
    kept = tuple(old for old in kept if old.replica in reports)
    olds = {old.replica: old for old in kept}
    due: list[Counters] = []
    for old in sorted(kept, key=lambda old: old.at):
        if len(due) == SAMPLED:
            break
        report = reports[old.replica]
        if report.at - old.at >= SAMPLE_SECONDS or report.boot != old.boot or report.at < old.at:
            due.append(report)
    room = FOLLOWED - len(kept)
    fresh = [report for name, report in reports.items() if name not in olds][: max(0, min(room, SAMPLED))]
    return (*due, *fresh), kept


def _calibrated(
    learned: Learned,
    known: Known,
    observation: Observation,
    found: tuple[samples.Sample, ...],
    seconds: float,
) -> Learned:
    demand, model = observation.demand, known.model
    if demand.tally is None or model is None:
        return learned
    busy = load_of(known.traffic, 0.0, complete=demand.complete, gap=demand.gap)
    expected = expected_utilization(busy, model, len(observation.ready))
    if expected is None:
        return learned
    shown = sum(utilization(sample.step_ms, model.hardware) for sample in found) / len(found)
    return learning.calibrate(learned, shown, expected, seconds)


def _modelled(known: Known, policy: Policy, now: float) -> Known:
    """Put the model together where the kept one is too old."""
    if policy.hardware is None or (known.model and 0 <= now - known.model_at < MODEL_SECONDS):
        return known
    model = model_of(policy.hardware, known.learned, known.traffic, policy.objectives)
    return replace(known, model=model, model_at=now)
