"""Prompt tokens that a pod still has to compute before a new request gets its first token.

The number of requests says little about that: one prompt of a hundred thousand tokens delays more than fifty
that answer. A gateway knows its own requests: from sending until the first byte of the answer their tokens
are ahead of whoever comes next. Of the requests of other gateways the engine tells: it counts the tokens of
prompts as it takes them up and again as they are through, and what lies between is under way. A request that
its client left in between stays in that difference for ever, so it is taken as nought whenever the pod has no
request of others.
"""


class Backlog:
    """The prompt tokens under way at one pod, as one gateway process sees them."""

    __slots__ = ("_floor", "others", "own")

    def __init__(self) -> None:
        self.own = 0
        self.others = 0
        self._floor = 0

    @property
    def tokens(self) -> int:
        """Tokens under way."""
        return self.own + self.others

    def sent(self, tokens: int) -> None:
        """A request of ours has so many tokens to compute."""
        self.own += tokens

    def through(self, tokens: int) -> None:
        """It has its first token, or is over."""
        self.own -= tokens

    def report(self, taken_up: int | None, through: int | None, requests: int | None, ours: int) -> None:
        """Take in the engine's counters of prompt tokens, its requests, and how many of those are ours."""
        if taken_up is None or through is None or requests is None:
            self.others = 0
            return
        between = taken_up - through
        if requests <= ours or between < self._floor:
            self._floor = max(0, between - self.own)
        self.others = max(0, between - self._floor - self.own) if requests > ours else 0
