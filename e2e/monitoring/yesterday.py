"""A fleet that has been watched for a day, in a run of minutes.

What an operator has learned lies in the fleet's ConfigMap, and a leader begins with what it finds there. So a
scenario that needs a forecast writes that ConfigMap before there is an operator: the production code's own
memory, of a fleet that had so much work at each minute of the last day; and into the status the cold starts
that were measured, for one cold start is how far ahead a forecast looks. All else is the operator's doing: it
reads them, sees the minutes of today, foresees and orders by that.

Give such a fleet no traffic in the run. A day that is far below yesterday is taken for a holiday, and then
nothing is foreseen; a minute without any request says nothing of that kind.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from torpor.build import fleet_config
from torpor.control.drift import stamped
from torpor.control.keeping import Keeping
from torpor.control.spec import Followed, followed
from torpor.decide import Memory
from torpor.decide.known import Known
from torpor.decide.minutes import MINUTE, Minute
from torpor.decide.profile import Profile

DAY = timedelta(days=1)
COLD_STARTS = {
    "coldStart": {"lastSeconds": "20", "p95Seconds": "20"}
}  # of the status, as an operator writes it


def remembered(fleet: dict[str, Any], busy: float, now: datetime | None = None) -> dict[str, Any]:
    """Return the ConfigMap of a live InferenceService of which an operator knows that, in each minute of the
    last day, its work kept `busy` replicas busy. Raises ValueError where the object's spec is not valid.
    """
    now = now or datetime.now(UTC)
    profile = Profile()
    first, last = (math.floor(moment.timestamp() / MINUTE) for moment in (now - DAY, now))
    for number in range(first, last):
        profile = profile.add(Minute(number, busy), 0.0)
    keeping = Keeping.of(fleet["metadata"]["uid"], None, 0.0)
    keeping.save(Memory(known=Known(profile=profile)), 0.0, now)
    service = followed(fleet, Followed()).service
    if service is None:
        raise ValueError(f"{fleet['metadata']['name']}: its spec is not valid")
    return dict(stamped(fleet_config(service, keeping.data())))
