"""Requests off the wire: however the bytes were cut, the answer is the same; what is ambiguous is refused."""

import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor_gateway.answers import Refusal
from torpor_gateway.chunks import ChunkedDecoder
from torpor_gateway.request import RequestHead, RequestReader, parse_head, read_headers
from torpor_gateway.settings import Settings

SETTINGS = Settings(max_body_bytes=200, max_header_bytes=1024, max_headers=8)


def read(pieces: list[bytes]) -> list[object]:
    """Feed pieces and return what was read: requests, then the error or what is left over."""
    reader = RequestReader(SETTINGS)
    found: list[object] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while True:
                if reader.head is not None and not reader.complete:
                    reader.feed(b"")
                if not reader.complete:
                    break
                head = reader.head
                found.append(
                    (
                        head.method,
                        head.path,
                        head.target,
                        head.host,
                        head.forward,
                        head.keep_alive,
                        reader.take_body(),
                    )
                )
                reader.next()
                reader.feed(b"")
    except Refusal as refusal:
        found.append((refusal.status, refusal.code))
        return found
    found.append(("open", reader.head is not None, reader.received))
    return found


POST = b"POST /v1/completions HTTP/1.1\r\nHost: a.b\r\n"
MESSAGES = [
    POST + b"Content-Length: 5\r\n\r\nhello",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n",
    POST + b"Content-Length: 0\r\n\r\n",
    b"GET /v1/models?x=1#f HTTP/1.1\r\nHost: a\r\nX: y\r\nConnection: close, x\r\n\r\n",
    b"\r\nGET http://h.n/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/models HTTP/1.0\r\n\r\n",
    POST + b"Content-Length: 201\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nc9\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n",
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"X: a\r\n b\r\n\r\n",
    POST + b"X: " + b"x" * 2000 + b"\r\n\r\n",
    POST + b"X: y\r\n" * 20 + b"\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\x16" + b"\x03" * 2000,
    b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
]


@given(st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=3), st.data())
def test_the_cut_into_packets_changes_nothing(messages, data):
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == read([stream])


@pytest.mark.parametrize("message", MESSAGES)
def test_byte_by_byte_is_the_same(message):
    assert read([message[at : at + 1] for at in range(len(message))]) == read([message])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    result = read([data])[-1]
    assert result[0] in ("open", 400, 413, 417, 431)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_a_chunked_body_comes_out_as_it_went_in(parts, data):
    stream = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8))) if len(stream) > 1 else []
    decoder = ChunkedDecoder(1000)
    rest = b""
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        rest += decoder.feed(stream[start:end])
    assert decoder.complete
    assert decoder.body == b"".join(parts)
    assert rest == b""


@pytest.mark.parametrize("size", [b"-1", b"+1", b"0x1", b"1 ;", b"", b"1" * 16, b"g", b"1_0", b"\xd9\xa1"])
def test_sizes_that_another_parser_might_read_differently_are_refused(size):
    with pytest.raises(Refusal):
        ChunkedDecoder(100).feed(size + b"\r\nx\r\n0\r\n\r\n")


def test_a_line_of_exactly_the_limit_is_read_wherever_it_is_cut():
    line = b"1;" + b"x" * 1022
    for cut in (1024, 1025):
        decoder = ChunkedDecoder(100)
        stream = line + b"\r\nA\r\n0\r\n\r\n"
        decoder.feed(stream[:cut])
        decoder.feed(stream[cut:])
        assert decoder.complete


def test_private_and_hop_by_hop_headers_are_not_forwarded():
    reader = RequestReader(Settings())
    reader.feed(
        POST + b"Authorization: Bearer x\r\nX-API-Key: y\r\n"
        b"Connection: Keep-Alive, X-Once\r\nX-Once: 1\r\nKept: 2\r\n"
        b"Accept-Encoding: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 0\r\n\r\n"
    )
    assert reader.head is not None
    assert reader.head.forward == b"Kept: 2\r\n"
    assert reader.head.authorization == b"Bearer x"


@pytest.mark.parametrize("hostile", [b"a b", b"x" * 200, b"\xff\xfe"])
def test_hostile_request_ids_are_dropped(hostile):
    reader = RequestReader(Settings())
    reader.feed(POST + b"X-Request-Id: " + hostile + b"\r\nContent-Length: 0\r\n\r\n")
    assert reader.head is not None
    assert reader.head.request_id == b""
    assert reader.head.forward == b""


@pytest.mark.parametrize(
    "text", [b"\x00", b"\x01", b"\x0b", b"\x1f", b"\x7f", b"\r", b"\n", b"\r\n ", b"\r\n\t"]
)
@pytest.mark.parametrize(
    "where", [b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: y%bz\r\n\r\n"]
)
def test_heads_are_screened_before_the_parser_sees_them(text, where, monkeypatch):
    monkeypatch.setattr("httptools.HttpRequestParser", lambda lines: pytest.fail("the parser was asked"))
    with pytest.raises(Refusal) as refused:
        parse_head(where % text, 10)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "lines",
    [
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"content-length", b"-1")],
        [(b"content-length", b"0x1")],
        [(b"transfer-encoding", b"identity")],
        [(b"host", b"b")],
    ],
)
def test_framing_is_judged_again_after_the_parser(lines):
    with pytest.raises(Refusal):
        read_headers(RequestHead(), [(b"host", b"a"), *lines], version="1.1")


def cost(work: Callable[[], object]) -> float:
    """Return the CPU seconds of the best of three runs."""
    best = float("inf")
    for _ in range(3):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def test_a_flood_of_empty_lines_costs_what_it_weighs():
    def read_lines(count: int) -> float:
        return cost(lambda: RequestReader(Settings()).feed(b"\r\n" * count))

    assert read_lines(256_000) < 40 * read_lines(16_000)  # quadratic: 256 times


def test_a_flood_of_tiny_chunks_costs_what_it_weighs():
    def read_chunks(count: int) -> float:
        return cost(lambda: ChunkedDecoder(1 << 20).feed(b"1\r\nx\r\n" * count))

    assert read_chunks(32_000) < 40 * read_chunks(2_000)


def test_a_body_in_tiny_pieces_takes_no_more_memory_than_in_one():
    head = POST + b"Content-Length: 20000\r\n\r\n"
    reader, decoder = RequestReader(Settings()), ChunkedDecoder(1 << 20)
    reader.feed(head)
    tracemalloc.start()
    try:
        for _ in range(10_000):
            reader.feed(bytes((120, 121)))
            decoder.feed(b"2\r\nxy\r\n")
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert reader.take_body() == decoder.body == b"xy" * 10_000


def test_extensions_and_trailers_may_not_outweigh_the_body():
    decoder = ChunkedDecoder(1 << 20)
    decoder.feed((b"10000;sig=" + b"f" * 64 + b"\r\n" + b"x" * 65536 + b"\r\n") * 8 + b"0\r\nX: y\r\n\r\n")
    assert decoder.complete
    with pytest.raises(Refusal, match="extensions"):
        ChunkedDecoder(1 << 20).feed((b"1;" + b"e" * 1000 + b"\r\nx\r\n") * 20)
    with pytest.raises(Refusal, match="extensions"):
        ChunkedDecoder(1 << 20).feed(b"1\r\nx\r\n0\r\n" + b"X: y\r\n" * 3000)
