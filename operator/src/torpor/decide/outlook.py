"""What would change the number: the other half of an explanation.

A trace says why there are five replicas. Who pays for them asks next what would make it six, or four, and
when. The answers follow from the same decision and from nothing else: how far the arriving work is from what
the next number needs, how long a lower need must still last, how long silence, when the hours change, and
which bound no load can move. Each is one sentence; there are `MOST` at the most, so that a status that holds
them stays small. Nothing is computed here while a fleet is looked at: who explains asks.
"""

from dataclasses import dataclass

from torpor.decide.decision import Basis, Decision
from torpor.decide.signals import QUEUE_DEPTH, TOLERANCE, Reading
from torpor.decide.work import Need
from torpor.decide.work_rate import MARGIN

MOST = 5  # sentences


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that would change the number: to what (None: to whatever is needed then), and by what, as a
    sentence without a full stop. seconds: in how many it comes by itself, None where only load brings it.
    """

    replicas: int | None
    told: str
    seconds: float | None = None


def outlook(decision: Decision, now: float) -> tuple[Change, ...]:
    """Return what would change `decision`, the larger number first. now: as it was given to `decide`."""
    basis = decision.basis
    if basis is None:
        return ()
    found = [_larger(decision, basis), _smaller(decision, basis), _silence(decision, basis)]
    if basis.hours_end is not None:
        found.append(Change(None, f"the schedule changes in {_period(basis.hours_end)}", basis.hours_end))
    wait = None if decision.look_at is None else decision.look_at - now
    lower = decision.base < decision.replicas and decision.replicas <= decision.current
    if lower and wait is not None and wait > 0 and (basis.hours_end is None or wait < basis.hours_end):
        told = f"{decision.base} are needed at present; time alone may change the number in {_period(wait)}"
        found.append(Change(decision.base, told, wait))
    return tuple(change for change in found if change is not None)[:MOST]


def _larger(decision: Decision, basis: Basis) -> Change | None:
    number = decision.replicas
    if number >= basis.ceiling:
        return Change(None, f"no load asks for more than {basis.ceiling}, the ceiling of owner and hours")
    if number == 0:
        return Change(None, "the first request wakes it")
    ways = []
    if basis.need is not None:
        ways.append(_of_work(basis.need, basis.need.rho * number, basis.requests, "above"))
    queue = _reading(decision, QUEUE_DEPTH)
    if queue is not None:
        most = queue.target * (1 + TOLERANCE) * number
        ways.append(f"more than {most:.0f} requests wait for capacity")
    return Change(number + 1, f"{number + 1} once " + ", or once ".join(ways)) if ways else None


def _smaller(decision: Decision, basis: Basis) -> Change | None:
    number, least = decision.replicas, max(1, basis.floor)
    if number == 0:
        return None
    if number <= basis.floor:
        return Change(None, f"no silence leaves fewer than {basis.floor}, the floor of owner and hours")
    if number <= least or basis.need is None:
        return None
    border = basis.need.rho * (1 - MARGIN) * (number - 1)
    way = _of_work(basis.need, border, basis.requests, "below")
    return Change(number - 1, f"{number - 1} once {way} for {_period(basis.window)}")


def _silence(decision: Decision, basis: Basis) -> Change | None:
    if decision.replicas == 0 or basis.floor > 0:
        return None
    if decision.idle_for is None:
        return Change(0, f"0 after {_period(basis.idle)} without any request")
    left = max(0.0, basis.idle - decision.idle_for)
    told = f"0 in {_period(left)} if no request comes; it has been idle for {_period(decision.idle_for)}"
    return Change(0, told, left)


def _of_work(need: Need, border: float, requests: float | None, side: str) -> str:
    """The border of the arriving work, in requests a second of the present kind where there are any."""
    told = f"the work of requests and queue is {side} {border:.2f} busy replicas (now {need.total:.2f})"
    if requests and requests > 0 and need.total > 0:
        told += f", about {requests * border / need.total:.3g} requests/s such as now (now {requests:.3g})"
    return told


def _reading(decision: Decision, name: str) -> Reading | None:
    found = (reading for reading in decision.signals if reading.name == name and reading.raw is not None)
    return next(found, None)


def _period(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
