"""How long requests waited, told apart by why: for a wake, or for a free replica.

The two are different promises. Who waits while the fleet sleeps waits for a cold start, who waits while all
replicas are busy waits for others; a mean over both describes neither. A fleet that wakes turns the one into
the other under requests that are waiting, and so does one whose pods die. Therefore the fleet keeps a clock
that runs while it sleeps, and a request remembers where that clock stood when it joined the line: what it
has moved since is time asleep, exactly, for the price of one number a request.
"""

from typing import TYPE_CHECKING

from torpor_gateway.sketch import HOLD_BOUNDS, QUEUE_BOUNDS, Sketch

if TYPE_CHECKING:
    from torpor_gateway.exchange import Exchange

_TICK = 0.002  # seconds: the loop's clock has milliseconds and may go on within one callback


class Waits:
    """The waiting times of one fleet. Times are the loop's clock; a fleet begins asleep."""

    __slots__ = ("_asleep_since", "_slept", "hold", "queue")

    def __init__(self, now: float) -> None:
        self.hold, self.queue = Sketch(HOLD_BOUNDS), Sketch(QUEUE_BOUNDS)
        self._slept = 0.0
        self._asleep_since: float | None = now

    def turn(self, now: float, *, asleep: bool) -> None:
        """Say whether the fleet is asleep from now on."""
        if asleep is (self._asleep_since is not None):
            return
        self._slept = self.slept(now)
        self._asleep_since = now if asleep else None

    def slept(self, now: float) -> float:
        """Return the seconds that the fleet has been asleep in all."""
        return self._slept if self._asleep_since is None else self._slept + now - self._asleep_since

    def end(self, exchange: "Exchange", now: float) -> None:
        """A request waits no longer: count its wait, in two parts where both last longer than a tick."""
        waited, held = now - exchange.waiting_since, self.slept(now) - exchange.slept
        queued = waited - held
        if held < _TICK or queued < _TICK:
            # One part alone; where the whole is too short to tell which, it is the present one.
            asleep = held > queued if waited >= 2 * _TICK else self._asleep_since is not None
            held, queued = (waited, 0.0) if asleep else (0.0, waited)
        if held or (not queued and self._asleep_since is not None):
            self.hold.observe(held)
        if queued or (not held and self._asleep_since is None):
            self.queue.observe(queued)
        if exchange.trail is not None:
            exchange.trail.waited(exchange.waiting_since, held, queued)
