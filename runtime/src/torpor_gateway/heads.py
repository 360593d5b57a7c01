"""Heads that came before: the next request of a client differs from its last one in its length, if at all.

Screening and parsing a head is what a short request costs most, and a client repeats its head: a library
writes the same lines for each request, on each connection. So a head that was read, screened and judged
once is remembered by its very bytes, all but the digits of its Content-Length, and a request whose bytes are
those again means the same. Nothing is parsed leniently here; bytes that differ in any place are read as if
there were no memory, and so is whatever does not come whole: a body in parts, a body in chunks, a request
behind a request.

The digits may be left out because the reader lets exactly one Content-Length through, on a line of its own:
other digits in their place make the same head with another length.

What is kept is bounded, and contains what clients write into their heads, their keys among it: for as long as
the process has it, and nowhere else.
"""

from typing import Final

from torpor_gateway.framing import digits, is_length
from torpor_gateway.request import RequestHead

LONGEST: Final = 4096  # bytes of a head that is kept
MOST: Final = 1024  # heads; when there are more, all are forgotten


class KnownHeads:
    """The heads that one server has judged."""

    __slots__ = ("_known", "_most_body")

    def __init__(self, most_body: int) -> None:
        """most_body: bytes of a body above which nothing is recalled."""
        self._known: dict[tuple[bytes, bytes], RequestHead] = {}
        self._most_body = most_body

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, raw: bytes, head: RequestHead) -> None:
        """Remember a head, its empty line included, that was judged by itself: what else may speak against
        the request has to be asked again. Heads that name their request are not worth it.
        """
        if head.method != "POST" or head.expects_continue or not head.content_length or len(raw) > LONGEST:
            return
        begin, stop = digits(raw, len(raw))
        if not is_length(raw, begin, stop, head.content_length):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[raw[:begin], raw[stop:]] = head.again(0)

    def recall(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return the head and the body if `data` is one whole request whose head is known; else None."""
        end = data.find(b"\r\n\r\n", 0, LONGEST) + 4
        begin, stop = digits(data, end)
        if not begin:
            return None
        known = self._known.get((data[:begin], data[stop:end]))
        length = len(data) - end
        if known is None or length > self._most_body or data[begin:stop] != b"%d" % length:
            return None
        return known.again(length), data[end:]
