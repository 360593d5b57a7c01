"""The clamps: named rules that bound what the signals ask for, in one fixed order.

`CLAMPS` at the end is the documentation: who has the last word stands last. Each clamp is a pure function of
the same facts and answers with a number and a sentence, or None where it has nothing to say. No clamp knows
another.

Three laws need no clamp of their own because several keep them together: what is unknown never lowers, empty
memory never lowers, and the owner's bounds hold in every case, those of the hours like those of the fleet:
floors first, then ceilings, so that a ceiling below a floor wins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torpor.api.constants import RECOMMEND, SLEEP_REQUESTED, WAKE_REQUESTED
from torpor.decide.ahead import Ahead
from torpor.decide.decision import EXTERNAL_OWNER
from torpor.decide.memory import Memory
from torpor.decide.modes import kept, told_external, told_kept
from torpor.decide.observation import Observation, Policy
from torpor.decide.quick import but, quick
from torpor.decide.requests import SLEEP, WAKE, hindrance
from torpor.decide.signals import QUEUE_DEPTH, Reading
from torpor.decide.values import Unknown

Verdict: TypeAlias = tuple[int, str] | None

NOTHING_AHEAD = Ahead(None, "nothing is foreseen")


@quick
@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a clamp may look at. `asked` is the number as the clamp finds it.

    memory: with this look already in it. credited: replicas that are starting within their credit. wanted:
    somebody waits for the fleet or arrived since the last look. idle_for: seconds of watched, unbroken
    silence, or None. unsure: what runs and waits is not known in full. ahead: what is foreseen. window, idle:
    seconds for which a lower need, and silence, must last. drained: replicas that work off the queue
    by themselves, where it asks for more (the function of that name). patience: seconds for which that is
    believed against a queue.
    """

    asked: int
    observation: Observation
    policy: Policy
    memory: Memory
    readings: tuple[Reading, ...]
    now: float
    credited: int
    wanted: bool
    idle_for: float | None
    unsure: bool = False
    ahead: Ahead = NOTHING_AHEAD
    window: float = 0.0
    idle: float = 0.0
    drained: int | None = None
    patience: float = 0.0

    @property
    def current(self) -> int:
        """What the Deployment asks for now."""
        return self.observation.replicas

    @property
    def lowers(self) -> bool:
        """Whether the number would shrink the fleet."""
        return self.asked < self.observation.replicas

    def asking(self, number: int) -> "Facts":
        """The same facts as the next clamp finds them."""
        return but(self, asked=number)


def serves_in_closed_hours(facts: Facts) -> bool:
    """Whether requests keep some replicas in hours that allow none: while they last and for the idle period
    after. Where nobody can tell and this leader has not watched for such a period, they may be there.
    """
    standing = facts.policy.standing
    if standing is None or not standing.state.closed or standing.refuse_when_closed:
        return False
    seen, period = facts.memory.closed_demand, facts.idle
    if seen is not None and facts.now - seen < period:
        return True
    return facts.unsure and facts.current > 0 and facts.memory.watched(facts.now) < period


def drained(readings: tuple[Reading, ...], planned: int | None, current: int, *, late: bool) -> int | None:
    """Replicas that work off the queue by themselves, where the queue asks for more than these; else None.
    late: it has lasted longer than the plan is believed.
    """
    if planned is None or late:
        return None
    queue, number = 0, max(planned, current)
    for reading in readings:
        if reading.name == QUEUE_DEPTH:
            queue = max(queue, reading.raw or 0)
        else:
            number = max(number, reading.raw or 0)
    return number if number < queue else None


def queue_drains(facts: Facts) -> Verdict:
    """A queue that the planned replicas will have worked off needs no others, which would come after it is
    gone. The plan is believed for a limited time: a queue that lasts longer than that is right, and the
    capacity was wrong. A target that the owner wrote is not weighed against a plan.
    """
    number = facts.drained
    if number is None or number >= facts.asked:
        return None
    return number, (
        f"{number} work off what waits before others could start; if it lasts {facts.patience:.0f} s, they do"
    )


def forecast(facts: Facts) -> Verdict:
    """What is foreseen over the cold start only raises; a sleeping fleet is `prewarm`'s."""
    replicas = facts.ahead.replicas
    if replicas is None or facts.current == 0 or replicas <= facts.asked:
        return None
    return replicas, facts.ahead.told


