"""One look's lessons: from what the observation counts to what is known of the fleet.

Each part of `Known` is brought up to date where the observation has something for it, and left as it is
where it has not: a counter that went back, a gateway that is silent, an hour without a wall clock teach
nothing, and nothing is what they change.

What a silent gateway counts is told when it is heard again, all at once. So a look that some gateway is
missing from is provisional: it counts what has come since the last whole look, over all the time since, and
the next look takes it back. A return is then a mean over the silence and no burst, nothing of it is lost, and
meanwhile the rates are lower bounds that still rise with what the others see.

Learning costs time at every look, so it is bounded: a few replicas
are followed and one of them is sampled at a look, the model that is made of it all is made anew only when it
is `MODEL_SECONDS` old, and the look that ends a minute does nothing else.
"""

import math

from torpor.decide import economics, learning, samples, traffic
from torpor.decide.forecast import horizon_minutes, newsvendor
from torpor.decide.known import Kept, Known, Watch, Whole
from torpor.decide.learning import Learned
from torpor.decide.minutes import Meter
from torpor.decide.observation import Observation, Policy, Tally
from torpor.decide.profile import Profile
from torpor.decide.quick import but
from torpor.decide.samples import Counters
from torpor.decide.service import served
from torpor.decide.signals import Waiting
from torpor.decide.track import Track
from torpor.decide.traffic import Counts
from torpor.decide.values import Unknown, Value, measured
from torpor.decide.work import Staffing, utilization
from torpor.decide.work_rate import MOST_TOKENS, Load, arriving, expected_utilization, load_of, model_of

FOLLOWED = 4  # replicas that are sampled; they are alike, and four tell what one does
SAMPLE_SECONDS = 10.0  # between two samples of a replica: shorter ones say little more and cost as much
FEWEST_RUNNING = 3.0  # sequences in a sample's batch: below, the engine idled between steps, and that is none
MODEL_SECONDS = 5.0
LATE_SECONDS = 40.0  # the cold start at which a missing replica costs as much as one that idles
LATER = 4.0  # times as late where all the room is given back
MISS, MISS_AT_MOST = Staffing().miss, 0.25
LOOK_SECONDS = 10.0  # between two looks, at the most usual: how much later than now an order may be given
KEPT_SECONDS = 300.0  # for which periods that follow from the pauses are not worked out again


def study(known: Known, observation: Observation, policy: Policy, now: float, watch: Watch) -> Known:
    """Return what is known after a look at `now` (seconds, monotonic). watch: this look's check for engines
    that hang.
    """
    told = observation.demand.tally
    if told is not None and not _sound(told):
        told = None
    seconds, counts = _counted(known, told, now)
    tally, tally_at, whole, seen = known.tally, known.tally_at, known.whole, known.traffic
    if whole is not None and counts is not None:
        seen = traffic.observe(whole.traffic, counts)
    if told is not None and seconds != 0:
        tally, tally_at = told, now
        if observation.demand.complete or whole is None:
            whole = Whole(told, now, seen)
    learned, counters, model, model_at = known.learned, known.counters, known.model, known.model_at
    meter, track, profile = known.meter, known.track, known.profile
    kept, service, ended = known.kept, known.service, False
    # Of four long pieces of work one is done a look, so that none is long.
    if works(policy):
        meter, track, profile, ended = _metered(known, observation, policy, seconds, counts)
        age = now - model_at
        if model is None or not 0 <= age < max(MODEL_SECONDS, 1.5 * seconds):
            if not ended or model is None:
                assert policy.hardware is not None
                learned = _start(learned, policy)
                if told is not None and observation.demand.complete:
                    service = served(service, told.judged, told.missed, now)
                care = Staffing(miss=chance(service.room))
                model, model_at = model_of(policy.hardware, learned, seen, policy.objectives, care), now
        elif not ended:
            learned, counters = _learned(known, observation, policy, seconds)
    if not ended:
        kept = _periods(known, policy, now)
    return Known(
        learned,
        seen,
        profile,
        track,
        known.pauses,
        meter,
        tally,
        tally_at,
        counters,
        model,
        model_at,
        kept,
        watch,
        whole,
        service,
    )


