"""What keeps a stream alive while its request waits: comments, which clients of event streams skip.

A client, or a proxy before it, gives up on an answer that says nothing for a minute, and a cold start takes
longer. So a stream that waits gets its head and a comment now and then. It costs the request its status: what
goes wrong after the first comment can only be said in an event.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from torpor_gateway.exchange import Exchange

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n"
)


class Comments:
    """The comments of one exchange, until its first token."""

    __slots__ = ("_exchange", "_timer", "wanted")

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._timer: asyncio.TimerHandle | None = None
        self.wanted = False

    def begin(self, *, at_once: bool) -> None:
        """Comment from now on, the first time `at_once` or after an interval."""
        self.wanted = True
        if self._timer is not None:
            return
        if at_once and not self._exchange.head_sent:
            self._comment()
        else:
            self._later()

    def _later(self) -> None:
        exchange = self._exchange
        seconds = exchange.client.settings.comment_seconds
        self._timer = exchange.fleet.loop.call_later(seconds, self._comment)

    def _comment(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange.over or not self.wanted:
            return
        if not exchange.head_sent:
            exchange.begin(STREAM_HEAD)
        if exchange.endpoint is not None:
            word = "waiting for the first token of"
        else:
            word = "waking" if exchange.fleet.asleep else "waiting for a free replica of"
        exchange.write(f": {word} {exchange.fleet.spec.key}\n\n".encode())
        self._later()

    def end(self) -> None:
        """No more of them."""
        self.wanted = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