def unknown_never_lowers(facts: Facts) -> Verdict:
    """A signal that is not known could ask for more than those that are."""
    if not facts.lowers:
        return None
    unknown = [r for r in facts.readings if r.unknown is not None]
    if not unknown:
        return None
    told = "; ".join(f"{r.name} is unknown ({r.unknown.reason})" for r in unknown if r.unknown)
    return facts.current, told


def partial_view(facts: Facts) -> Verdict:
    """What some replicas or gateways did not tell could ask for more."""
    if not facts.lowers:
        return None
    partial = [r for r in facts.readings if r.partial]
    if not partial:
        return None
    return facts.current, "; ".join(f"{r.name} is seen in part ({r.gap})" for r in partial)


def stabilization(facts: Facts) -> Verdict:
    """A lower need must last a full window, watched without a break."""
    if not facts.lowers:
        return None
    window, watched = facts.window, facts.memory.watched(facts.now)
    if watched < window:
        return facts.current, f"the need was watched for {watched:.0f} s of {window:.0f} s"
    within = (number for at, number in facts.memory.recommendations if facts.now - at <= window)
    largest = max(within, default=facts.current)
    if largest <= facts.asked:
        return None
    return min(largest, facts.current), f"{largest} were needed within the last {window:.0f} s"


def pending_credit(facts: Facts) -> Verdict:
    """Replicas on their way were needed when they were asked for, and cost most of their price already."""
    if not (facts.lowers and facts.credited):
        return None
    return facts.current, (
        f"{facts.credited} starting, given {facts.policy.credit_seconds:.0f} s to become ready"
    )


def wake(facts: Facts) -> Verdict:
    """Somebody wants a fleet that sleeps."""
    if facts.asked >= 1 or facts.current >= 1 or not facts.wanted:
        return None
    return 1, "a request wants the fleet"


def would_be_awake(facts: Facts) -> Verdict:
    """In the mode Recommend nobody is woken, so a request leaves no replica behind that shows that Auto would
    still be awake: it is remembered for the idle period instead.
    """
    if facts.policy.mode != RECOMMEND or facts.asked >= 1 or facts.current >= 1:
        return None
    last, period = facts.memory.wanted_at, facts.idle
    if last is None or facts.now - last >= period:
        return None
    return 1, f"a request within the last {period:.0f} s would have woken the fleet"


def idle_to_zero(facts: Facts) -> Verdict:
    """Nothing held, queued, in flight, running or waiting for the whole idle period, all of it watched. In
    closed hours the schedule's ceiling decides.
    """
    if facts.policy.closed:
        return None
    if facts.asked == 0 or facts.current == 0 or facts.policy.floor > 0:
        return None
    if facts.idle_for is None or facts.idle_for < facts.idle:
        return None
    return 0, f"idle for {facts.idle_for:.0f} s, limit {facts.idle:.0f} s"


def prewarm(facts: Facts) -> Verdict:
    """Requests are foreseen within a cold start, likely enough to be worth the idling. Where the owner named
    an idle time and it ended, or sent the fleet to sleep, that stands until requests are foreseen anew.
    """
    if facts.asked > 0 or facts.ahead.asleep == 0 or facts.policy.closed:
        return None
    if facts.memory.overslept or (facts.policy.idle_seconds is not None and facts.current > 0):
        return None
    return facts.ahead.asleep, facts.ahead.told


def sleep_requested(facts: Facts) -> Verdict:
    """Somebody sends the fleet to sleep, without its idle time. Not while requests wait, for they would wake
    it at once.
    """
    if facts.observation.asked != SLEEP or facts.asked == 0 or hindrance(facts.observation.demand):
        return None
    return 0, "sleep-at asks for none; what runs is finished"


def wake_requested(facts: Facts) -> Verdict:
    """Somebody wants the fleet awake before a request does, and then for as long as after a request."""
    if facts.observation.asked != WAKE or facts.asked >= 1:
        return None
    return max(1, facts.current), "wake-at asks for the fleet"


def all_failing(facts: Facts) -> Verdict:
    """More of what crashes helps nobody: where no replica answers, none is within its credit and some are
    known to fail, the number stays.
    """
    engines = facts.observation.engines
    if facts.asked <= facts.current or facts.credited or facts.observation.ready:
        return None
    failing = sum(1 for engine in engines if engine.failing)
    return (facts.current, f"{failing} replicas fail to start and none answers") if failing else None


