"""The order of requests that wait at the gateway: first come, first served, with two fair exceptions.

A request that was sent to a pod and came back unserved (the pod was going away) returns to the place where it
stood, ahead of everyone who came later. And a request that no free pod may serve (it has been to each of
them) is passed over, not waited for. The line counts its bytes too: a thousand held prompts of a megabyte are
a gigabyte.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class WaitingLine(Generic[T]):
    """Requests in order of their tickets. A ticket is drawn once per request and kept through its retries."""

    __slots__ = ("_entries", "_next", "_sorted", "bytes")

    def __init__(self) -> None:
        self._entries: dict[int, tuple[T, int]] = {}
        self._next = 0
        self._sorted = True
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[T]:
        self._sort()
        return iter([item for item, _ in self._entries.values()])

    def draw(self) -> int:
        """Give out the next ticket."""
        self._next += 1
        return self._next

    def join(self, ticket: int, item: T, size: int) -> None:
        """Stand in line at the ticket's place. `size` is what the item keeps in memory, in bytes."""
        if self._entries and ticket < next(reversed(self._entries)):
            self._sorted = False
        self._entries[ticket] = (item, size)
        self.bytes += size

    def leave(self, ticket: int) -> bool:
        """Leave the line; False if the ticket is not in it."""
        entry = self._entries.pop(ticket, None)
        if entry is None:
            return False
        self.bytes -= entry[1]
        return True

    def take(self, may_go: Callable[[T], bool]) -> T | None:
        """Take out the first item for which `may_go` holds; None if there is none."""
        self._sort()
        for ticket, (item, _) in self._entries.items():
            if may_go(item):
                self.leave(ticket)
                return item
        return None

    def _sort(self) -> None:
        if not self._sorted:
            self._entries = dict(sorted(self._entries.items()))
            self._sorted = True
