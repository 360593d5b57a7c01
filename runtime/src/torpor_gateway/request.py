"""Reading of client requests: one message at a time, screened before anything is believed.

A head is collected up to its empty line, under a limit, and screened as a whole: control characters, bare CR
or LF and folded lines are refused before the parser sees them, because an engine's parser might read them
differently than ours. httptools parses what is left; the rules of framing (one Content-Length or `chunked`,
never both) are then checked again here, since the whole defence against request smuggling hangs on them. The
body is kept whole, under a limit. How the bytes were cut into packets changes nothing.

Upgrade requests are read as if the header were not there, which is what HTTP allows and what clients that
offer h2c on every request expect.
"""

import re
from typing import TYPE_CHECKING

import httptools

from torpor_gateway.answers import Refusal
from torpor_gateway.chunks import ChunkedDecoder
from torpor_gateway.settings import Settings

if TYPE_CHECKING:
    from torpor_gateway.gate import KeyState

_LEGAL = bytes(byte for byte in range(256) if byte in b"\t\r\n" or (byte >= 32 and byte != 127))
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"[A-Za-z0-9._~:\[\]%-]{0,255}")
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_REQUEST_LINE = re.compile(rb"[A-Z-]{1,32} [!-~]+ HTTP/[0-9]\.[0-9]\r\n")
_CODINGS = frozenset({b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"})
# Ours to write, meant for this connection alone, or none of the engine's business.
_NOT_FORWARDED = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"te",
        b"trailer",
        b"upgrade",
        b"http2-settings",
        b"expect",
        b"authorization",
        b"x-api-key",
        b"accept-encoding",
        b"x-request-id",
        b"cookie",
        b"origin",  # the gateway answers browsers itself: an engine would add its own word
    }
)


class RequestHead:
    """A parsed request head. `forward` holds the header lines that go to the engine, ready to send."""

    __slots__ = (
        "api_key",
        "authorization",
        "chunked",
        "content_encoding",
        "content_length",
        "content_type",
        "expects_continue",
        "forward",
        "host",
        "keep_alive",
        "key",
        "method",
        "origin",
        "path",
        "request_id",
        "requested_headers",
        "retry_count",
        "session",
        "target",
        "version",
    )

    def __init__(self) -> None:
        self.method = ""
        self.authorization = self.api_key = b""
        self.key: KeyState | None = None  # whose request it is, where keys are asked for
        self.target = b""
        self.path = ""
        self.version = ""
        self.host = ""
        self.origin = b""
        self.requested_headers = b""
        self.content_length: int | None = None
        self.content_type = b""
        self.content_encoding = b""
        self.chunked = False
        self.expects_continue = False
        self.keep_alive = True
        self.retry_count = 0
        self.request_id = b""
        self.forward = b""
        self.session: bytes | None = None  # None: nobody has looked

    def again(self, content_length: int) -> "RequestHead":
        """Return the head of another request that says the same about a body of so many bytes. What belongs
        to one request alone, its id and whose it is, is not taken over.
        """
        other = RequestHead.__new__(RequestHead)
        other.method, other.version, other.keep_alive = self.method, self.version, self.keep_alive
        other.target, other.path, other.host = self.target, self.path, self.host
        other.authorization, other.api_key, other.origin = self.authorization, self.api_key, self.origin
        other.requested_headers, other.retry_count = self.requested_headers, self.retry_count
        other.content_type, other.content_encoding = self.content_type, self.content_encoding
        other.chunked, other.expects_continue = self.chunked, self.expects_continue
        other.forward, other.session = self.forward, self.session
        other.content_length, other.request_id, other.key = content_length, b"", None
        return other


