"""The answer and how it came about.

One structure feeds the status, the event, `torpor explain`, the metrics and the dashboard, so that none of
them tells another story. The trace is complete: `base` is what the signals asked for, each line of `clamps`
takes the number where the line before left it, and the last line leaves it at `replicas`.
"""

from dataclasses import dataclass

from torpor.api.constants import RECOMMEND
from torpor.decide.quick import quick
from torpor.decide.signals import Reading
from torpor.decide.work import Need

# Reasons of a decision that no clamp changed. A clamp's own name is the reason otherwise.
ASLEEP = "Asleep"
STEADY = "Steady"
WAKE = "Wake"
QUEUE_DEPTH = "QueueDepth"
KV_CACHE_UTILIZATION = "KVCacheUtilization"
WORK_RATE = "WorkRate"
SCALE_IN = "ScaleIn"

EXTERNAL_OWNER = "ExternalOwner"
NOT_OURS = (RECOMMEND, EXTERNAL_OWNER)  # clamps that keep Torpor's number from being followed


@quick
@dataclass(frozen=True, slots=True)
class ClampLine:
    """One clamp that changed the number: `before` and `after` in replicas, and why, as a sentence without a
    full stop.
    """

    name: str
    before: int
    after: int
    message: str


@quick
@dataclass(frozen=True, slots=True)
class Basis:
    """What the number stands on, for those who ask what would change it.

    need: of the arriving work and the queue, None where work is no signal. requests: arrivals per second,
    None where not known. window, idle: seconds for which a lower need, and silence, must last. floor,
    ceiling: of owner and hours together. hours_end: seconds until the schedule allows something else.
    foreseen: work within a cold start, in replicas kept busy (as `need.work` is), None where nothing is.
    """

    window: float
    idle: float
    floor: int
    ceiling: int
    need: Need | None = None
    requests: float | None = None
    hours_end: float | None = None
    foreseen: float | None = None


@quick
@dataclass(frozen=True, slots=True)
class Decision:
    """How many replicas, and why.

    current: what was asked for before. base: what the signals asked for (`current` where none is known).
    look_at: the earliest time (caller's clock, seconds) at which the passing of time alone can change the
    answer; None: never. idle_for: seconds of unbroken silence, None while there is none. basis: what the
    number stands on.
    """

    replicas: int
    current: int
    base: int
    reason: str
    message: str
    signals: tuple[Reading, ...]
    clamps: tuple[ClampLine, ...] = ()
    look_at: float | None = None
    idle_for: float | None = None
    basis: Basis | None = None

    @property
    def recommended(self) -> int | None:
        """The number that Torpor alone would ask for, mode and external owner left aside; None where no
        signal was read, so that none was worked out.
        """
        if not self.signals:
            return None
        return next((line.before for line in self.clamps if line.name in NOT_OURS), self.replicas)

    def replay(self) -> int:
        """Walk the trace and return where it ends. Raises ValueError where a line does not start where the
        last ended.
        """
        number = self.base
        for line in self.clamps:
            if line.before != number:
                raise ValueError(
                    f"clamp {line.name} starts at {line.before}, the line before it ended at {number}"
                )
            number = line.after
        return number
