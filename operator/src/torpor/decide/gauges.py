"""One pass over the engines: the sums and the gaps that every reading is made of.

A fleet may have hundreds of replicas and is looked at every two seconds, so each engine's report is looked at
once a look, and what the readings, the idle check and the free places need of it is added up here. A gauge
that is no number is left out of its sum and named in its gap: nothing is taken for zero.
"""

from dataclasses import dataclass

from torpor.decide.observation import Observation
from torpor.decide.quick import quick
from torpor.decide.values import MOST_REQUESTS, Unknown, Value, measured, utilization


@quick
@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over the ready engines. total: of those that are known, None where none is. gap: what is missing
    and why, "" where nothing is.
    """

    total: float | None
    gap: str

    @property
    def whole(self) -> float | None:
        """The sum where nothing is missing in it."""
        return None if self.gap else self.total


@quick
@dataclass(frozen=True, slots=True)
class Gauges:
    """What the ready engines show together. ready: how many they are. free: sequences that they could start
    at once; one that does not say has no free place. kv: sum of the shares in use. age: seconds since the
    oldest of their reports was made, None where none says.
    """

    ready: int
    running: Sum
    waiting: Sum
    kv: Sum
    free: float
    age: float | None = None

    @property
    def idle(self) -> bool:
        """Whether every engine is known to run nothing and to keep nobody waiting."""
        if self.ready == 0:
            return True
        return self.running.whole == 0 and self.waiting.whole == 0 and not self.kv.gap


def count(observation: Observation) -> Gauges:
    """Add up the gauges of the engines that are ready."""
    running = waiting = kv = free = 0.0
    most = MOST_REQUESTS
    ready = 0
    age = -1.0
    missing: tuple[list[str], list[str], list[str]] = ([], [], [])
    for engine in observation.ready:
        ready += 1
        if engine.report_age is not None and engine.report_age > age:
            age = engine.report_age
        # Each report is checked in place: a call for each gauge would cost as much as all the rest.
        runs, waits, share, places = engine.running, engine.waiting, engine.kv, engine.max_num_seqs
        if not (type(runs) is float and 0.0 <= runs <= most):
            runs = _number(runs, engine.name, missing[0])
        if not (type(waits) is float and 0.0 <= waits <= most):
            waits = _number(waits, engine.name, missing[1])
        if not (type(share) is float and 0.0 <= share <= 1.0):
            found = utilization(share)
            share = _number(found, engine.name, missing[2])
        if runs >= 0.0:
            running += runs
        if waits >= 0.0:
            waiting += waits
            if runs >= 0.0 and places and places > runs + waits:
                free += places - runs - waits
        if share >= 0.0:
            kv += share
    return Gauges(
        ready,
        _sum(running, ready, missing[0]),
        _sum(waiting, ready, missing[1]),
        _sum(kv, ready, missing[2]),
        free,
        age if age >= 0.0 else None,
    )


def _number(value: Value, name: str, missing: list[str]) -> float:
    """The gauge, or −1 with its reason written down."""
    known = measured(value)
    if isinstance(known, Unknown):
        missing.append(f"{name}: {known.reason}")
        return -1.0
    return known


def _sum(total: float, ready: int, missing: list[str]) -> Sum:
    if not missing:
        return Sum(total if ready else None, "")
    return Sum(total if ready > len(missing) else None, "; ".join(missing))
