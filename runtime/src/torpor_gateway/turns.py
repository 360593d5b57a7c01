"""So many new requests in one turn of the loop, and the rest in the next ones.

The event loop hands over everything that has arrived at once, and until it is through no token flows: five
hundred requests that come together are a turn of forty milliseconds, and each stream stands still for as
long. So a turn takes up some of them, passes on the tokens that have come meanwhile, and goes on. The crowd
is served no later by that: the last of it waits for the same work as before.

Nobody tells when a turn begins, and to ask the loop for a call at its end would cost every request of a quiet
gateway more than the crowd is worth. So the count goes on over turns, and whoever is one too many waits for
the next one, which begins a new count: without a crowd that is every thirty-third, for no time at all.
"""

import asyncio
from collections import deque
from typing import Protocol

REQUESTS_A_TURN = 32


class Waiter(Protocol):
    """A connection on which a request has come."""

    def take_up(self) -> None:
        """Begin with what has come."""


class Turns:
    """The share of new requests in the turns of one loop."""

    __slots__ = ("_begun", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._begun = 0  # since the count began
        self._waiting: deque[Waiter] = deque()

    def later(self, waiter: Waiter) -> bool:
        """Say whether a new request is one too many in this turn; then `take_up` is called in a later one."""
        self._begun += 1
        if self._begun <= REQUESTS_A_TURN:
            return False
        if not self._waiting:
            self._loop.call_soon(self._next)
        self._waiting.append(waiter)
        return True

    def _next(self) -> None:
        waiting = self._waiting
        now = min(REQUESTS_A_TURN, len(waiting))
        # While somebody waits, who comes anew waits behind.
        self._begun = REQUESTS_A_TURN if len(waiting) > now else now
        for _ in range(now):
            waiting.popleft().take_up()
        if waiting:
            self._loop.call_soon(self._next)
