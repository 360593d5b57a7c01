"""What the leader remembers about one fleet between looks.

All of it can be lost: `decide` treats an empty memory with care, hashes on the children say what was applied,
the status holds the cold starts and the GPU seconds, and the fleet's ConfigMap what took long to learn. It
belongs to one object; a successor of the same name starts from nothing.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from torpor.api.saved import Account, account_of
from torpor.cluster.resources import Object
from torpor.control.cold_start import ColdStarts, from_status
from torpor.control.hours import Hours
from torpor.control.keeping import Keeping
from torpor.control.measure import Series
from torpor.control.plan import Place
from torpor.control.pods import parse_time
from torpor.control.requests import Requests, requests_of
from torpor.control.spec import Followed
from torpor.control.tuning import Tuner
from torpor.decide import Memory
from torpor.decide.observation import Tally


@dataclass(slots=True)
class Memo:
    """One fleet's memory."""

    uid: str
    cold: ColdStarts
    keeping: Keeping
    memory: Memory = field(default_factory=Memory)
    followed: Followed = field(default_factory=Followed)
    left_behind: dict[Place, str] = field(default_factory=dict)
    status_written: float | None = None
    hours: Hours = field(default_factory=Hours)
    tuner: Tuner = field(default_factory=Tuner)
    room_at: float | None = None  # when a pod last held room on a node (monotonic)
    series: Series = frozenset()  # of metrics that come and go
    counted: Tally = field(default_factory=Tally)  # what is in the metrics of the gateways' sums
    account: Account | None = None  # of GPU seconds, as it was written last
    requests: Requests = field(default_factory=dict)  # by annotation, and what became of them

    @classmethod
    def of(
        cls,
        fleet: Object,
        offset: timedelta = timedelta(0),
        *,
        config: Object | None = None,
        clock: float = 0.0,
    ) -> "Memo":
        """Begin with what the object itself and its ConfigMap say. `clock`: monotonic seconds; `offset`: of
        the clock that schedules are read by.
        """
        status = fleet.get("status") or {}
        active = (status.get("schedule") or {}).get("active") or {}
        hours = Hours(offset, parse_time(active.get("readyByTime")))
        keeping = Keeping.of(str(fleet["metadata"]["uid"]), config, clock)
        return cls(
            uid=keeping.uid,
            cold=from_status(status),
            keeping=keeping,
            memory=keeping.memory(),
            hours=hours,
            account=account_of(status),
            requests=requests_of(status),
        )
