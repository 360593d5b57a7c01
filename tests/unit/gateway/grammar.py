"""HTTP as clients should speak it, as they do, and as those do who mean harm; and two readers of it.

`streams` draws what a client sends on a connection: messages out of parts that fit or do not, edited here and
there, cut into writes. `reference` is a second opinion on where one message ends and the next begins (h11, a
parser that shares nothing with the gateway's). `answers` reads what the gateway said, by the letter.
"""

import json
import re
from itertools import pairwise
from operator import itemgetter
from typing import Any

import h11
from hypothesis import strategies as st

CHAT = b"/v1/chat/completions"
HIDDEN = (
    b'POST /v1/chat/completions?hidden=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n{"model":"llm"}'
)
EXAMPLES = [
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"0\r\n\r\n"
    + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    + b"x" * 2000
    + b"\r\n{\r\n0\r\n\r\n"
    + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 95\r\n\r\n" + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\nTransfer-Encoding: chunked\r\n\r\n"
    + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 95\r\n\r\n" + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 95\r\n\r\n"
    + HIDDEN,
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 95\r\n\r\n"
    + HIDDEN,
    b"POST /v1/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'f ;x\r\n{"model":"llm"}\r\n0\r\n\r\n' + HIDDEN,
]
_EDITS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\xff", b":", b";", b",", b"0", b"00", b"+", b"-1", b"0x",
    b"\r\n\r\n", b"\r\n ", b"chunked", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n",
    b"0\r\n\r\n", b"HTTP/1.1", b"HTTP/1.0", b"GET / ", b"#", b"http://b", b"//", b"\x0b", b"\x85", HIDDEN,
]  # fmt: skip
_LINES = [
    b"Connection: keep-alive", b"Connection: close", b"Connection: X, content-length", b"Expect: 200",
    b"Expect: 100-continue", b"Upgrade: h2c", b"Host: b", b"Host : b", b"X: 1", b"X : 1", b"X: 1\r\n 2",
    b"X: \xff", b": x", b"X:", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: gzip, chunked",
    b"Content-Length: +3", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked ",
    b"Content-Length : 3", b"Content-Length: 1,1", b"x-request-id: a b", b"Content-Encoding: gzip",
    b"Content-Type: text/plain", b"TE: trailers",
]  # fmt: skip
_METHODS = [b"POST"] * 6 + [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"BREW"]
_TARGETS = [CHAT] * 5 + [
    b"/v1/models",
    b"/healthz",
    CHAT + b"?x=1",
    b"http://a" + CHAT,
    b"*",
    b"/nowhere",
    b"/\xc3",
]


def body(stream: bool, text: str, model: str = "llm") -> bytes:
    return json.dumps({"model": model, "stream": stream, "prompt": text}).encode()