def share(cold_start: float | None, room: float = 0.0) -> float:
    """Return the quantile that the forecast is read at. A shortage that was not foreseen lasts until one more
    replica has started, so being late costs in proportion to the cold start (seconds), and idling does not.
    room: to be late, of a fleet that keeps its objectives better than promised (`Service.room`).
    """
    return newsvendor((cold_start or 0.0) / (LATE_SECONDS * LATER**room), 1.0)


def chance(room: float) -> float:
    """Return the share of the time in which chance may exceed what is there, between its two ends on a
    logarithmic scale. room: as for `share`.
    """
    if room <= 0:
        return MISS
    return math.exp((1.0 - room) * math.log(MISS) + room * math.log(MISS_AT_MOST))


def works(policy: Policy) -> bool:
    """Whether arriving work is a signal: somebody knows or guesses the hardware, and says how fast it should
    answer.
    """
    wanted = policy.objectives.ttft_ms is not None or policy.objectives.itl_ms is not None
    return policy.hardware is not None and wanted


def load(known: Known, observation: Observation, found: Waiting) -> Load | None:
    """What wants the fleet now; None where the gateways have never counted lengths here."""
    demand, waiting = observation.demand, found.queue
    if demand.tally is None:
        if known.tally is None:
            return None
        gone = Unknown("the gateways' counts are missing")
        return Load(gone, gone, waiting, complete=False, gap=demand.gap or gone.reason)
    now = load_of(known.traffic, waiting, complete=demand.complete, gap=demand.gap)
    sound = _sound(demand.tally)
    if sound and found.outside <= 0:
        return now
    requests = now.requests if sound else Unknown("the gateways' counts are impossible")
    prompts = _waiting_prompts(known, observation, found) if found.outside > 0 else now.waiting_prompt_tokens
    return Load(requests, now.prompt_tokens, waiting, prompts, now.complete, now.gap)


def _waiting_prompts(known: Known, observation: Observation, found: Waiting) -> Value:
    """Tokens of the prompts in the queue: those that the gateways tell of theirs, shared alike by those that
    free places take at once and those that stay, and the fleet's mean for each that waits inside an engine.
    """
    demand, model = observation.demand, known.model
    told = measured(demand.waiting_prompt_tokens, high=MOST_TOKENS)
    whole = not any(isinstance(measured(part), Unknown) for part in (demand.held, demand.queued))
    if isinstance(told, Unknown) or isinstance(found.queue, Unknown) or model is None or not whole:
        return told if isinstance(told, Unknown) else Unknown("not told of all that wait")
    # The gateways estimate by bytes, and a picture has many; no prompt is longer than the cache.
    mean = min(told / found.held, float(model.hardware.kv_tokens))
    return found.outside * mean + (found.queue - found.outside) * model.mix.prompt


def paused(known: Known, need: int | None, now: float) -> Known:
    """Remember how many replicas were needed; None: that is not known."""
    return known if need is None else but(known, pauses=known.pauses.add(need, now))


def _periods(known: Known, policy: Policy, now: float) -> Kept | None:
    """The periods that follow from the pauses, up to date."""
    cold_start, kept, pauses = policy.cold_start, known.kept, known.pauses
    if cold_start is None or not (math.isfinite(cold_start) and cold_start >= 0):
        return None
    if kept and kept.cold_start == cold_start and 0 <= now - kept.at < KEPT_SECONDS:
        return kept
    keep = economics.keep_alive(pauses.surplus, economics.SURPLUS_HIT * cold_start)
    return Kept(now, cold_start, keep, economics.idle_seconds(pauses.asleep, cold_start))


def _sound(tally: Tally) -> bool:
    """Whether every sum is possible. How much one may have grown in a look is `Counts`' business: sums of
    squares over months have no bound worth naming.
    """
    return (
        0 <= tally.arrivals < math.inf
        and 0 <= tally.prompt_tokens < math.inf
        and 0 <= tally.completed < math.inf
        and 0 <= tally.output_tokens < math.inf
        and 0 <= tally.prompt_squares < math.inf
        and 0 <= tally.output_squares < math.inf
        and 0 <= tally.products < math.inf
    )


