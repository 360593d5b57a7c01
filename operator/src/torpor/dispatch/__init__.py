"""Which request goes to which pod, and when: the rules that the gateway and the simulator share.

Small pure parts: `line` says whether a pod may take one more request, `choice` and `router` pick among those
that may, by load or by what a pod has cached (`prefix`, `memory`, `backlog`), `waiting` keeps the order of
those that must wait, and `lanes` is fair between their API keys. No clock, no sockets, no randomness: what is
measured in a backtest is what runs in production. Standard library only.
"""

from torpor.dispatch.backlog import Backlog
from torpor.dispatch.choice import least_loaded
from torpor.dispatch.lanes import ANONYMOUS, BATCH_PLACE, FairLine, Lane
from torpor.dispatch.line import PodLoad
from torpor.dispatch.memory import PodMemory
from torpor.dispatch.prefix import identity, salt_of, session_identity
from torpor.dispatch.router import route, seed_of
from torpor.dispatch.waiting import LATE_PLACE, LATE_SHARE, URGENT_SHARE, WaitingLine

__all__ = [
    "ANONYMOUS",
    "BATCH_PLACE",
    "LATE_PLACE",
    "LATE_SHARE",
    "URGENT_SHARE",
    "Backlog",
    "FairLine",
    "Lane",
    "PodLoad",
    "PodMemory",
    "WaitingLine",
    "identity",
    "least_loaded",
    "route",
    "salt_of",
    "seed_of",
    "session_identity",
]
