"""What is remembered of heads says what a parser would say, and of bytes that differ nothing at all."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from torpor_gateway.answers import Refusal
from torpor_gateway.heads import LONGEST, MOST, KnownHeads
from torpor_gateway.request import RequestHead, parse_head
from torpor_gateway.response import BadResponse, Heads, ResponseHead, ResponseReader

LINE = b"POST /v1/completions HTTP/1.1\r\nHost: a.b\r\n"
FIELDS = st.sampled_from(
    [
        b"Content-Length: %d\r\n",
        b"content-length: %d\r\n",
        b"Content-Length:%d\r\n",
        b"Content-Length: 0%d\r\n",
        b"X-Content-Length: %d\r\n",
        b"X-Twice: %d\r\n",
        b"X: Content-Length: %d\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"Authorization: Bearer x\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 5\r\n",
        b"User-Agent: ontent-Length: 5\r\n",
    ]
)
ANSWER = b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: %d\r\ncontent-type: application/json\r\n\r\n"


def said(head: RequestHead) -> list[object]:
    """Return all that a head says of a request."""
    own = ("key", "request_id", "session")
    return [getattr(head, name) for name in RequestHead.__slots__ if name not in own]


def parsed(raw: bytes) -> RequestHead | None:
    try:
        return parse_head(raw, 100)
    except Refusal:
        return None


def with_length(fields: list[bytes], length: int) -> bytes:
    text = b"".join(field % length if b"%d" in field else field for field in fields)
    return LINE + text + b"\r\n"


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(FIELDS, max_size=4), st.integers(1, 30), st.integers(0, 30), st.integers(-1, 1))
@example([b"Content-Length: %d\r\n"], 5, 17, 0)
@example([b"X-Content-Length: %d\r\n", b"Content-Length: %d\r\n"], 5, 5, 0)
@example([b"X-Content-Length: %d\r\n", b"Content-Length: 5\r\n"], 5, 17, 0)  # a smuggler's dream
@example([b"X: Content-Length: %d\r\n", b"Content-Length: 5\r\n"], 5, 17, 0)
def test_what_is_recalled_is_what_the_parser_says(
    fields: list[bytes], first: int, second: int, more: int
) -> None:
    known = KnownHeads(1000)
    raw = with_length(fields, first)
    head = parsed(raw)
    if head is not None:
        known.learn(raw, head)
    again = with_length(fields, second)
    data = again + b"y" * max(0, second + more)
    found = known.recall(data)
    if found is not None:
        expected = parsed(again)
        assert expected is not None
        assert said(found[0]) == said(expected)
        assert found[1] == data[len(again) :]
        assert len(found[1]) == expected.content_length
    elif fields == [b"Content-Length: %d\r\n"] and second > 0 == more:
        raise AssertionError("the plainest of heads is not recalled")


def remembered(most_body: int = 1000) -> KnownHeads:
    known = KnownHeads(most_body)
    raw = with_length([b"Content-Length: %d\r\n"], 5)
    known.learn(raw, parse_head(raw, 100))
    assert len(known) == 1
    return known


def test_any_other_byte_is_another_head() -> None:
    known = remembered()
    raw = with_length([b"Content-Length: %d\r\n"], 5) + b"hello"
    assert known.recall(raw) is not None
    for at in range(len(raw) - 5):
        other = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        assert known.recall(other) is None, other


def test_only_a_whole_request_alone_is_recalled() -> None:
    raw = with_length([b"Content-Length: %d\r\n"], 5) + b"hello"
    known = remembered()
    assert known.recall(raw + b"P") is None
    assert known.recall(raw[:-1]) is None
    assert remembered(most_body=4).recall(raw) is None


def test_two_requests_share_nothing_that_belongs_to_one() -> None:
    known = remembered()
    raw = with_length([b"Content-Length: %d\r\n"], 5) + b"hello"
    one, other = known.recall(raw), known.recall(raw)
    assert one is not None
    assert other is not None
    one[0].request_id = b"mine"
    assert other[0].request_id == b""
    assert other[0].key is None


def test_the_memory_is_bounded() -> None:
    known = KnownHeads(1000)
    for number in range(2 * MOST + 10):
        raw = with_length([b"X: %d\r\n" % number, b"Content-Length: 5\r\n"], 5)
        known.learn(raw, parse_head(raw, 100))
        assert len(known) <= MOST
    long = with_length([b"X: " + b"x" * LONGEST + b"\r\n", b"Content-Length: 5\r\n"], 5)
    before = len(known)
    known.learn(long, parse_head(long, 100))
    assert len(known) == before


def fed(data: bytes, heads: Heads | None) -> list[object] | None:
    """Return what a response says, read as a connection does."""
    known = heads.recall(data) if heads is not None else None
    if known is not None:
        head, body = known
        return [body, True, *said_of(head)]
    reader = ResponseReader(heads)
    try:
        reader.feed(data)
    except BadResponse:
        return None
    return [b"".join(reader.parts), reader.complete, *said_of(reader)] if reader.headed else None


def said_of(head: ResponseHead) -> list[object]:
    return [getattr(head, name) for name in ResponseHead.__slots__]


FIXED = b"content-length: 5\r\n"
STATUS = st.sampled_from([b"200 OK", b"503 Busy", b"204 No Content", b"304 Not Modified", b"100 Continue"])
LINES = st.sampled_from(
    [
        b"content-length: %d\r\n",
        b"Content-Length: %d\r\n",
        b"content-length:%d\r\n",
        b"x-content-length: %d\r\n",
        FIXED,
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"retry-after: 3\r\n",
        b"content-type: application/json\r\n",
    ]
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(STATUS, st.lists(LINES, max_size=4), st.integers(0, 30), st.integers(0, 30), st.integers(-1, 1))
@example(b"200 OK", [b"x-content-length: %d\r\n", FIXED], 5, 17, 0)
def test_an_answer_behind_a_known_head_is_what_the_parser_says(
    status: bytes, lines: list[bytes], first: int, second: int, more: int
) -> None:
    def whole(length: int, body: int) -> bytes:
        text = b"".join(line % length if b"%d" in line else line for line in lines)
        return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, text, b"z" * max(0, body))

    heads = Heads()
    fed(whole(first, 5 if FIXED in lines else first), heads)
    data = whole(second, second + more)
    assert fed(data, heads) == fed(data, None)


def test_the_parser_is_not_asked_about_a_head_that_it_has_read() -> None:
    heads = Heads()
    assert heads.recall(ANSWER % 2 + b"{}") is None
    fed(ANSWER % 2 + b"{}", heads)
    assert len(heads) == 1
    found = heads.recall(ANSWER % 4 + b"true")
    assert found is not None
    assert found[1] == b"true"
    assert found[0].status == 200
    assert heads.recall(ANSWER % 4 + b"true ") is None


def test_a_stream_is_never_taken_for_a_whole_answer() -> None:
    heads = Heads()
    stream = (ANSWER % 4).replace(b"application/json", b"text/event-stream")
    fed(stream + b"a\n\nb", heads)
    assert len(heads) == 0
