"""Engine responses: when a chunk may pass without the parser, and that nothing is lost or made up by it."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torpor_gateway.response import BadResponse, ResponseReader, whole_chunk

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def test_one_whole_chunk_and_nothing_else() -> None:
    for content in (b"a", b"data: x\n\n", b"x" * 300, b"\r\n", b"5\r\nhello"):
        data = chunk(content)
        assert data[whole_chunk(data) : -2] == content
    assert whole_chunk(b"0000A\r\n0123456789\r\n") == 7


@pytest.mark.parametrize(
    "data",
    [
        b"", b"5", b"5\r\n", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r", b"5\r\nhello\n\n",
        b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n1", b"0\r\n\r\n", b"00\r\n\r\n", b"5;a=b\r\nhello\r\n",
        b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"+5\r\nhello\r\n", b"0x5\r\nhello\r\n",
        b"1_0\r\n0123456789abcdef\r\n", b"5\nhello\r\n", b"\r\n", b"-1\r\n\r\n",
        b"000000000005\r\nhello\r\n", b"4\r\nhello\r\n", b"6\r\nhello\r\n",
    ],
)  # fmt: skip
def test_everything_else_is_for_the_parser(data: bytes) -> None:
    assert whole_chunk(data) == 0


def test_a_reader_knows_when_it_stands_between_chunks() -> None:
    reader = ResponseReader()
    stations = [
        (HEAD, False),  # nothing is known of the first chunk yet
        (chunk(b"one"), True),
        (b"3\r\nt", False),
        (b"wo\r\n", True),
        (b"5", False),
        (b"\r\n", False),
        (b"three\r\n", True),
        (b"0\r\n", False),
        (b"\r\n", False),
    ]
    for data, between in stations:
        reader.feed(data)
        assert reader.between_chunks is between, data
    assert reader.complete
    assert b"".join(reader.parts) == b"onetwothree"


def test_a_body_with_a_length_has_no_chunks() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1\r\na\r\n")
    assert not reader.between_chunks


@settings(derandomize=True, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.lists(st.integers(0, 500), max_size=12))
@example([b"a", b"b", b"c"], [len(HEAD), len(HEAD) + 6, len(HEAD) + 12])
def test_chunks_that_pass_the_parser_by_are_the_body_all_the_same(
    parts: list[bytes], cuts: list[int]
) -> None:
    whole = HEAD + b"".join(map(chunk, parts)) + b"0\r\n\r\n"
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    reader, body = ResponseReader(), b""
    for begin, end in pairwise(edges):
        data = whole[begin:end]
        at = whole_chunk(data) if reader.between_chunks else 0
        if at:
            body += data[at:-2]
            continue
        if data:
            reader.feed(data)
        body += b"".join(reader.parts)
        reader.parts = []
    assert reader.complete
    assert body == b"".join(parts)


def test_a_bad_size_behind_passed_chunks_is_still_refused() -> None:
    reader = ResponseReader()
    reader.feed(HEAD + chunk(b"one"))
    assert reader.between_chunks
    with pytest.raises(BadResponse):
        reader.feed(b"zz\r\n")