def schedule_unknown(facts: Facts) -> Verdict:
    """A schedule that cannot be told could ask for more."""
    schedule = facts.policy.schedule
    if not (facts.lowers and isinstance(schedule, Unknown)):
        return None
    return facts.current, f"the schedule is unknown ({schedule.reason})"


def rollout(facts: Facts) -> Verdict:
    """A change of revision needs the replicas it started with."""
    if not (facts.lowers and facts.observation.rollout):
        return None
    return facts.current, "a rollout is running"


def min_replicas(facts: Facts) -> Verdict:
    """The owner's floor; a ceiling below it wins (such a spec is refused anyway)."""
    floor = min(facts.policy.min_replicas, facts.policy.max_replicas)
    return (floor, f"spec.scaling.minReplicas is {floor}") if facts.asked < floor else None


def schedule_floor(facts: Facts) -> Verdict:
    """The hours ask for more. Works without any signal."""
    standing = facts.policy.standing
    floor = standing.state.limits.floor if standing else None
    if standing is None or floor is None or facts.asked >= floor:
        return None
    return floor, f"the schedule ({standing.names}) asks for at least {floor}{_until(standing.until_text)}"


def schedule_ceiling(facts: Facts) -> Verdict:
    """The hours allow less, floors included. What runs drains; nothing is cut."""
    standing = facts.policy.standing
    ceiling = standing.state.limits.ceiling if standing else None
    if standing is None or ceiling is None:
        return None
    if not standing.state.closed:
        told = f"the schedule ({standing.names}) allows at most {ceiling}{_until(standing.until_text)}"
    else:
        told = f"closed by the schedule ({standing.names}){_until(standing.opens_text)}"
        if serves_in_closed_hours(facts):
            ceiling = standing.closed_ceiling
            told += f"; at most {ceiling} while there are requests"
        elif standing.refuse_when_closed:
            told += "; whenClosed is Reject"
    return (ceiling, told) if facts.asked > ceiling else None


def _until(text: str) -> str:
    return f" until {text}" if text else ""


def max_replicas(facts: Facts) -> Verdict:
    """The owner's ceiling."""
    ceiling = facts.policy.max_replicas
    return (ceiling, f"spec.scaling.maxReplicas is {ceiling}") if facts.asked > ceiling else None


def recommend(facts: Facts) -> Verdict:
    """In this mode the number is told and not followed."""
    if facts.policy.mode != RECOMMEND:
        return None
    told = f"spec.scaling.mode is Recommend; {told_kept(facts.observation, facts.policy)}"
    return kept(facts.observation, facts.policy), told


def external_owner(facts: Facts) -> Verdict:
    """Whoever sets spec.scaling.replicas decides; the number is obeyed exactly, bounds and mode included."""
    owner = facts.policy.external
    if owner is None or owner == facts.asked:
        return None
    return max(0, owner), told_external(owner)


@quick
@dataclass(frozen=True, slots=True)
class Clamp:
    """A rule and the name under which the trace, the events and the metrics know it."""

    name: str
    apply: Callable[[Facts], Verdict]


CLAMPS = (
    Clamp("QueueDrains", queue_drains),
    Clamp("Forecast", forecast),
    Clamp("UnknownNeverLowers", unknown_never_lowers),
    Clamp("PartialView", partial_view),
    Clamp("Stabilization", stabilization),
    Clamp("PendingCredit", pending_credit),
    Clamp("Wake", wake),
    Clamp("WouldBeAwake", would_be_awake),
    Clamp("IdleToZero", idle_to_zero),
    Clamp("Prewarm", prewarm),
    Clamp(SLEEP_REQUESTED, sleep_requested),
    Clamp(WAKE_REQUESTED, wake_requested),
    Clamp("AllFailing", all_failing),
    Clamp("ScheduleUnknown", schedule_unknown),
    Clamp("Rollout", rollout),
    Clamp("MinReplicas", min_replicas),
    Clamp("ScheduleFloor", schedule_floor),
    Clamp("MaxReplicas", max_replicas),
    Clamp("ScheduleCeiling", schedule_ceiling),
    Clamp(RECOMMEND, recommend),
    Clamp(EXTERNAL_OWNER, external_owner),
)