def _counted(known: Known, tally: Tally | None, now: float) -> tuple[float, Counts | None]:
    """Seconds since the last counts, and what was counted since the last whole look where that is known.
    tally: of this look, None where it is missing or impossible.
    """
    whole, at = known.whole, known.tally_at
    seconds = math.nan if at is None else now - at
    if tally is None or whole is None or not seconds > 0:
        return seconds, None
    before = whole.tally
    grown = Counts(
        now - whole.at,
        tally.arrivals - before.arrivals,
        tally.prompt_tokens - before.prompt_tokens,
        tally.completed - before.completed,
        tally.output_tokens - before.output_tokens,
        *_squares(tally, before),
    )
    return seconds, grown if grown.sound else None


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
) -> tuple[Meter, Track, Profile, bool]:
    """Feed the minute, and with each minute that ended the forecast and the profile; whether one ended."""
    wall, model, meter, track, profile = (
        observation.wall,
        known.model,
        known.meter,
        known.track,
        known.profile,
    )
    if wall is None or model is None or not math.isfinite(wall) or not seconds > 0:
        return meter, track, profile, False
    if not observation.demand.complete:  # the next whole look tells of this time too
        return meter, track, profile, False
    rate: Value = Unknown("the gateways counted nothing that can be believed")
    if counts is not None:
        seconds = counts.seconds
        rate = arriving(model, counts.arrivals, counts.prompt_tokens) / seconds
    meter, ended = meter.read(rate, wall - seconds, wall)
    if not ended:
        return meter, track, profile, False
    offset = observation.offset if math.isfinite(observation.offset) else 0.0
    horizon = horizon_minutes(policy.cold_start or 0.0, LOOK_SECONDS)
    for minute in ended:
        track = track.add(minute, profile, offset, horizon, share(policy.cold_start, known.service.room))
        profile = profile.add(minute, offset)
    return meter, track, profile, True


def _learned(
    known: Known, observation: Observation, policy: Policy, seconds: float
) -> tuple[Learned, tuple[Counters, ...]]:
    """Take the sample that is due, if one is, and learn from it."""
    hardware = policy.hardware
    assert hardware is not None
    learned = _start(known.learned, policy)
    due, kept = _due(known.counters, observation)
    if due is None:
        return learned, kept
    found, at_end = samples.collect(kept, (due,), hardware.max_num_batched_tokens)
    if found and found[0].running >= FEWEST_RUNNING:
        learned = learning.learn(learned, found)
        if seconds > 0:
            learned = _calibrated(learned, known, observation, found[0], seconds)
    return learned, (*(report for report in kept if report.replica != due.replica), *at_end)


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
) -> tuple[Counters | None, tuple[Counters, ...]]:
    """The report to take a sample of now, the one whose last was longest ago, or one to begin with; and the
    kept ones of replicas that still answer.
    """
    names = {old.replica for old in kept}
    reports: dict[str, Counters] = {}
    fresh = None
    for engine in observation.ready:
        if engine.counters is None:
            continue
        if engine.name in names:
            reports[engine.name] = engine.counters
        elif fresh is None and len(kept) < FOLLOWED:
            fresh = engine.counters
        if len(reports) == len(kept) and (fresh or len(kept) == FOLLOWED):
            break
    kept = tuple(old for old in kept if old.replica in reports)
    for old in sorted(kept, key=_at):
        report = reports[old.replica]
        if report.at - old.at >= SAMPLE_SECONDS or report.boot != old.boot or report.at < old.at:
            return report, kept
    return fresh, kept


def _at(counters: Counters) -> float:
    return counters.at


def _calibrated(
    learned: Learned, known: Known, observation: Observation, found: samples.Sample, seconds: float
) -> Learned:
    demand, model, whole = observation.demand, known.model, known.whole
    if demand.tally is None or model is None or whole is None or whole.at != known.tally_at:
        return learned
    busy = load_of(known.traffic, 0.0, complete=demand.complete, gap=demand.gap)
    expected = expected_utilization(busy, model, len(observation.ready))
    if expected is None:
        return learned
    return learning.calibrate(learned, utilization(found.step_ms, model.hardware), expected, seconds)
