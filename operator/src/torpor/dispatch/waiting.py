"""The order of requests that wait at the gateway: first come, first served, until that helps nobody.

Without an objective for the time to the first token the oldest goes first. With one, that order is the worst
when everyone is busy: after a burst the whole line is late, each place goes to a request whose objective is
broken already, and each fresh one grows late behind it, long after there are replicas enough. So the line has
two classes. A request that has waited half of the objective is late (the other half is what its prefill takes
and what is ahead of it inside the engine; measured in docs/reference/queue.md); the fresh go before the late,
each class in order of arrival. Two bounds keep the late from starving:

- every third place goes to the oldest while somebody late waits: with m older late ones, at most the
  3 (m + 1)-th place is its own;
- the oldest is first again, and until it is served nobody passes it, from the moment that the caller names
  (`urgent`): when half of the time that it may wait has passed.

Two things hold in any order. A request that was sent to a pod and came back unserved (the pod was going away)
returns to the place where it stood. And a request that no free pod may serve (it has been to each of them) is
passed over, not waited for. The line counts its bytes too: a thousand held prompts of a megabyte are a
gigabyte. Joining, leaving and being taken cost O(log n).
"""

import math
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

T = TypeVar("T")

LATE_SHARE = 0.5  # of the objective; who has waited so long is late
LATE_PLACE = 3  # every so many places one goes to the oldest
URGENT_SHARE = 0.5  # of the time that a request may wait; who has waited so long is first again


class WaitingLine(Generic[T]):
    """Requests in order of their tickets. A ticket is drawn once per request and kept through its retries,
    and whoever drew later arrived later.
    """

    __slots__ = ("_entries", "_fresh", "_late", "_next", "_objective", "_passed", "bytes")

    def __init__(self) -> None:
        self._entries: dict[int, tuple[T, int, float]] = {}
        self._fresh: list[int] = []  # heaps of tickets; those of requests that left are dropped when met
        self._late: list[int] = []
        self._objective: float | None = None
        self._passed = 0  # places that went to fresh ones since a late one had one
        self._next = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        """Iterate in order of arrival, whoever is late."""
        return iter([self._entries[ticket][0] for ticket in sorted(self._entries)])

    def draw(self) -> int:
        """Give out the next ticket."""
        self._next += 1
        return self._next

    def join(self, ticket: int, item: T, size: int, arrived: float = 0.0) -> None:
        """Stand in line at the ticket's place. `size` is what the item keeps in memory, in bytes; `arrived`
        is when the request came, in seconds on the clock of `take`.
        """
        if len(self._fresh) + len(self._late) > 2 * len(self._entries) + 64:
            self._rebuild()
        self._entries[ticket] = (item, size, arrived)
        heappush(self._fresh, ticket)
        self.bytes += size

    def leave(self, ticket: int) -> bool:
        """Leave the line; False if the ticket is not in it."""
        entry = self._entries.pop(ticket, None)
        if entry is None:
            return False
        self.bytes -= entry[1]
        return True

    def oldest(self) -> float:
        """When the request that came first arrived; inf where nobody waits."""
        heads = [head for head in (self._head(self._late), self._head(self._fresh)) if head is not None]
        return self._entries[min(heads)][2] if heads else math.inf

    def take(
        self,
        may_go: Callable[[T], bool],
        now: float = 0.0,
        objective: float | None = None,
        urgent: float = -math.inf,
        *,
        only_urgent: bool = False,
    ) -> T | None:
        """Take out the next item for which `may_go` holds; None if there is none.

        objective: seconds to the first token, None for first come, first served. urgent: who arrived at this
        time or before is first again. only_urgent: look at nobody else.
        """
        self._sort_out(now, objective)
        oldest = self._head(self._late)
        late_first = oldest is not None and (
            self._entries[oldest][2] <= urgent or self._passed >= LATE_PLACE - 1
        )
        for line in (self._late, self._fresh) if late_first else (self._fresh, self._late):
            ticket = self._first(line, may_go, urgent if only_urgent else math.inf)
            if ticket is not None:
                self._passed = self._passed + 1 if line is self._fresh and oldest is not None else 0
                item = self._entries[ticket][0]
                self.leave(ticket)
                return item
        return None

    def _sort_out(self, now: float, objective: float | None) -> None:
        """Find out who is late by now. As younger ones are never late before older ones, the head tells."""
        if objective != self._objective:
            self._objective = objective
            self._rebuild()
        if objective is None:
            return
        patience = LATE_SHARE * objective
        head = self._head(self._fresh)
        while head is not None and now - self._entries[head][2] > patience:
            heappush(self._late, heappop(self._fresh))
            head = self._head(self._fresh)

    def _rebuild(self) -> None:
        self._fresh = list(self._entries)
        self._late = []
        heapify(self._fresh)

    def _head(self, line: list[int]) -> int | None:
        while line and line[0] not in self._entries:
            heappop(line)
        return line[0] if line else None

    def _first(self, line: list[int], may_go: Callable[[T], bool], until: float) -> int | None:
        """Take out of the heap the first for whom `may_go` holds, of those that arrived until then; the
        others stay.
        """
        passed_over: list[int] = []
        found = None
        while (head := self._head(line)) is not None and self._entries[head][2] <= until:
            heappop(line)
            if may_go(self._entries[head][0]):
                found = head
                break
            passed_over.append(head)
        for ticket in passed_over:
            heappush(line, ticket)
        return found
