"""What all gateway processes counted, as sums that only grow.

A process counts from its own beginning, per fleet and for as long as it knows that fleet; here the growth of
these counters is added up, so that a look can take the difference to the look before without asking who
counted it. Nothing may be counted twice, and nothing lost without a word:

- The base of a difference belongs to a process (its `bootId`), not to a connection or an address: a stream
  that breaks, and a process that is listed again after it was given up, go on where they were.
- A process that began after the listening did has no past of its own to leave out: a gateway that was
  restarted has served requests before its stream is open again, and they count. How old a process is it says
  itself; one that does not, or that is older, brings a past nobody watched, and its first word about a fleet
  is a base. Once everything it knows was sent, a fleet that appears later is counted from nothing.
- A counter that went back began anew: the process has forgotten the fleet and met it again.
- A line without readable numbers changes nothing, not even the base.

Fleets are told apart by their UID, because names come again. What is known of processes is bounded: those not
heard of for the longest are forgotten, and from then on only those that began later have no past.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add, lt, sub
from typing import Any, Final

from torpor.api.names import FleetKey
from torpor.decide.observation import Tally

MOST_BOOTS: Final = 512  # of a hundred pods with some workers each, and of those before them
LARGEST: Final = 1e30  # of sums of squares of tokens, over the life of a process

# In the order of Tally's fields.
_TALLIED: Final = (
    "arrivals",
    "arrivedPromptTokens",
    "completed",
    "outputTokens",
    "promptSquares",
    "outputSquares",
    "products",
    "judged",
    "missed",
)
_UNTOLD: Final = {
    "judged": 0,
    "missed": 0,
}  # by a gateway of an earlier version, for fleets without objectives
_NO_LENGTHS: Final = (0.0,) * len(_TALLIED)


@dataclass(frozen=True, slots=True)
class Counted:
    """The counters in one line, or sums of them: requests with repeats, then those of a Tally.

    Plain tuples, because every line of every gateway is read into one. lengths: the Tally's are told; where
    they are not they stand at 0.
    """

    sums: tuple[float, ...] = (0.0,) * (1 + len(_TALLIED))
    lengths: bool = False

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> "Counted | None":
        """Return what a fleet's line counts, None where that cannot be read."""
        arrivals, retries = _number(line.get("arrivals")), _number(line.get("retries", 0))
        if arrivals is None or retries is None:
            return None
        sums = [arrivals + retries]
        for name in _TALLIED:
            number = _number(line.get(name, _UNTOLD.get(name)))
            if number is None:
                return cls((sums[0], *_NO_LENGTHS))
            sums.append(number)
        return cls(tuple(sums), lengths=True)

    @property
    def requests(self) -> float:
        """Requests, repeats included."""
        return self.sums[0]

    @property
    def tally(self) -> Tally | None:
        """What is counted besides, None where that is not told."""
        return Tally(*self.sums[1:]) if self.lengths else None

    def since(self, base: "Counted") -> "Counted":
        """Return the growth from `base`, all of it where a counter went back."""
        if any(map(lt, self.sums, base.sums)):
            return self
        return Counted(tuple(map(sub, self.sums, base.sums)), self.lengths)

    def plus(self, other: "Counted") -> "Counted":
        """Return the sum; lengths that one of the two lacks are the other's."""
        return Counted(tuple(map(add, self.sums, other.sums)), self.lengths or other.lengths)

    def with_lengths_of(self, other: "Counted") -> "Counted":
        """Return the same number of requests with the other's lengths."""
        return Counted((self.sums[0], *other.sums[1:]), other.lengths)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        return None
    return float(value)


_NOTHING: Final = Counted()


@dataclass(slots=True)
class _Boot:
    """One process. heard: its last word, monotonic seconds. whole: what it counted before its first word is
    nothing, or was heard.
    """

    heard: float
    whole: bool = False
    counted: dict[tuple[FleetKey, str], Counted] = field(default_factory=dict)


class Ledger:
    """The sums. `since`: when the listening began, monotonic seconds; infinite: every process is older."""

    def __init__(self, since: float = math.inf) -> None:
        self._since = since
        self._boots: dict[str, _Boot] = {}
        self._totals: dict[FleetKey, dict[str, Counted]] = {}

    def greeted(self, boot: str, age: object, now: float) -> None:
        """A process said how many seconds ago it began (anything that is no number: it did not)."""
        process = self._boot(boot, now)
        seconds = _number(age)
        if seconds is not None and now - seconds >= self._since:
            process.whole = True

    def settled(self, boot: str, keys: set[FleetKey], now: float) -> None:
        """A process has sent everything it knows: of other fleets than `keys` it has counted nothing."""
        process = self._boot(boot, now)
        process.whole = True
        process.counted = {life: told for life, told in process.counted.items() if life[0] in keys}

    def count(self, boot: str, key: FleetKey, line: Mapping[str, Any], now: float) -> bool:
        """Add what a fleet's line counts more than the one before. True: it tells lengths too."""
        counted = Counted.read(line)
        if counted is None:
            return False
        told, process, life = counted.lengths, self._boot(boot, now), _life(line)
        base = process.counted.get((key, life))
        if base is None:
            base = Counted(lengths=told) if process.whole else counted
        elif not told:  # what is not told again did not grow
            counted = counted.with_lengths_of(base)
        elif not base.lengths:
            base = base.with_lengths_of(counted)
        process.counted[key, life] = counted
        lives = self._totals.setdefault(key, {})
        lives[life] = lives.get(life, _NOTHING).plus(counted.since(base))
        return told

    def total(self, key: FleetKey, uid: str) -> Counted:
        """Return the sums of the fleet `key` with this `uid`, with what was told of it without one."""
        lives = self._totals.get(key, {})
        found = lives.get(uid, _NOTHING)
        return found.plus(lives[""]) if uid and "" in lives else found

    def forget(self, key: FleetKey) -> None:
        """Drop the sums of a fleet that was deleted; what its processes counted remains their base."""
        self._totals.pop(key, None)

    def _boot(self, boot: str, now: float) -> _Boot:
        process = self._boots.pop(boot, None)
        if process is None:
            process = _Boot(now)
            while len(self._boots) >= MOST_BOOTS:
                # What begins later than this one was heard of cannot be this one.
                self._since = max(self._since, self._boots.pop(next(iter(self._boots))).heard)
        process.heard = now
        self._boots[boot] = process  # the last one of the dict is the one heard of last
        return process


def _life(line: Mapping[str, Any]) -> str:
    uid = line.get("uid")
    return uid if isinstance(uid, str) else ""
