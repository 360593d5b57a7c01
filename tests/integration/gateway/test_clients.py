"""Clients that leave, dawdle, flood, and speak odd HTTP: each has a defined answer."""

import asyncio
import socket

import pytest

from tests.integration.gateway.harness import CHAT, PATIENCE_SECONDS, chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, chunk, json_answer

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


async def forever(call):
    call.left = False
    await call.until_left()
    call.left = True


async def first_token_then_forever(call):
    await call.send(SSE_HEAD + chunk(TOKEN))
    await forever(call)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["reset", "half-close"])
async def test_a_client_that_leaves_while_held_frees_its_place(gateway, stream, how):
    fleet = gateway.static()
    client = await gateway.waiting(fleet, chat(stream=stream))
    client.leave() if how == "reset" else client.writer.write_eof()
    await until(lambda: len(fleet.line) == 0)
    assert fleet.answers[499, "ClientGone"] == 1
    assert fleet.arrivals == 1


@pytest.mark.parametrize("script", [forever, first_token_then_forever])
async def test_a_client_that_leaves_stops_the_engine(start, engines, script):
    gateway = await start(pool_idle_seconds=600.0)  # a connection that was kept would stay
    engine = await engines(script)
    fleet = gateway.static(engine)
    client = await gateway.client()
    await client.send(request(chat(stream=script is first_token_then_forever)))
    await until(lambda: engine.calls)
    if script is first_token_then_forever:
        await client.read_until(TOKEN)
    client.leave()
    await until(lambda: getattr(engine.calls[0], "left", False))
    assert fleet.in_flight == 0


async def test_a_client_that_leaves_the_queue_is_not_sent(gateway, engines):
    engine = await engines(forever)
    fleet = gateway.static(engine, limit=1)
    first, second = await gateway.client(), await gateway.client()
    await first.send(request(chat()))
    await until(lambda: engine.calls)
    await second.send(request(chat()))
    await until(lambda: len(fleet.line) == 1)
    second.leave()
    await until(lambda: len(fleet.line) == 0)
    first.leave()
    await until(lambda: fleet.in_flight == 0)
    assert len(engine.calls) == 1


async def torrent_to_a_client_that_does_not_read(gateway, engines):
    """Return the fleet, the client's socket, and how much the engine could send so far."""
    sent = [0]

    async def torrent(call):
        await call.send(SSE_HEAD)
        while not call.writer.is_closing():
            call.writer.write(chunk(b"data: " + b"x" * 65536 + b"\n\n"))
            await call.writer.drain()
            sent[0] += 65536

    fleet = gateway.static(await engines(torrent))
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
    await loop.sock_sendall(sock, request(chat(stream=True)))
    await until(lambda: sent[0] > 0)
    return fleet, sock, sent


async def test_a_slow_reader_holds_the_engine_back(gateway, engines):
    fleet, sock, sent = await torrent_to_a_client_that_does_not_read(gateway, engines)
    last = [-1]

    async def still() -> bool:
        last[0], before = sent[0], last[0]
        await asyncio.sleep(0.2)
        return sent[0] == before

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await still():
            pass
    assert fleet.in_flight == 1
    loop = asyncio.get_running_loop()
    stopped = sent[0]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sent[0] <= stopped:  # it reads on, and so does the engine
            await loop.sock_recv(sock, 1 << 20)
    sock.close()


async def test_a_client_that_takes_nothing_is_cut_off_in_the_end(start, engines):
    gateway = await start(slow_reader_seconds=0.5)
    fleet, sock, _ = await torrent_to_a_client_that_does_not_read(gateway, engines)
    await until(lambda: fleet.in_flight == 0)
    sock.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", None), (b"POST /v1/chat", 408), (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n", 408)],
)
async def test_a_head_that_does_not_come_is_not_waited_for(start, sent, status):
    gateway = await start(header_seconds=0.3)
    client = await gateway.client()
    await client.send(sent)
    if status:
        assert (await client.answer()).status == status
    assert await client.closed() == b""


