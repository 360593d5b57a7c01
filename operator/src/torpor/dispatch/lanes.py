"""Fairness between those who wait: each API key has a line of its own, and the lines take turns.

One line for everybody gives the places to whoever asks most often: a key that sends ten thousand requests is
served ten thousand times before the next key's first. So every key waits in a line of its own (`WaitingLine`,
with its rules for who is late), and the lines take turns, one place each. The turns are start tags as in
fair queueing: a line's next turn is one after its last, and a line that was empty begins in the present
round, so that nobody saves turns up while away and nobody gets two by leaving and coming back. A line none
of whose requests may go (each has been to the pods that are free) loses the turn and saves none up.

    law of turns    with m requests of its own key ahead, and K keys that wait meanwhile, a request goes at
                    the latest at place (m + 2) K of its class

Above the keys stand two classes. Interactive requests go before batch ones, but every tenth place goes to
batch while batch waits, so a batch request goes at the latest at ten times the place above. A turn is a
request, not a token: prompts differ by a thousand to one, but what a request will cost is known only when it
is over, and tokens have limits of their own.

When the line is full the class and the key say whose place is given up (`make_room`): an interactive request
takes that of the youngest request of the batch key that has most waiting; otherwise a request may take a
place only of its own class, and only of a key that keeps more here than its own would with it. Without keys
there is one line, whose order is that of `WaitingLine`, and nobody is ever shed.

Joining, leaving and being taken cost O(log n). Shedding, which happens only to a full line, costs the number
of keys that wait.
"""

import math
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic, NamedTuple, TypeVar

from torpor.dispatch.waiting import WaitingLine

T = TypeVar("T")

BATCH_PLACE = 10  # every so many places one goes to batch
MOST_SHED = 64  # places that one request may take, to make room for its bytes


class Lane(NamedTuple):
    """Where a request waits: the line of its key, in the class of its priority."""

    key: str = ""
    batch: bool = False


ANONYMOUS = Lane()


class _Queue(Generic[T]):
    """One key's line. `turn`: its entry in the ring's heap, which is the only one that counts."""

    __slots__ = ("lane", "last", "line", "turn", "young")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.line: WaitingLine[tuple[int, T]] = WaitingLine()  # with the tickets
        self.last = -1  # the round of the last turn
        self.turn: tuple[int, int] | None = None
        self.young: list[int] = []  # heap of negative tickets, with those of some that left


class _Ring(Generic[T]):
    """The lines of one class, which take turns."""

    __slots__ = ("count", "queues", "round", "sequence", "turns")

    def __init__(self) -> None:
        self.queues: dict[str, _Queue[T]] = {}
        self.turns: list[tuple[int, int, str]] = []  # (round, order within it, key)
        self.round = self.sequence = self.count = 0

    def queue(self, lane: Lane) -> _Queue[T]:
        queue = self.queues.get(lane.key)
        if queue is None:
            queue = self.queues[lane.key] = _Queue(lane)
        return queue

    def enter(self, queue: _Queue[T], turn: int) -> None:
        """Give the line a turn in round `turn`, behind those that have one there already."""
        self.sequence += 1
        queue.turn = (turn, self.sequence)
        heappush(self.turns, (turn, self.sequence, queue.lane.key))

    def joined(self, queue: _Queue[T]) -> None:
        self.count += 1
        if queue.turn is None:
            self.enter(queue, max(self.round, queue.last + 1))

    def left(self, queue: _Queue[T]) -> None:
        self.count -= 1
        if not len(queue.line):
            queue.turn = None
        if not self.count:
            self._rest()

    def _rest(self) -> None:
        """Nobody waits: forget who had which turn. The anonymous line stays, with what it knows."""
        self.turns.clear()
        self.round = 0
        for key in [key for key in self.queues if key]:
            del self.queues[key]
        for queue in self.queues.values():
            queue.last, queue.turn = -1, None

    def take(
        self, take: Callable[[WaitingLine[tuple[int, T]]], tuple[int, T] | None]
    ) -> tuple[tuple[int, T], _Queue[T]] | None:
        """Take from the first line, in order of turns, from which `take` gets something."""
        passed_over: list[_Queue[T]] = []
        found: tuple[tuple[int, T], _Queue[T]] | None = None
        now = self.round
        while self.turns and found is None:
            turn, order, key = heappop(self.turns)
            queue = self.queues.get(key)
            if queue is None or queue.turn != (turn, order):
                continue  # of a line that became empty meanwhile
            item = take(queue.line)
            if item is None:
                passed_over.append(queue)
                continue
            now, queue.last, queue.turn = turn, turn, None
            found = item, queue
        if found is not None:
            self.round = now
        for queue in passed_over:
            turn, order = queue.turn or (now, 0)
            if turn < now:
                self.enter(queue, now)
            else:
                heappush(self.turns, (turn, order, queue.lane.key))
        if found is not None and len(found[1].line):
            self.enter(found[1], found[1].last + 1)
        return found


