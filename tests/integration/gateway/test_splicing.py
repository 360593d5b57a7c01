"""Streams whose events pass without being parsed: the client gets the same, and all is counted as ever."""

import asyncio

import pytest

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, chunk

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":31,"total_tokens":38}}\n\n'


def token(number: int) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%d"}}]}\n\n' % number


def stepwise(pieces, go):
    """An engine that writes a piece each time that it may."""

    async def script(call):
        for piece in pieces:
            await go.get()
            await call.send(piece)
        await call.until_left()

    return script


async def decoded(client, go, pieces, body):
    """Let the engine write piece by piece, each after the client has what came before; return the body."""
    got, raw = b"", b""
    for piece, upto in zip(pieces, body, strict=True):
        go.put_nowait(piece)
        async with asyncio.timeout(30):
            while len(got) < len(upto) or (piece is pieces[-1] and not raw.endswith(b"0\r\n\r\n")):
                raw += await client.reader.read(65536)
                got = unchunked(raw.partition(b"\r\n\r\n")[2])
    return got


def unchunked(raw: bytes) -> bytes:
    body = b""
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        if len(rest) < int(size, 16) + 2:
            break
        assert rest[int(size, 16) :][:2] == b"\r\n"
        body += rest[: int(size, 16)]
        raw = rest[int(size, 16) + 2 :]
    return body


async def test_what_passes_by_and_what_does_not_make_one_stream(gateway, engines):
    whole = chunk(token(5))
    pieces = [
        SSE_HEAD + chunk(token(0)),
        chunk(token(1)),  # passes
        chunk(token(2)),  # passes
        chunk(token(3)) + chunk(token(4)),  # two chunks at once do not
        whole[:9],  # nor does half of one
        whole[9:],
        chunk(token(6)),  # passes again
        chunk(token(7) + token(8)),  # two events in one chunk do
        chunk(token(9)[:20]),  # half an event does not
        chunk(token(9)[20:]),
        chunk(b": a comment\n\n"),
        chunk(token(10)),
        chunk(USAGE),
        chunk(DONE),
        b"0\r\n\r\n",
    ]
    upto, body = [], b""
    for more in (0, 1, 2, (3, 4), (), 5, 6, (7, 8), (), 9):
        body += b"".join(map(token, (more,) if isinstance(more, int) else more))
        upto.append(body)
    for part in (b": a comment\n\n", token(10), USAGE, DONE, b""):
        body += part
        upto.append(body)
    go = asyncio.Queue()
    fleet = gateway.static(await engines(stepwise(pieces, go)))
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    assert await decoded(client, go, pieces, upto) == body
    await until(lambda: fleet.completed == 1, 30)
    assert (fleet.prompt_tokens, fleet.output_tokens) == (7, 31)
    assert (fleet.ttft.count, fleet.itl.count) == (1, 12)  # ten tokens, the usage, the mark of the end
    assert fleet.failed == fleet.in_flight == 0
    client.leave()


@pytest.mark.parametrize("passes", [0, 1, 5])
async def test_an_abort_behind_events_that_passed_is_an_error(gateway, engines, passes):
    pieces = [SSE_HEAD + chunk(token(0)), *(chunk(token(n + 1)) for n in range(passes))]
    upto = [b"".join(map(token, range(n + 1))) for n in range(passes + 1)]
    aborted = chunk(b'data: {"choices":[{"delta":{},"finish_reason":"abort"}]}\n\n')
    go = asyncio.Queue()
    fleet = gateway.static(await engines(stepwise([*pieces, aborted], go)))
    client = await gateway.client()
    await client.send(request(chat(stream=True)))
    for piece, body in zip(pieces, upto, strict=True):
        go.put_nowait(piece)
        await client.read_until(body[-12:])
    go.put_nowait(aborted)
    rest = await client.closed(30)
    assert b'"EngineGone"' in rest
    assert b"abort" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    assert fleet.failed == 1


async def test_a_client_of_http_1_0_gets_no_frames(gateway, engines):
    pieces = [SSE_HEAD + chunk(token(0)), chunk(token(1)), chunk(token(2)), chunk(DONE), b"0\r\n\r\n"]
    go = asyncio.Queue()
    gateway.static(await engines(stepwise(pieces, go)))
    client = await gateway.client()
    await client.send(request(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    for number, piece in enumerate(pieces[:3]):
        go.put_nowait(piece)
        got = await client.read_until(b'"content":"%d"}}]}\n\n' % number)
        assert number == 0 or got == token(number)
    for piece in pieces[3:]:
        go.put_nowait(piece)
    assert await client.closed(30) == DONE
