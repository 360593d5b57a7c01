"""The framing of one response to a client: a length where it is known, chunks where it is not.

A client of HTTP/1.0 knows no chunks: a body without a length ends with its connection. The head waits for the
first bytes of the body, so that both go in one write.
"""

from torpor_gateway.request import RequestHead


class BodyWriter:
    """What has to be written around the parts of a body. `chunks`: the body goes in chunks."""

    __slots__ = ("_head", "chunks")

    def __init__(self) -> None:
        self._head = b""
        self.chunks = False

    def begin(self, lines: bytes, length: int | None, request: RequestHead | None, *, keep: bool) -> bool:
        """Begin a response whose head has these lines; `length` None where it is not known.

        Return whether the connection can be kept after it.
        """
        self.chunks = length is None and request is not None and request.version == "1.1"
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif self.chunks:
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            framing, keep = b"", False
        self._head = b"%b%b%b\r\n" % (lines, framing, persistence(request, keep=keep))
        return keep

    def part(self, data: bytes) -> bytes:
        """Return the bytes that go out for a part of the body, which is not empty."""
        head, self._head = self._head, b""
        return b"%b%x\r\n%b\r\n" % (head, len(data), data) if self.chunks else head + data

    @property
    def begun(self) -> bool:
        """Whether the head is out, or there is none."""
        return not self._head

    def end(self) -> bytes:
        """Return the bytes that go out at the end, perhaps none."""
        last = self._head + (b"0\r\n\r\n" if self.chunks else b"")
        self.forget()
        return last

    def forget(self) -> None:
        """There is no response any more."""
        self._head = b""
        self.chunks = False


def persistence(request: RequestHead | None, *, keep: bool) -> bytes:
    """Return the line that says what becomes of the connection; HTTP/1.0 keeps none without a word."""
    if not keep:
        return b"Connection: close\r\n"
    return b"Connection: keep-alive\r\n" if request is not None and request.version == "1.0" else b""