async def test_a_body_that_drips_is_refused(start):
    gateway = await start(body_grace_seconds=0.2, min_body_bytes_per_second=1000)
    client = await gateway.client()
    await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
    assert (await client.answer()).status == 408
    assert await client.closed() == b""


async def test_an_idle_connection_is_closed(start):
    gateway = await start(idle_seconds=0.3)
    client = await gateway.client()
    assert (await client.ask(request(b"", path="/healthz", method="GET"))).status == 200
    assert await client.closed() == b""


async def test_one_connection_too_many_is_told_so(start):
    gateway = await start(max_connections=2)
    kept = [await gateway.client() for _ in range(2)]
    await until(lambda: len(gateway.server.connections) == 2)
    extra = await gateway.client()
    refused = await extra.answer()
    assert (refused.status, refused.error["code"]) == (503, "too_many_connections")
    assert "retry-after" in refused.headers
    assert (await kept[0].ask(request(b"", path="/healthz", method="GET"))).status == 200


async def test_a_body_over_the_limit_is_refused_before_it_is_read(start, engines):
    gateway = await start(max_body_bytes=10_000)
    gateway.static(await engines())
    exact = chat(padding="")
    exact["padding"] = "x" * (10_000 - len(request(exact).partition(b"\r\n\r\n")[2]))
    assert (await gateway.ask(exact)).status == 200
    exact["padding"] += "x"
    assert (await gateway.ask(exact)).status == 413
    chunked = await gateway.client()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await chunked.send(head + chunk(b"x" * 9_000) + b"7d0\r\n")
    assert (await chunked.answer()).status == 413
    assert await chunked.closed() == b""


