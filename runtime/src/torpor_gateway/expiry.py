"""The end of patience: a few times a second a line is looked through for those whose limit has passed.

One timer for the line instead of one for each request: limits change together whenever the fleet's state
does. And whoever arrived together runs out of time together: thousands of refusals at once would take as long
as ten tokens of every stream that flows meanwhile, so a turn of the loop refuses some and the next one goes
on. Who was sent to a pod in between is not refused.
"""

import random
import time
from typing import TYPE_CHECKING

from torpor_gateway.verdict import too_late

if TYPE_CHECKING:
    import asyncio

    from torpor_gateway.exchange import Exchange
    from torpor_gateway.fleet import Fleet

PLACES_A_TURN = 32  # requests that leave a line in one turn of the loop, to a pod or refused
_TICK_SECONDS = 0.25  # how often limits of waiting requests are looked at


class Expiry:
    """Looks at one fleet's line as long as somebody waits there."""

    __slots__ = ("_fleet", "_rest", "_tick")

    def __init__(self, fleet: "Fleet") -> None:
        self._fleet = fleet
        self._tick: asyncio.TimerHandle | None = None
        self._rest: asyncio.Handle | None = None  # of those who are to be refused

    def begin(self) -> None:
        """Somebody waits."""
        if self._tick is None:
            self._tick = self._fleet.loop.call_later(_TICK_SECONDS, self._look)

    def _look(self) -> None:
        self._tick = None
        fleet = self._fleet
        if not len(fleet.line):
            fleet.drain.rest()
            return
        self.begin()
        fleet.new_regime()
        now = fleet.loop.time()
        if fleet.asleep:
            fleet.drain.rest()
        else:
            fleet.drain.look(now)
        fleet.pump()  # time alone makes a request urgent
        hopeless = self._hopeless()
        due = [exchange for exchange in fleet.line if hopeless or now >= exchange.deadline]
        if due and self._rest is None:
            self._refuse(due)

    def _hopeless(self) -> bool:
        """Whether nothing that waits will be served: no pod is there, and no request wakes the fleet."""
        return self._fleet.asleep and self._fleet.spec.stays_asleep(time.time())

    def _refuse(self, due: "list[Exchange]") -> None:
        self._rest = None
        fleet, hopeless = self._fleet, self._hopeless()
        now = fleet.loop.time()
        for exchange in due[:PLACES_A_TURN]:
            # Since the last turn it may have left, been sent, or got a new limit.
            if exchange.over or exchange.endpoint is not None or not (hopeless or now >= exchange.deadline):
                continue
            fleet.leave(exchange)
            if not hopeless:
                policy = fleet.spec.policy
                fleet.kept.in_vain(policy.ttft_objective, policy.itl_objective)
            refusal = too_late(
                fleet.spec,
                fleet.situation(),
                waited=now - exchange.waiting_since,
                unix_time=time.time(),
                jitter=random.random(),  # noqa: S311
            )
            exchange.give_up(refusal)
        if len(due) > PLACES_A_TURN:
            self._rest = fleet.loop.call_soon(self._refuse, due[PLACES_A_TURN:])