def chunked(content: bytes, cuts: list[int], extension: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    places = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    parts = [content[start:stop] for start, stop in pairwise(places)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + end


bodies = st.builds(
    body,
    st.booleans(),
    st.sampled_from(["hi", "", HIDDEN.decode(), "0\r\n\r\n", "x" * 300]),
    st.sampled_from(["llm", "llm", "llm", "none"]),
)
numbers = st.integers(0, 1 << 20)


@st.composite
def good_messages(draw: Any) -> tuple[bytes, bytes]:
    """A proper POST and its body."""
    content = draw(bodies)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\n" % CHAT
    if draw(st.booleans()):
        return head + b"Content-Length: %d\r\n\r\n" % len(content) + content, content
    extension = draw(st.sampled_from([b"", b";x=y"]))
    framed = chunked(content, draw(st.lists(numbers, max_size=3)), extension)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + framed, content


@st.composite
def messages(draw: Any) -> bytes:
    """A message whose parts need not fit."""
    content = draw(bodies)
    lines = [b"Host: a"] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))
    lines += [draw(st.sampled_from(_LINES)) for _ in range(draw(st.sampled_from([0, 0, 1, 2])))]
    framing = draw(
        st.sampled_from(["length", "length", "chunked", "chunked", "both", "twice", "wrong", "none"])
    )
    framed = content
    if framing in ("chunked", "both"):
        extension = draw(st.sampled_from([b"", b"", b";x=y", b" ;x", b";" + b"x" * 1100]))
        end = draw(
            st.sampled_from([b"0\r\n\r\n"] * 4 + [b"0\r\nT: 1\r\n\r\n", b"0\r\n", b"00;x\r\n\r\n", b"0\n\n"])
        )
        framed = chunked(content, draw(st.lists(numbers, max_size=3)), extension, end)
        lines.append(b"Transfer-Encoding: chunked")
    length = len(content)
    if framing == "wrong":
        length = max(0, length + draw(st.integers(-40, 40)))
    if framing in ("length", "both", "twice", "wrong"):
        lines.append(b"Content-Length: %d" % length)
    if framing == "twice":
        lines.append(b"Content-Length: %d" % draw(st.sampled_from([length, 0, length + 1])))
    lines = draw(st.permutations(lines))
    version = draw(st.sampled_from([b"1.1"] * 6 + [b"1.0", b"2.0"]))
    first = b"%b %b HTTP/%b" % (draw(st.sampled_from(_METHODS)), draw(st.sampled_from(_TARGETS)), version)
    return b"\r\n".join([first, *lines, b"", b""]) + framed


@st.composite
def streams(draw: Any) -> bytes:
    """What a client sends on one connection."""
    proper = good_messages().map(itemgetter(0))
    data = b"".join(draw(st.lists(st.one_of(proper, messages()), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 3]))):
        at = draw(numbers) % (len(data) + 1)
        gone = draw(st.sampled_from([0, 0, 1, 2, 7]))
        data = data[:at] + draw(st.sampled_from([b"", *_EDITS])) + data[at + gone :]
    return data


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut into writes."""
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def reference(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return (method, target, body) of each whole request that h11 finds, up to what it cannot read."""
    found = []
    while data := data.lstrip(b"\r\n"):
        conn = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        conn.receive_data(data)
        content = b""
        try:
            while True:
                event = conn.next_event()
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    content += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return found
        except h11.RemoteProtocolError:
            return found
        found.append((bytes(request.method), bytes(request.target), content))
        data = conn.trailing_data[0]
    return found


_ANSWER = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z -]+\r\n((?:[A-Za-z-]+: [\t -~]*\r\n)*)\r\n")


def answers(said: bytes, methods: list[str]) -> list[tuple[int, bytes]]:
    """Return (status, body) of each answer; AssertionError for a byte that does not belong.

    `methods` are those of the requests that were understood, in order.
    """
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(said):
        head = _ANSWER.match(said, at)
        assert head, said[at : at + 200]
        at, status = head.end(), int(head[1])
        lines = [line.partition(b": ") for line in head[2].lower().splitlines()]
        fields = {name: value for name, _, value in lines}
        assert len(fields) == len(lines), f"a header twice: {head[2]!r}"
        if status == 100:
            assert not fields
            continue
        method = methods[len(found)] if len(found) < len(methods) else "POST"
        content = b""
        if method == "HEAD" or status == 204:
            assert status != 204 or b"content-length" not in fields
        elif b"content-length" in fields:
            content = said[at : at + int(fields[b"content-length"])]
            assert len(content) == int(fields[b"content-length"])
            at += len(content)
        elif fields.get(b"transfer-encoding") == b"chunked":
            while True:
                size, _, rest = said[at:].partition(b"\r\n")
                part = rest[: int(size, 16)]
                assert rest[len(part) : len(part) + 2] == b"\r\n"
                at += len(size) + len(part) + 4
                content += part
                if not part:
                    break
        else:
            assert fields[b"connection"] == b"close"
            content, at = said[at:], len(said)
        if status >= 400 and method != "HEAD":
            assert json.loads(content)["error"]["message"], "an error without an error body"
        found.append((status, content))
        if fields.get(b"connection") == b"close":
            assert at == len(said), "something behind the last answer"
    return found
