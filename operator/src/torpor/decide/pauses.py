"""Which replicas were not needed, and for how long: the pauses that economics learns from.

A level is the k-th replica. It is needed while the need is k or more; its pause begins when the need falls
below k and ends when it is back. The record keeps, newest last, the moments at which a need was last seen
that no later one reached: as many entries as the need has steps, not as many as there were looks. When the
need rises again, each level between ends one pause; they enter the histogram, those of the first replica (the
fleet asleep) in one of their own, because it is other people who end them.

Times that were not watched belong to no pause: after a break the record starts anew, and pauses that began
before are lost rather than guessed.
"""

from dataclasses import dataclass

from torpor.decide.economics import NO_PAUSES, PAUSES
from torpor.decide.histogram import Histogram
from torpor.decide.quick import quick

LONGEST = 64  # steps kept; beyond, the highest need is forgotten and ends no pause
MOST_LEARNED = 16  # pauses learned from one rise: a jump to a thousand replicas is no thousand pauses
LONGEST_BREAK = 300.0  # seconds between two looks after which pauses were not watched


@quick
@dataclass(frozen=True, slots=True)
class Pauses:
    """steps: (time at which this need was last seen, need), needs falling, times rising, the present last.
    asleep: pauses of the first replica. surplus: pauses of all others.
    """

    steps: tuple[tuple[float, int], ...] = ()
    asleep: Histogram = NO_PAUSES
    surplus: Histogram = NO_PAUSES

    def add(self, need: int, now: float) -> "Pauses":
        """Return the record with the replicas needed at `now` (seconds, a clock that does not jump)."""
        need = max(need, 0)
        if not self.steps or not 0 <= now - self.steps[-1][0] <= LONGEST_BREAK:
            return Pauses(((now, need),), self.asleep, self.surplus)
        asleep, surplus = self.asleep, self.surplus
        before = self.steps[-1][1]
        if need == before:  # nothing begins or ends; those before need more
            return Pauses((*self.steps[:-1], (now, need))[-LONGEST:], asleep, surplus)
        for level in range(before + 1, min(need, before + MOST_LEARNED) + 1):
            last = next((at for at, number in reversed(self.steps) if number >= level), None)
            if last is None:
                break  # never needed before: no pause ends
            if level == 1:
                asleep = asleep.add(now - last)
            else:
                surplus = surplus.add(now - last)
        kept = [step for step in self.steps if step[1] > need]
        return Pauses((*kept, (now, need))[-LONGEST:], asleep, surplus)

    def dump(self) -> dict[str, object]:
        """Return what was learned as JSON values, below 1 KiB; the present is left out."""
        return {"v": 1, "asleep": self.asleep.dump(), "surplus": self.surplus.dump()}

    @classmethod
    def load(cls, data: object) -> "Pauses":
        """Return the record that `dump` wrote; an empty one where `data` is damaged or of another version."""
        if not isinstance(data, dict) or data.get("v") != 1:
            return cls()
        asleep, surplus = (
            Histogram.load(PAUSES, data.get("asleep")),
            Histogram.load(PAUSES, data.get("surplus")),
        )
        return cls(asleep=asleep, surplus=surplus)
