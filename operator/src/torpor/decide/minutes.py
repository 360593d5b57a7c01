"""Whole minutes out of irregular looks.

Looks come every two seconds, or ten, or at the first held request; what is learned (the profile, the scores
of forecasts) needs samples of equal length. The meter spreads the mean rate of each look over the minutes
that it covers and hands out each minute once, when it is over. A minute of which less than `ENOUGH` was seen
is not handed out: it is unknown, and unknown is not zero.

Minutes are counted from the epoch in UTC. They are the same in every zone whose offset is whole minutes, and
daylight-saving time does not touch them; who needs the local day adds the offset.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from torpor.decide.quick import quick
from torpor.decide.values import Unknown, Value, measured

MINUTE = 60.0  # seconds
ENOUGH = 0.5  # share of a minute that must have been seen
LONGEST_LOOK = 300.0  # seconds; a longer mean says nothing about the minutes in it
MOST = 1e12  # a larger rate is a fault of the counter


class Minute(NamedTuple):
    """A minute that is over: its number since the epoch (UTC), and the mean rate in it, in the caller's unit
    per second.
    """

    number: int
    rate: float


@quick
@dataclass(frozen=True, slots=True)
class Meter:
    """The minute that is being filled. until: end of the last look (UTC seconds). amount: rate × seconds so
    far. covered: seconds of the minute that were seen.
    """

    until: float | None = None
    amount: float = 0.0
    covered: float = 0.0

    def read(self, rate: Value, since: float, until: float) -> "tuple[Meter, tuple[Minute, ...]]":
        """Take the mean `rate` over [since, until] (UTC seconds) and return the meter with the minutes that
        ended. An unknown rate leaves its time uncovered; time that was covered before is not counted twice; a
        look back in time or over more than `LONGEST_LOOK` counts as not seen.
        """
        if not (math.isfinite(since) and math.isfinite(until)):
            return self, ()
        known = measured(rate, high=MOST)
        back = self.until is not None and until < self.until - MINUTE
        if back:  # the wall clock was set back: what was filled belongs to a time that comes again
            return Meter(until=until), ()
        start = since if self.until is None else max(since, self.until)
        if until <= start:
            return self, ()
        if (
            self.until is not None
            and not isinstance(known, Unknown)
            and until - since <= LONGEST_LOOK
            and math.floor(self.until / MINUTE) == math.floor(start / MINUTE)
            and until < (math.floor(start / MINUTE) + 1) * MINUTE
        ):  # nearly every look: it goes on with the minute under way and does not end it
            seconds = until - start
            return Meter(until, self.amount + known * seconds, self.covered + seconds), ()
        seen = not isinstance(known, Unknown) and until - since <= LONGEST_LOOK
        closed: list[Minute] = []
        filling, amount, covered = self._number(start), self.amount, self.covered
        if self.until is not None and math.floor(self.until / MINUTE) != filling:
            _close(closed, math.floor(self.until / MINUTE), amount, covered)
            amount = covered = 0.0
        if not seen or isinstance(known, Unknown):
            if math.floor(until / MINUTE) != filling:
                _close(closed, filling, amount, covered)
                amount = covered = 0.0
            return Meter(until, amount, covered), tuple(closed)
        while start < until:
            end = min((filling + 1) * MINUTE, until)
            amount += known * (end - start)
            covered += end - start
            if end == (filling + 1) * MINUTE:
                _close(closed, filling, amount, covered)
                filling, amount, covered = filling + 1, 0.0, 0.0
            start = end
        return Meter(until, amount, covered), tuple(closed)

    @staticmethod
    def _number(time: float) -> int:
        return math.floor(time / MINUTE)


def _close(closed: list[Minute], number: int, amount: float, covered: float) -> None:
    if covered >= ENOUGH * MINUTE:
        closed.append(Minute(number, amount / covered))