class _Lines:
    """What httptools calls back."""

    __slots__ = ("headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def _bad(message: str, code: str = "bad_request") -> Refusal:
    return Refusal(400, code, message)


def _suspect(raw: bytes) -> bool:
    """Say whether a head has control characters, a CR or LF without the other, or folded lines."""
    ends = raw.count(b"\r\n")
    return bool(
        raw.translate(None, _LEGAL)
        or raw.count(b"\r") != ends
        or raw.count(b"\n") != ends
        or b"\n " in raw
        or b"\n\t" in raw
    )


def parse_head(raw: bytes, max_headers: int) -> RequestHead:
    """Parse a head, its final empty line included. Raises Refusal 400, 417, 431 or 501."""
    if _suspect(raw):
        raise _bad("the request's head contains control characters, bare line ends or folded lines")
    if raw.count(b"\n") > max_headers + 2:
        raise Refusal(431, "too_many_headers", f"more than {max_headers} header fields")
    if not _REQUEST_LINE.match(raw):
        raise _bad("the request line must be `METHOD TARGET HTTP/1.1`, in ASCII, with single spaces")
    lines = _Lines()
    parser = httptools.HttpRequestParser(lines)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass
    except (httptools.HttpParserError, UnicodeDecodeError) as error:
        if str(error).startswith("Invalid method"):
            raise Refusal(501, "not_implemented", "this method is not known here") from None
        raise _bad(f"not a valid HTTP/1.1 request: {error}") from None
    head = RequestHead()
    head.method = parser.get_method().decode()
    head.version = parser.get_http_version()
    if head.version not in ("1.1", "1.0"):
        raise _bad(f"HTTP/{head.version} is not spoken here; use HTTP/1.1")
    read_headers(head, lines.headers, version=head.version)
    _read_target(head, lines.url)
    return head


def read_headers(head: RequestHead, headers: list[tuple[bytes, bytes]], *, version: str) -> None:
    """Take over what the header fields say. Raises Refusal 400 or 417."""
    forward: list[bytes] = []
    hosts = lengths = codings = 0
    closes, keeps = False, version == "1.1"
    drop: set[bytes] = set()
    for name, value in headers:
        lower = name.lower()
        if lower not in _NOT_FORWARDED:
            forward.append(b"%b: %b\r\n" % (name, value))
            if lower == b"content-type":
                if head.content_type:
                    raise _bad("Content-Type: at most one is allowed")
                head.content_type = value
            elif lower == b"content-encoding":
                head.content_encoding = (
                    head.content_encoding + b"," + value if head.content_encoding else value
                )
            elif lower == b"x-stainless-retry-count" and value.isdigit():
                head.retry_count = min(int(value[:9]), 1000)
            elif lower == b"access-control-request-headers":
                head.requested_headers = value
        elif lower == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise _bad("Host: not a host name")
            head.host = value.decode("ascii")
        elif lower == b"content-length":
            lengths += 1
            if not _LENGTH.fullmatch(value):
                raise _bad("Content-Length: must be a whole number")
            head.content_length = int(value)
        elif lower == b"transfer-encoding":
            codings += 1
            if value.strip().lower() != b"chunked":
                raise _unknown_coding(value)
            head.chunked = True
        elif lower == b"connection":
            for option in value.lower().split(b","):
                token = option.strip()
                if token == b"close":
                    closes = True
                elif token == b"keep-alive":
                    keeps = True
                elif token and token != b"content-type":
                    drop.add(token)
        elif lower == b"expect":
            if value.lower() != b"100-continue":
                raise Refusal(417, "expectation_failed", "Expect: only 100-continue is understood")
            head.expects_continue = version == "1.1"
        elif lower == b"authorization":
            # For the gateway's own doors. Of two, neither can be believed: together they are no key.
            head.authorization = head.authorization + b", " + value if head.authorization else value
        elif lower == b"x-api-key":
            head.api_key = head.api_key + b", " + value if head.api_key else value
        elif lower == b"origin":
            head.origin = value
        elif lower == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            head.request_id = value
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise _bad("Host: exactly one is required")
    if lengths > 1 or codings > 1 or (lengths and codings):
        raise _bad("a body is framed by one Content-Length or one Transfer-Encoding, not by several")
    head.keep_alive = keeps and not closes
    if head.chunked and version == "1.0":
        raise _bad("Transfer-Encoding: not in HTTP/1.0")
    if drop:
        forward = [line for line in forward if line.partition(b":")[0].lower() not in drop]
    head.forward = b"".join(forward)


def _unknown_coding(value: bytes) -> Refusal:
    """A coding that exists and is not spoken here is 501; where the body ends cannot be told: 400."""
    *before, last = [coding.strip().lower() for coding in value.split(b",")]
    if last == b"chunked" and b"chunked" not in before and _CODINGS.issuperset(before):
        return Refusal(501, "not_implemented", "Transfer-Encoding: only `chunked` is understood")
    return _bad("Transfer-Encoding: only `chunked` is understood")


def _read_target(head: RequestHead, url: bytes) -> None:
    if url[:7].lower() == b"http://" or url[:8].lower() == b"https://":
        authority, slash, rest = url.partition(b"://")[2].partition(b"/")
        if not _HOST.fullmatch(authority):
            raise _bad("the request's target names no valid host")
        head.host = authority.decode("ascii")
        url = slash + rest
    if not url.startswith(b"/"):
        url = b"/" if head.method == "OPTIONS" else url
        if not url.startswith(b"/"):
            raise _bad("the request's target must be a path")
    url = url.partition(b"#")[0]
    head.target = url
    head.path = url.partition(b"?")[0].decode("latin-1")


class RequestReader:
    """Collects one request. `head` is there once the head is; `complete` once the body is. Raises Refusal.

    Bytes behind the end of the request stay in `ahead`.
    """

    __slots__ = (
        "_body",
        "_decoder",
        "_left",
        "_limit",
        "_settings",
        "ahead",
        "complete",
        "head",
        "raw",
        "received",
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limit = settings.max_body_bytes
        self._reset()
        self.ahead = b""

    def _reset(self) -> None:
        self.head: RequestHead | None = None
        self.raw = b""  # the head's bytes, until somebody takes the body
        self.complete = False
        self.received = 0  # bytes of the body so far
        self._decoder: ChunkedDecoder | None = None
        self._body: bytearray | None = None
        self._left = 0

    def next(self) -> None:
        """Make ready for the next request on this connection; `feed(b"")` then reads what is `ahead`."""
        self._reset()

    def take_body(self) -> bytes:
        """Hand over the whole body; the reader keeps nothing of it."""
        body = bytes(self._decoder.body if self._decoder else self._body or b"")
        self._decoder, self._body, self.raw = None, None, b""
        return body

    def took(self, head: RequestHead) -> None:
        """A whole request was read without this reader: be where it would have left off."""
        self.head, self.complete = head, True

    def feed(self, data: bytes) -> None:
        """Take in bytes; stops at the end of a head that has just been read, so that it can be judged.

        The caller continues with `feed(b"")`.
        """
        if self.ahead:
            data = self.ahead + data
            self.ahead = b""
        if self.complete:
            self.ahead = data
            return
        if self.head is None:
            self._feed_head(data)
        else:
            self._feed_body(data)

    def _feed_head(self, data: bytes) -> None:
        if data.startswith(b"\r\n"):  # some clients send an empty line after a body
            data = data[_EMPTY_LINES.match(data).end() :]  # type: ignore[union-attr]
        if data and data != b"\r" and not 65 <= data[0] <= 90:
            raise _bad("not an HTTP/1.1 request")
        limit = self._settings.max_header_bytes
        end = data.find(b"\r\n\r\n", 0, limit)
        if end < 0:
            if len(data) >= limit:
                if b"\r\n" not in data[:limit]:
                    raise Refusal(414, "target_too_long", f"the request line is longer than {limit} bytes")
                raise Refusal(431, "header_too_large", f"the request's head is larger than {limit} bytes")
            self.ahead = data
            return
        self.raw = data[: end + 4]
        self.head = head = parse_head(self.raw, self._settings.max_headers)
        self.ahead = data[end + 4 :]
        if head.chunked:
            self._decoder = ChunkedDecoder(self._limit)
        elif head.content_length:
            if head.content_length > self._limit:
                raise Refusal(413, "body_too_large", f"the body is larger than {self._limit} bytes")
            self._left = head.content_length
        else:
            self.complete = True

    def _feed_body(self, data: bytes) -> None:
        if self._decoder is not None:
            self.ahead = self._decoder.feed(data)
            self.received = len(self._decoder.body)
            self.complete = self._decoder.complete
            return
        part = data[: self._left] if len(data) > self._left else data
        if part:
            if self._body is None:
                self._body = bytearray()
            self._body += part
            self.received += len(part)
            self._left -= len(part)
        if not self._left:
            self.ahead = data[len(part) :]
            self.complete = True