class FairLine(Generic[T]):
    """Requests in order of their tickets within a key, keys in turn, classes by priority.

    A ticket is drawn once per request and kept through its retries, and whoever drew later arrived later.
    """

    __slots__ = ("_batch", "_interactive", "_next", "_oldest", "_passed", "_where", "bytes")

    def __init__(self) -> None:
        self._interactive: _Ring[T] = _Ring()
        self._batch: _Ring[T] = _Ring()
        self._where: dict[int, tuple[T, int, float, _Queue[T]]] = {}
        self._oldest: list[int] = []  # heap of tickets; those of requests that left are dropped when met
        self._passed = 0  # places that went to interactive ones since a batch one had one
        self._next = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._where)

    def __iter__(self) -> Iterator[T]:
        """Iterate in order of arrival, whosever turn it is."""
        return iter([self._where[ticket][0] for ticket in sorted(self._where)])

    def draw(self) -> int:
        """Give out the next ticket."""
        self._next += 1
        return self._next

    def join(self, ticket: int, item: T, size: int, arrived: float = 0.0, lane: Lane = ANONYMOUS) -> None:
        """Stand in the key's line at the ticket's place. `size` is what the item keeps in memory, in bytes;
        `arrived` is when the request came, in seconds on the clock of `take`.
        """
        ring = self._ring(lane)
        queue = ring.queue(lane)
        queue.line.join(ticket, (ticket, item), size, arrived)
        if lane is not ANONYMOUS:
            _push(queue.young, -ticket, len(queue.line), lambda negative: -negative in self._where)
        self._where[ticket] = (item, size, arrived, queue)
        _push(self._oldest, ticket, len(self._where), self._where.__contains__)
        self.bytes += size
        ring.joined(queue)

    def leave(self, ticket: int) -> bool:
        """Leave the line; False if the ticket is not in it."""
        entry = self._where.pop(ticket, None)
        if entry is None:
            return False
        queue = entry[3]
        queue.line.leave(ticket)
        self.bytes -= entry[1]
        self._ring(queue.lane).left(queue)
        return True

    def oldest(self) -> float:
        """When the request that came first arrived; inf where nobody waits."""
        while self._oldest and self._oldest[0] not in self._where:
            heappop(self._oldest)
        return self._where[self._oldest[0]][2] if self._oldest else math.inf

    def waiting(self, *, batch: bool) -> int:
        """Requests of one class."""
        return self._batch.count if batch else self._interactive.count

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

        objective, urgent: as in `WaitingLine.take`, within each key. only_urgent: look at nobody else.
        """

        def take(line: WaitingLine[tuple[int, T]]) -> tuple[int, T] | None:
            return line.take(lambda held: may_go(held[1]), now, objective, urgent, only_urgent=only_urgent)

        batch = self._batch.count
        batch_first = batch and self._passed >= BATCH_PLACE - 1
        for ring in (self._batch, self._interactive) if batch_first else (self._interactive, self._batch):
            found = ring.take(take) if ring.count else None
            if found is not None:
                self._passed = self._passed + 1 if batch and ring is self._interactive else 0
                (ticket, item), queue = found
                self.bytes -= self._where.pop(ticket)[1]
                ring.left(queue)
                return item
        return None

    # --- when the line is full ---

    def make_room(self, lane: Lane, size: int, most: int, most_bytes: int) -> list[T]:
        """Take out whoever gives up a place for a request of `size` bytes in `lane`, so that at most `most`
        requests and `most_bytes` bytes wait with it. Empty: nobody has to, and the request has no place.
        """
        shed: list[tuple[int, tuple[T, int, float, _Queue[T]]]] = []
        if size > most_bytes:
            return []
        while len(self._where) >= most or self.bytes + size > most_bytes:
            victim = self._youngest_of_most(lane, size, by_bytes=len(self._where) < most)
            if victim is None or len(shed) == MOST_SHED:
                for ticket, (item, its_size, arrived, queue) in shed:
                    self.join(ticket, item, its_size, arrived, queue.lane)
                return []
            shed.append((victim, self._where[victim]))
            self.leave(victim)
        return [entry[0] for _, entry in shed]

    def _youngest_of_most(self, lane: Lane, size: int, *, by_bytes: bool) -> int | None:
        """Return the ticket of the youngest request of the key that keeps most here, batch before others."""

        def kept(queue: _Queue[T]) -> int:
            return queue.line.bytes if by_bytes else len(queue.line)

        own_class, fairly = self._ring(lane), True
        if not lane.batch and self._batch.count:
            own_class, fairly = self._batch, False
        most = max((queue for queue in own_class.queues.values() if len(queue.line)), key=kept, default=None)
        if most is None or most.lane == ANONYMOUS:
            return None
        own = own_class.queues.get(lane.key)
        with_it = (kept(own) if own else 0) + (size if by_bytes else 1)
        if fairly and kept(most) <= with_it:
            return None
        while -most.young[0] not in self._where:
            heappop(most.young)
        return -most.young[0]

    def _ring(self, lane: Lane) -> _Ring[T]:
        return self._batch if lane.batch else self._interactive


def _push(heap: list[int], item: int, alive: int, lives: Callable[[int], bool]) -> None:
    """Push, and forget those that left once they are most of the heap."""
    if len(heap) > 2 * alive + 64:
        heap[:] = {entry for entry in heap if lives(entry)}
        heapify(heap)
    heappush(heap, item)
