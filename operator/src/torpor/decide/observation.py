"""What is seen of one fleet at one moment, and what its owner asks for.

An observation holds gauges as they are, never averages: windows and periods belong to the memory, where one
can see whether they are complete. Each request appears once. The gateways count those that wait with them
(held while the fleet sleeps, queued while it is busy), the engines count those that wait inside (for
capacity); what a gateway has in flight and what an engine runs are two views of the same requests, so they
are never added up: in-flight only answers the question whether a fleet is idle.
"""

from dataclasses import dataclass, field

from torpor.decide.hardware import Hardware
from torpor.decide.quick import quick
from torpor.decide.samples import Counters
from torpor.decide.schedule import Standing
from torpor.decide.values import Unknown, Value
from torpor.decide.work import Objectives

NO_GATEWAY = Unknown("no gateway reports")
NO_REPORT = Unknown("no report")


@quick
@dataclass(frozen=True, slots=True)
class Engine:
    """One pod of the fleet that is not terminating.

    ready: it answers requests now. age: seconds since the pod was created. failing: its start is known to
    fail (a bad image, a crash loop), so waiting for it is hope and not credit. running, waiting: requests in
    the batch and waiting for capacity. kv: KV-cache utilization, 0 to 1. max_num_seqs: sequences it runs at
    once, where known. counters: what it counted, for learning; None where nothing is reported. report_age:
    seconds since running, waiting and kv were read, None where that is not known.
    """

    name: str
    ready: bool
    age: float = 0.0
    failing: bool = False
    running: Value = NO_REPORT
    waiting: Value = NO_REPORT
    kv: Value = NO_REPORT
    max_num_seqs: int | None = None
    counters: Counters | None = None
    report_age: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Tally:
    """What all gateways counted together since this process began to listen; only differences mean anything.

    arrivals: requests that wanted the fleet, repeats of clients left out. prompt_tokens: of these arrivals,
    estimated where nobody counted. completed, output_tokens: requests answered whole, and their tokens.
    prompt_squares, output_squares, products: sums of I², O² and I·O over completed requests. judged, missed:
    requests that were held against the objectives, and those of them that missed one.
    """

    arrivals: float = 0.0
    prompt_tokens: float = 0.0
    completed: float = 0.0
    output_tokens: float = 0.0
    prompt_squares: float = 0.0
    output_squares: float = 0.0
    products: float = 0.0
    judged: float = 0.0
    missed: float = 0.0


@quick
@dataclass(frozen=True, slots=True)
class Demand:
    """What the gateways hold for the fleet, summed over those that report.

    complete: every gateway process that exists reports, and has fresh watches itself; else the sums are lower
    bounds and `gap` says why. arrivals: requests seen since this process began to listen, repeats included;
    only differences mean something. tally: what is counted besides, None where no gateway counts it.
    waiting_prompt_tokens: of those held and queued, estimated. age: seconds since the gateway that was heard
    the longest ago spoke, of those that report; None where that is not known.
    """

    held: Value = NO_GATEWAY
    queued: Value = NO_GATEWAY
    in_flight: Value = NO_GATEWAY
    arrivals: int = 0
    complete: bool = False
    gap: str = "no gateway reports"
    tally: Tally | None = None
    waiting_prompt_tokens: Value = NO_GATEWAY
    age: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Observation:
    """One look at one fleet.

    replicas: how many pods the Deployment asks for now (0 where it does not exist yet). rollout: a change of
    revision is under way and still within its time. wall: UTC seconds since the epoch, None where the time of
    day is not known (then nothing is foreseen). offset: seconds by which local time is ahead of UTC there.
    new: there is no Deployment yet, so no number to keep. asked: what somebody asks for by name, "wake",
    "sleep" or "" (`decide.requests`). ready: those engines that answer now, derived.
    """

    replicas: int
    engines: tuple[Engine, ...] = ()
    demand: Demand = field(default_factory=Demand)
    rollout: bool = False
    wall: float | None = None
    offset: float = 0.0
    new: bool = False
    asked: str = ""
    ready: tuple[Engine, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ready", tuple([engine for engine in self.engines if engine.ready]))


@quick
@dataclass(frozen=True, slots=True)
class Policy:
    """What the owner asked for, with the periods that the fleet's measured cold start gives.

    queue_target: waiting requests per replica. queue_target_given: the owner wrote it, and then a queue is
    honoured at once whatever is planned. kv_target: share of the KV cache, 0 to 1. idle_seconds:
    silence before the last replicas go; None: by economics, from the cold start and the recorded pauses, and
    `DEFAULT_IDLE_SECONDS` while no cold start was measured. window_seconds: how long a lower need must last
    before replicas go, as long as `cold_start` is None; else economics says. credit_seconds: how long a
    starting pod counts as help on its way. external: the number that another writer set, obeyed exactly.
    max_num_seqs: what one replica runs at once, from the engine's flags or its last report; None where
    unknown. schedule: what the hours allow at this moment; Unknown where that cannot be told, None where
    there is no schedule. schedule_ends_in: seconds until they allow something else; None: never. objectives:
    of latency. hardware: what a replica costs per step before anything was learned, None where that is not
    even guessed: then arriving work is no signal. cold_start: p95 seconds measured, None before the first.
    revision: of the pod template; another one is another engine to learn. mode: Auto, Recommend (computes and
    changes nothing) or Paused (changes nothing).
    """

    min_replicas: int
    max_replicas: int
    queue_target: float
    kv_target: float
    idle_seconds: float | None
    window_seconds: float
    credit_seconds: float
    external: int | None = None
    max_num_seqs: int | None = None
    schedule: Standing | Unknown | None = None
    schedule_ends_in: float | None = None
    objectives: Objectives = field(default_factory=Objectives)
    hardware: Hardware | None = None
    cold_start: float | None = None
    revision: str = ""
    mode: str = "Auto"
    queue_target_given: bool = False

    @property
    def standing(self) -> Standing | None:
        """The schedule's word, where there is one and it is known."""
        return None if isinstance(self.schedule, Unknown) else self.schedule

    @property
    def closed(self) -> bool:
        """Whether the schedule allows no replica."""
        if self.schedule is None:
            return False
        return self.standing is not None and self.standing.state.closed

    @property
    def floor(self) -> int:
        """The highest floor of the owner and the schedule, before any ceiling."""
        if self.schedule is None:
            return max(self.min_replicas, 0)
        asked = self.standing.state.limits.floor if self.standing else None
        return max(self.min_replicas, asked or 0)

    @property
    def ceiling(self) -> int:
        """The lowest ceiling of the owner and the schedule."""
        if self.schedule is None:
            return self.max_replicas
        allowed = self.standing.state.limits.ceiling if self.standing else None
        return self.max_replicas if allowed is None else min(self.max_replicas, allowed)
