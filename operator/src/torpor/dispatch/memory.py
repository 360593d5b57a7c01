"""What a pod was given to compute, for as long as its cache can still hold it.

An engine forgets: its cache is as large as it is, and what was not used for longest goes first. A router that
does not know sends prompts after a cache that is gone. So each entry carries the mark at which it was last
used, the tokens that the pod had worked on by then, and is dropped once the pod has worked on more than it
can hold. The marks come from the engine's own counters, so what other gateways send counts as well. A pod
that reports nothing is bounded by the number of entries alone.
"""

from collections import OrderedDict
from collections.abc import Sequence

MOST_ENTRIES = 32_768  # per pod; about 4 MB
# Blocks that several requests share are counted at each use and take room once.
KEPT = 1.3


class PodMemory:
    """The beginnings that one pod has seen, the least recently used first."""

    __slots__ = ("_marks", "_most", "capacity", "mark")

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self._marks: OrderedDict[int, int] = OrderedDict()
        self._most = most
        self.mark = 0  # tokens that the pod has worked on, of prompts and answers
        self.capacity: int | None = None  # tokens that its cache holds; None: unknown

    def __len__(self) -> int:
        return len(self._marks)

    def advance(self, mark: int, capacity: int | None) -> None:
        """Take in the pod's counters, in tokens. A smaller mark is another engine: all is forgotten."""
        if mark < self.mark:
            self._marks.clear()
        self.mark, self.capacity = mark, capacity
        if capacity is None:
            return
        oldest = mark - KEPT * capacity
        marks = self._marks
        while marks and next(iter(marks.values())) < oldest:
            marks.popitem(last=False)

    def learn(self, identity: Sequence[int]) -> None:
        """The pod gets a prompt of this identity. Its end is forgotten before its beginning."""
        marks, mark = self._marks, self.mark
        for number in reversed(identity):
            marks[number] = mark
            marks.move_to_end(number)
        while len(marks) > self._most:
            marks.popitem(last=False)

    def depth(self, identity: Sequence[int], guess: int = 0) -> int:
        """Return how many of the identity's numbers, from the first on, the pod has seen. O(log numbers), and
        at once where the guess is right: most pods know as much as the one before.
        """
        marks = self._marks
        if not identity or identity[0] not in marks:
            return 0
        if identity[-1] in marks:
            return len(identity)
        low, high = 1, len(identity)
        if guess > 0 and identity[guess - 1] in marks:
            if guess == high or identity[guess] not in marks:
                return guess
            low = guess
        while low < high:
            middle = (low + high + 1) // 2
            if identity[middle - 1] in marks:
                low = middle
            else:
                high = middle - 1
        return low
