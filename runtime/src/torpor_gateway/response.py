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


class Heads(dict[tuple[bytes, bytes], "ResponseReader"]):
    """Heads of one engine's answers, by what stands before and behind the digits of their length."""


class ResponseReader:
    """One response. `parts` fills with the body as it comes and is emptied by whoever passes it on."""

    __slots__ = (
        "_chunked",
        "_head_bytes",
        "_heads",
        "_interim",
        "_parser",
        "between_chunks",
        "complete",
        "content_type",
        "headed",
        "headers",
        "keep_alive",
        "length",
        "parts",
        "retry_after",
        "status",
    )

    def __init__(self, heads: Heads | None = None) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self._heads = heads
        self._head_bytes = 0
        self.parts: list[bytes] = []
        self.headed = self.complete = self.between_chunks = False

    def _begin(self) -> None:
        self.headers = b""  # finished lines that may be passed on
        self.status = 0
        self.content_type = b""
        self.length: int | None = None
        self.retry_after = False
        self.keep_alive = False
        self.headed = False
        self.complete = False
        self._chunked = False
        self._interim = False
        self.between_chunks = False

    def feed(self, data: bytes) -> None:
        """Take in bytes. Raises BadResponse."""
        parser = self._parser
        if parser is None:
            if self.complete:
                self.keep_alive = False  # bytes behind the end
                return
            if self._heads is not None and self._recall(data, self._heads):
                return
            self._begin()
            parser = self._parser = httptools.HttpResponseParser(self)
        if not self.headed:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
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
            self._learn(data, self._heads)

    def close(self) -> None:
        """Let go of the parser, which holds this reader as this reader holds it."""
        self._parser = None

    def _recall(self, data: bytes, heads: Heads) -> bool:
        """Take `data` for a whole response if its head is known; else do nothing."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_KEPT) + 4
        begin, stop = digits(data, end)
        if not begin:
            return False
        known = heads.get((data[:begin], data[stop:end]))
        length = len(data) - end
        if known is None or data[begin:stop] != b"%d" % length:
            return False
        self.headers, self.status, self.content_type = known.headers, known.status, known.content_type
        self.length, self.retry_after, self.keep_alive = length, known.retry_after, known.keep_alive
        self._chunked = self._interim = self.between_chunks = False
        self.headed = self.complete = True
        self.parts = [data[end:]]
        return True

    def _learn(self, data: bytes, heads: Heads) -> None:
        end = data.find(b"\r\n\r\n", 0, _LONGEST_KEPT) + 4
        begin, stop = digits(data, end)
        length = len(data) - end
        # Only what is one head and one body of that length: no interim answer, no status without a body.
        if not is_length(data, begin, stop, length) or not sum(map(len, self.parts)) == length > 0:
            return
        if len(heads) >= _MOST_HEADS:
            heads.clear()
        known = ResponseReader()
        known.headers, known.status, known.content_type = self.headers, self.status, self.content_type
        known.retry_after, known.keep_alive = self.retry_after, self.keep_alive
        heads[data[:begin], data[stop:end]] = known

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