async def test_a_refused_upload_hears_why(start):
    gateway = await start(max_body_bytes=1_000_000, linger_seconds=30.0)  # a slow machine sends slowly
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
        await loop.sock_sendall(sock, START + b"Content-Length: 8000000\r\n\r\n")
        for _ in range(80):
            await loop.sock_sendall(sock, b"x" * 100_000)
        answer = b""
        while data := await loop.sock_recv(sock, 65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in answer


async def test_expect_continue_is_answered_and_a_refusal_comes_instead_of_it(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    body = request(chat()).partition(b"\r\n\r\n")[2]
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    )
    await client.send(head % len(body))
    assert (await client.head()).status == 100
    assert (await client.ask(body)).status == 200
    refused = await gateway.client()
    await refused.send(head % (1 << 30))
    assert (await refused.head()).status == 413


async def test_pipelined_requests_are_answered_in_order(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    await client.send(
        request(b"", path="/v1/models/a", method="GET") + request(chat(stream=True)) + request(chat())
    )
    assert (await client.answer()).status == 404
    assert DONE in (await client.answer()).body
    assert b"ok" in (await client.answer()).body


async def test_many_pipelined_requests_do_not_exhaust_the_stack(gateway):
    client = await gateway.client()
    await client.send(request(b"", path="/healthz", method="GET") * 3000)
    for _ in range(3000):
        assert (await client.answer()).status == 200


async def test_http_1_0_gets_a_body_that_ends_with_the_connection(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    await client.send(request(chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0"))
    answer = await client.answer()
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert answer.body == TOKEN + TOKEN + DONE


async def test_connection_close_is_honoured(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    answer = await client.ask(request(chat(), headers="Connection: close\r\n"))
    assert answer.headers["connection"] == "close"
    assert await client.closed() == b""


async def test_engines_see_neither_keys_nor_hop_by_hop_headers(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    secret = "Authorization: Bearer s3cret\r\nX-Api-Key: s3cret\r\nCookie: s3cret\r\n"
    hops = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: h2c\r\n"
    hops += "Proxy-Authorization: s3cret\r\n"
    await gateway.ask(chat(), headers=secret + hops + "X-Kept: yes\r\nX-Request-Id: abc\r\n")
    text = engine.calls[0].head.lower()
    assert b"s3cret" not in text
    for name in (b"x-hop", b"keep-alive:", b"te:", b"upgrade:", b"accept-encoding"):
        assert name not in text
    assert b"x-kept: yes" in text
    assert b"x-request-id: abc" in text
    assert f"host: 127.0.0.1:{engine.port}".encode() in text


async def test_responses_lose_hop_by_hop_headers(gateway, engines):
    async def noisy(call):
        await call.send(json_answer({}, extra=b"keep-alive: timeout=5\r\nx-kept: 1\r\nupgrade: h2\r\n"))

    gateway.static(await engines(noisy))
    answer = await gateway.ask(chat())
    assert "keep-alive" not in answer.headers
    assert "upgrade" not in answer.headers
    assert answer.headers["x-kept"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"model": 5}',
        b'{"model": "\xff"}',
        b"[" * 100_000,
        b'{"model":"llm","x":NaN}',
        b'{"messages":[]}',
        b'{"model":""}',
    ],
)
async def test_bad_bodies_are_400_with_an_error_body(gateway, engines, body):
    engine = await engines()
    gateway.static(engine)
    answer = await gateway.ask(body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"
    assert engine.calls == []


@pytest.mark.parametrize(
    "raw",
    [
        START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
        START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        START + b"Content-Length: +2\r\n\r\n{}",
        START + b"Content-Length: 2, 2\r\n\r\n{}",
        START + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        START + b"X: 1\r\n folded\r\nContent-Length: 2\r\n\r\n{}",
        START + b"X : 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\nContent-Length: 2\r\n\r\n{}",
        START + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
        START + b"Host: b\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        START + b"Transfer-Encoding: identity\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        START + b"Content-Length: 99999999999999999999\r\n\r\n",
        START + b"Content-Length:\r\n\r\n",
    ],
)
async def test_ambiguous_or_malformed_http_is_refused_and_the_connection_closed(gateway, engines, raw):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    answer = await client.ask(raw)
    assert answer.status == 400
    assert answer.error["message"]
    assert await client.closed() == b""
    assert engine.calls == []


@pytest.mark.parametrize(
    "raw",
    [
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
async def test_header_bombs_are_431(gateway, raw):
    client = await gateway.client()
    assert (await client.ask(raw)).status == 431
    assert await client.closed() == b""


async def test_an_audio_upload_names_its_model_in_a_form(gateway, engines):
    engine = await engines()
    gateway.static(engine, name="whisper")
    form = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        b'name="model"\r\n\r\nnone\r\n'
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--B--\r\n'
    )
    raw = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n"
    raw += b"Content-Type: multipart/form-data; boundary=B\r\n"
    client = await gateway.client()
    answer = await client.ask(raw + b"Content-Length: %d\r\n\r\n" % len(form) + form)
    assert answer.status == 200
    assert engine.calls[0].body == form
    assert b"boundary=b" in engine.calls[0].head.lower()


async def test_a_chunked_request_goes_on_with_a_length(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    body = request(chat()).partition(b"\r\n\r\n")[2]
    client = await gateway.client()
    head = START.replace(b" HTTP", b"?a=b HTTP") + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    answer = await client.ask(head + chunk(body[:9]) + chunk(body[9:]) + b"0\r\nX: 1\r\n\r\n")
    assert answer.status == 200
    assert engine.calls[0].body == body
    assert f"content-length: {len(body)}" in engine.calls[0].lines
    assert "post /v1/chat/completions?a=b http/1.1" in engine.calls[0].lines
    assert b"chunked" not in engine.calls[0].head


async def test_sockets_do_not_wait_for_more_to_send(gateway, engines):
    engine = await engines(forever)
    gateway.static(engine)
    client = await gateway.client()
    await client.send(request(chat()))
    await until(lambda: engine.calls)
    connection = next(iter(gateway.server.connections))
    for transport in (connection.transport, connection.exchange.connection.transport):
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
