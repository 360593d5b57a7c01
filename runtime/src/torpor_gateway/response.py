"""Reading of engine responses: status, headers, body parts, and whether the end was a real end.

httptools reads the framing. What it cannot tell is the end of a body without framing, which only the closing
of the connection ends; and it calls an interim answer (100, 103) a message of its own. Both are handled here.
A response whose connection closes before its announced end is cut, whatever has arrived.

A stream is one small chunk after the other, and calling the parser for each costs more than it tells. So a
reader says when it stands between two chunks, and whoever passes a stream on may then take one that is whole
without asking: between two chunks the parser has nothing to remember. What is not exactly one whole, plain
chunk goes through the parser.
"""

import re

import httptools

from torpor_gateway.framing import digits, is_length

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"content-length",
        b"te",
        b"trailer",
        b"upgrade",
    }
)
_MAX_HEAD = 64 * 1024
_MOST_HEADS = 64  # kept of one engine
_LONGEST_KEPT = 2048  # bytes of a head that is kept
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,7})\r\n").match


class BadResponse(Exception):  # noqa: N818
    """The engine's bytes are not an HTTP response."""


class ResponseHead:
    """What the head of a response says to whoever passes it on."""

    __slots__ = ("content_type", "headers", "keep_alive", "retry_after", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers = b""  # finished lines that may be passed on
        self.content_type = b""
        self.retry_after = self.keep_alive = False

    def copy(self) -> "ResponseHead":
        """Return the head alone."""
        other = ResponseHead()
        other.status, other.headers, other.content_type = self.status, self.headers, self.content_type
        other.retry_after, other.keep_alive = self.retry_after, self.keep_alive
        return other


class Heads:
    """Heads of one engine's answers, by what stands before and behind the digits of their length."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], ResponseHead] = {}

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, data: bytes) -> tuple[ResponseHead, bytes] | None:
        """Return the head and the body if `data` is one whole response behind a known head; else None."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_KEPT) + 4
        begin, stop = digits(data, end)
        if not begin:
            return None
        known = self._known.get((data[:begin], data[stop:end]))
        if known is None or data[begin:stop] != b"%d" % (len(data) - end):
            return None
        return known, data[end:]

    def learn(self, data: bytes, response: "ResponseReader") -> None:
        """Remember the head of a response that was read from `data` alone."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_KEPT) + 4
        begin, stop = digits(data, end)
        length = len(data) - end
        # Only what is one head and one body of that length: no interim answer, no status without a body.
        if not is_length(data, begin, stop, length) or not sum(map(len, response.parts)) == length > 0:
            return
        if response.streams:
            return
        if len(self._known) >= _MOST_HEADS:
            self._known.clear()
        self._known[data[:begin], data[stop:end]] = response.copy()


class ResponseReader(ResponseHead):
    """One response. `parts` fills with the body as it comes and is emptied by whoever passes it on."""

    __slots__ = (
        "_chunked",
        "_head_bytes",
        "_heads",
        "_interim",
        "_parser",
        "between_chunks",
        "complete",
        "headed",
        "length",
        "parts",
    )

    def __init__(self, heads: Heads | None = None) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._heads = heads
        self._head_bytes = 0
        self.parts: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        super().__init__()
        self.length: int | None = None
        self.headed = False
        self.complete = False
        self._chunked = False
        self._interim = False
        self.between_chunks = False

    @property
    def streams(self) -> bool:
        """Whether it is a stream of events."""
        return self.status == 200 and self.content_type.startswith(b"text/event-stream")

    def feed(self, data: bytes) -> None:
        """Take in bytes. Raises BadResponse."""
        assert self._parser is not None
        if not self.headed:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if not self.complete:
                raise BadResponse(str(error)) from None
            self.keep_alive = False  # bytes behind the end
        except httptools.HttpParserUpgrade:
            raise BadResponse("the engine switched protocols") from None
        if self.between_chunks and not data.endswith(b"\r\n"):
            self.between_chunks = False  # the beginning of a size
        if not self.headed and self._head_bytes > _MAX_HEAD:
            raise BadResponse("the response's head is too large")
        if self.complete and self._heads is not None and self._head_bytes == len(data):
            self._heads.learn(data, self)

    def close(self) -> None:
        """Let go of the parser, which holds this reader as this reader holds it."""
        self._parser = None

    def eof(self) -> bool:
        """The connection closed: say whether the response was complete by then."""
        if self.headed and not self.complete and not self._chunked and self.length is None:
            self.complete = True
        return self.complete

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        """See that nothing follows a complete response."""
        if self.complete:
            raise BadResponse("a second response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what may be passed on, and what the framing needs."""
        if self.headed:
            return  # a trailer: the head may be gone already, and must not change behind the parser's back
        lower = name.lower()
        if lower not in _HOP_BY_HOP:
            self.headers += b"%b: %b\r\n" % (name, value)
            if lower == b"content-type":
                self.content_type = value.lower()
            elif lower == b"retry-after":
                self.retry_after = True
        elif lower == b"content-length":
            self.length = int(value)
        elif lower == b"transfer-encoding":
            self._chunked = True

    def on_headers_complete(self) -> None:
        """Take the status."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status < 100:
            raise BadResponse(f"{self.status} is no status")
        if self.status < 200:
            self._interim = True
            return
        self.headed = True
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self.parts.append(data)

    def on_chunk_header(self) -> None:
        """A chunk's size has been read; its bytes follow."""
        self.between_chunks = False

    def on_chunk_complete(self) -> None:
        """A chunk has ended."""
        self.between_chunks = True

    def on_message_complete(self) -> None:
        """Note the end; that of an interim answer is a beginning."""
        self.between_chunks = False
        if self._interim:
            self._begin()
            return
        self.complete = True


def whole_chunk(data: bytes) -> int:
    """Return where the content begins if `data` is one whole chunk, neither more nor less; else 0.

    The last chunk of a body is none, nor is one with extensions.
    """
    size = _CHUNK(data)
    if size is None:
        return 0
    begin = size.end()
    length = len(data) - begin - 2
    return begin if length > 0 and int(size[1], 16) == length and data.endswith(b"\r\n") else 0
