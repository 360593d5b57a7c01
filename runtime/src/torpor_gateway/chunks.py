"""Decoding of chunked request bodies, strict: whatever two parsers could read differently is refused.

Request smuggling lives on leniency about chunk sizes (signs, `0x`, spaces, bare line feeds, overflow), so a
size is 1 to 15 hexadecimal digits, with nothing between them and the end of the line or the semicolon of an
extension (HTTP would have spaces overlooked there, and parsers differ), and every line ends in CRLF.
Extensions and trailers are read, bounded by what they accompany and thrown away: the body goes on with a
Content-Length.
"""

import re

from torpor_gateway.answers import Refusal

_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;[\t\x20-\x7e]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_MAX_LINE = 1024
_MAX_OVERHEAD = 8192  # bytes of sizes, extensions and trailers, beyond 16 for each byte of the body


def _bad(what: str) -> Refusal:
    return Refusal(400, "bad_chunk", f"chunked body: {what}")


class ChunkedDecoder:
    """Takes bytes as they come, gives the body's in `body`. Raises Refusal 400 or 413."""

    __slots__ = ("_buffer", "_left", "_limit", "_overhead", "_state", "body", "complete")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._left = 0
        self._state = "size"
        self._overhead = 0
        self.body = bytearray()  # not a list of parts: a body of tiny chunks would weigh fifty times its size
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take `data`; return what lies behind the end of the body (empty while the body is not complete)."""
        data = self._buffer + data
        at, size = 0, len(data)  # a position, because cutting `data` for each tiny chunk would be quadratic
        while at < size and not self.complete:
            if self._state == "data":
                end = min(at + self._left, size)
                self.body += data[at:end]
                self._left -= end - at
                at = end
                if not self._left:
                    self._state = "end"
                continue
            end = data.find(b"\n", at, at + _MAX_LINE + 2)
            if self._state == "end":
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise _bad("a chunk is longer than its size says")
                if end < 0:
                    break
                self._state = "size"
            elif end < 0:
                if size - at > _MAX_LINE + 1 or (size - at == _MAX_LINE + 1 and data[size - 1] != 13):
                    raise _bad(f"a line is longer than {_MAX_LINE} bytes")
                break
            elif end == at or data[end - 1] != 13:
                raise _bad("a line must end in CR LF")
            else:
                self._line(data[at : end - 1])
            at = end + 1
        if self.complete:
            self._buffer = b""
            return data[at:]
        self._buffer = data[at:]
        return b""

    def _line(self, line: bytes) -> None:
        self._overhead += len(line)
        if self._state == "trailer":
            if not line:
                self.complete = True
            elif not _TRAILER.fullmatch(line):
                raise _bad("bad trailer")
        else:
            match = _SIZE_LINE.fullmatch(line)
            if not match:
                raise _bad("a chunk's size must be hexadecimal digits")
            self._left = int(match[1], 16)
            if len(self.body) + self._left > self._limit:
                raise Refusal(413, "body_too_large", f"the body is larger than {self._limit} bytes")
            self._state = "data" if self._left else "trailer"
        if self._overhead > _MAX_OVERHEAD + 16 * len(self.body):
            raise _bad("more chunk extensions and trailers than body")
