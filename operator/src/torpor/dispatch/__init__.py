"""Which request goes to which pod, and when: the rules that the gateway and the simulator share.

Small pure parts: `line` says whether a pod may take one more request, `choice` picks among those that may,
`waiting` keeps the order of those that must wait, and `lanes` is fair between their API keys. No clock, no
sockets, no randomness: what is measured in a backtest is what runs in production. Standard library only.
"""

from torpor.dispatch.choice import least_loaded
from torpor.dispatch.lanes import ANONYMOUS, BATCH_PLACE, FairLine, Lane
from torpor.dispatch.line import PodLoad
from torpor.dispatch.waiting import LATE_PLACE, LATE_SHARE, URGENT_SHARE, WaitingLine

__all__ = [
    "ANONYMOUS",
    "BATCH_PLACE",
    "LATE_PLACE",
    "LATE_SHARE",
    "URGENT_SHARE",
    "FairLine",
    "Lane",
    "PodLoad",
    "WaitingLine",
    "least_loaded",
]
