"""Decoding of chunked request bodies, strict: whatever two parsers could read differently is refused.

Request smuggling lives on leniency about chunk sizes (signs, `0x`, spaces, bare line feeds, overflow), so a
size is 1 to 15 hexadecimal digits and every line ends in CRLF. Extensions and trailers are read, bounded and
thrown away: the body goes on with a Content-Length.
"""

import re

from torpor_gateway.answers import Refusal

_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,15})(?:[ \t]*;[\t\x20-\x7e]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_MAX_LINE = 1024
_MAX_TRAILERS = 8192


def _bad(what: str) -> Refusal:
    return Refusal(400, "bad_chunk", f"chunked body: {what}")


class ChunkedDecoder:
    """Takes bytes as they come, gives the body's. Raises Refusal 400 or 413."""

    __slots__ = ("_buffer", "_left", "_limit", "_state", "_trailers", "complete", "parts", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = b""
        self._left = 0
        self._state = "size"
        self._trailers = 0
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take `data`; return what lies behind the end of the body (empty while the body is not complete)."""
        data = self._buffer + data
        self._buffer = b""
        while data and not self.complete:
            if self._state == "data":
                part = data[: self._left]
                self.parts.append(part)
                self._left -= len(part)
                data = data[len(part) :]
                if not self._left:
                    self._state = "end"
                continue
            if self._state == "end":
                if not b"\r\n".startswith(data[:2]):
                    raise _bad("a chunk is longer than its size says")
                if len(data) < 2:
                    break
                data = data[2:]
                self._state = "size"
                continue
            end = data.find(b"\n")
            line = data.removesuffix(b"\r") if end < 0 else data[: max(end - 1, 0)]
            if len(line) > _MAX_LINE:
                raise _bad(f"a line is longer than {_MAX_LINE} bytes")
            if end < 0:
                break
            if end == 0 or data[end - 1 : end + 1] != b"\r\n":
                raise _bad("a line must end in CR LF")
            data = data[end + 1 :]
            self._line(line)
        if self.complete:
            return data
        self._buffer = data
        return b""

    def _line(self, line: bytes) -> None:
        if self._state == "trailer":
            self._trailers += len(line)
            if not line:
                self.complete = True
            elif self._trailers > _MAX_TRAILERS or not _TRAILER.fullmatch(line):
                raise _bad("bad trailer")
            return
        match = _SIZE_LINE.fullmatch(line)
        if not match:
            raise _bad("a chunk's size must be hexadecimal digits")
        self._left = int(match[1], 16)
        self.size += self._left
        if self.size > self._limit:
            raise Refusal(413, "body_too_large", f"the body is larger than {self._limit} bytes")
        self._state = "data" if self._left else "trailer"
