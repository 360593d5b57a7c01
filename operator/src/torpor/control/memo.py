"""What the leader remembers about one fleet between looks.

All of it can be lost: `decide` treats an empty memory with care, hashes on the children say what was applied,
and the status holds the cold starts. It belongs to one object; a successor of the same name starts from
nothing.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from torpor.cluster.resources import Object
from torpor.control.cold_start import ColdStarts, from_status
from torpor.control.hours import Hours
from torpor.control.plan import Place
from torpor.control.pods import parse_time
from torpor.control.spec import Followed
from torpor.decide import Memory
from torpor.decide.observation import Tally


@dataclass(slots=True)
class Memo:
    """One fleet's memory."""

    uid: str
    cold: ColdStarts
    memory: Memory = field(default_factory=Memory)
    followed: Followed = field(default_factory=Followed)
    left_behind: dict[Place, str] = field(default_factory=dict)
    status_written: float | None = None
    hours: Hours = field(default_factory=Hours)
    room_at: float | None = None  # when a pod last held room on a node (monotonic)
    counted: Tally = field(default_factory=Tally)  # what is in the metrics of the gateways' sums

    @classmethod
    def of(cls, fleet: Object, offset: timedelta = timedelta(0)) -> "Memo":
        """Begin with what the object itself says. `offset`: of the clock that schedules are read by."""
        status = fleet.get("status") or {}
        active = (status.get("schedule") or {}).get("active") or {}
        hours = Hours(offset, parse_time(active.get("readyByTime")))
        return cls(uid=str(fleet["metadata"]["uid"]), cold=from_status(status), hours=hours)
