"""What a fleet has shown so far: what deciding by work, forecasting and economics stand on.

One frozen value holds the parts that the modules beside it teach: what a replica costs per step (`learning`),
what requests are like (`traffic`), the usual week (`profile`) and how far forecasts are to be believed
(`track`), and how long replicas were not needed (`pauses`). Some fields are only the ends of differences, the
last counters and the minute that is being filled; and `model` is a derived value, kept because making it
costs as much as the rest of a look.

What took long to learn is written down (`dump`) and read again after a restart (`load`); the present is not,
because after a restart nobody knows what was missed, and no time of a clock that begins anew with a process
ever leaves it. A part that is damaged, or of another version, is empty after `load`: it is learned again,
and until then the careful state holds for that part alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torpor.decide import learning, service, traffic
from torpor.decide.learning import Learned
from torpor.decide.minutes import Meter
from torpor.decide.observation import Tally
from torpor.decide.pauses import Pauses
from torpor.decide.profile import Profile
from torpor.decide.quick import quick
from torpor.decide.samples import Counters
from torpor.decide.service import Service
from torpor.decide.track import Track
from torpor.decide.traffic import Traffic
from torpor.decide.work_rate import Model

VERSION = 1
NO_TRAFFIC = Traffic()
NO_METER = Meter()
NO_PROFILE = Profile()
NO_TRACK = Track()
NO_PAUSES = Pauses()
NO_SERVICE = Service()


@quick
@dataclass(frozen=True, slots=True)
class Kept:
    """Periods that were worked out from the pauses of a fleet with that cold start, in seconds. keep: a
    surplus replica, idle: a silent fleet. at: when, on the caller's clock.
    """

    at: float
    cold_start: float
    keep: float
    idle: float


class Still(NamedTuple):
    """Counters that do not move: of `name`, their sum, and since when (caller's clock) it is the same while
    there is work.
    """

    name: str
    total: float
    since: float


@quick
@dataclass(frozen=True, slots=True)
class Watch:
    """The last check for engines that hang (`wedged`). at: when, on the caller's clock. stills: engines that
    claim to run; every: the same of all together, None while nothing is under way. hung: names; frozen: no
    engine counts what the gateways see.
    """

    at: float = -math.inf
    stills: tuple[Still, ...] = ()
    every: Still | None = None
    hung: tuple[str, ...] = ()
    frozen: bool = False


NO_WATCH = Watch()


class Whole(NamedTuple):
    """The last look at which every gateway counted: what they had counted, when (caller's clock), and what
    was known of the traffic then.
    """

    tally: Tally
    at: float
    traffic: Traffic


@quick
@dataclass(frozen=True, slots=True)
class Known:
    """See the module. Times are seconds on the caller's clock.

    tally, tally_at: what the gateways had counted at the last look. counters: the engines' last reports that
    a sample can begin at. model, model_at: what was put together of hardware, traffic and objectives, and
    when. kept: periods that follow from the pauses. watch: the last check for engines that hang. whole: where
    `traffic` goes on from as long as some gateway is missing. service: how the objectives were kept.
    """

    learned: Learned | None = None
    traffic: Traffic = NO_TRAFFIC
    profile: Profile = NO_PROFILE
    track: Track = NO_TRACK
    pauses: Pauses = NO_PAUSES
    meter: Meter = NO_METER
    tally: Tally | None = None
    tally_at: float | None = None
    counters: tuple[Counters, ...] = ()
    model: Model | None = None
    model_at: float = 0.0
    kept: Kept | None = None
    watch: Watch = NO_WATCH
    whole: Whole | None = None
    service: Service = NO_SERVICE

    def dump(self) -> dict[str, Any]:
        """What is worth keeping, as JSON values, below 24 KiB of text."""
        document: dict[str, Any] = {
            "version": VERSION,
            "traffic": traffic.to_dict(self.traffic),
            "profile": self.profile.dump(),
            "track": self.track.dump(),
            "pauses": self.pauses.dump(),
            "service": service.to_dict(self.service),
        }
        if self.learned is not None:
            document["learned"] = learning.to_dict(self.learned)
        return document

    @classmethod
    def load(cls, document: object) -> "Known":
        """Read what `dump` wrote; what cannot be read is empty."""
        if not isinstance(document, Mapping) or document.get("version") != VERSION:
            return cls()
        return cls(
            learned=learning.from_dict(document.get("learned")),
            traffic=traffic.from_dict(document.get("traffic")) or NO_TRAFFIC,
            profile=Profile.load(document.get("profile")),
            track=Track.load(document.get("track")),
            pauses=Pauses.load(document.get("pauses")),
            service=service.from_dict(document.get("service")) or NO_SERVICE,
        )
