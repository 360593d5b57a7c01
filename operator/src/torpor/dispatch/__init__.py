"""Which request goes to which pod, and when: the rules that the gateway and the simulator share.

Three small pure parts: `line` says whether a pod may take one more request, `choice` picks among those that
may, and `waiting` keeps the order of those that must wait. No clock, no sockets, no randomness: what is
measured in a backtest is what runs in production. Standard library only.
"""

from torpor.dispatch.choice import least_loaded
from torpor.dispatch.line import PodLoad
from torpor.dispatch.waiting import LATE_PLACE, LATE_SHARE, URGENT_SHARE, WaitingLine

__all__ = ["LATE_PLACE", "LATE_SHARE", "URGENT_SHARE", "PodLoad", "WaitingLine", "least_loaded"]
