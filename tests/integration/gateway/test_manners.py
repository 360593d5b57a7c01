"""HTTP's manners: methods, versions, expectations, pipelines, origins. Each has a defined answer."""

import asyncio
import json

import pytest
from torpor_gateway.settings import Settings, SettingsError
from torpor_gateway.surface import LOCAL, MODELS, OPERATIONS

from tests.integration.gateway.harness import CHAT, Gateway, chat, request, until
from tests.integration.gateway.scripted import DONE, TOKEN, chunk, json_answer

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
GET_MODELS = request(b"", path=MODELS, method="GET")


def old(raw: bytes, header: bytes = b"") -> bytes:
    """The same request in HTTP/1.0, with a further header line."""
    return raw.replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n" + header, 1)


@pytest.mark.parametrize("path", [MODELS, "/healthz", "/readyz", MODELS + "/llm"])
async def test_head_is_get_without_the_body(gateway, engines, path):
    gateway.static(await engines())
    client = await gateway.client()
    full = await client.ask(request(b"", path=path, method="GET"))
    await client.send(request(b"", path=path, method="HEAD"))
    head = await client.answer(to_head=True)
    assert (head.status, head.headers) == (full.status, full.headers)
    assert (await client.ask(GET_MODELS)).status == 200  # nothing of a body stood in between


async def test_head_where_a_body_is_posted_is_refused_without_one(gateway):
    client = await gateway.client()
    await client.send(request(b"", path=CHAT, method="HEAD"))
    assert (await client.answer(to_head=True)).status == 405
    await client.send(request(b"", path="/nowhere", method="HEAD"))
    assert (await client.answer(to_head=True)).status == 404
    assert (await client.ask(GET_MODELS)).status == 200


async def test_options_says_what_is_allowed_and_nothing_about_origins(gateway):
    client = await gateway.client()
    allowed = dict.fromkeys(OPERATIONS, "POST, OPTIONS") | dict.fromkeys(LOCAL, "GET, HEAD, OPTIONS")
    for path, allow in (allowed | {"*": "GET, HEAD, POST, OPTIONS"}).items():
        answer = await client.ask(request(b"", path=path, method="OPTIONS", headers=PREFLIGHT))
        assert (answer.status, answer.headers["allow"]) == (204, allow)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "content-length" not in answer.headers
    assert (await client.ask(request(b"", path="/nowhere", method="OPTIONS"))).status == 404


PREFLIGHT = (
    "Origin: https://chat.example.com\r\nAccess-Control-Request-Method: POST\r\n"
    "Access-Control-Request-Headers: authorization,content-type\r\n"
)


async def test_a_page_of_an_allowed_origin_may_ask_and_hear(start, engines):
    engine = await engines()
    gateway: Gateway = await start(cors_origins="https://other.example.com, https://chat.example.com")
    gateway.static(engine)
    client = await gateway.client()
    may = await client.ask(request(b"", path=CHAT, method="OPTIONS", headers=PREFLIGHT))
    assert may.status == 204
    assert may.headers["access-control-allow-origin"] == "https://chat.example.com"
    assert "POST" in may.headers["access-control-allow-methods"]
    assert may.headers["access-control-allow-headers"] == "authorization,content-type"
    assert may.headers["vary"] == "Origin"
    origin = "Origin: https://chat.example.com\r\n"
    for body in (chat(), chat(stream=True), chat(model="none"), b"{"):
        answer = await client.ask(request(body, headers=origin))
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.com", answer.status
    assert all(b"origin" not in call.head.lower() for call in engine.calls)
    listed = await client.ask(request(b"", path=MODELS, method="GET", headers=origin))
    assert listed.headers["access-control-allow-origin"] == "https://chat.example.com"


async def test_a_page_of_another_origin_hears_nothing_of_it(start, engines):
    gateway: Gateway = await start(cors_origins="https://chat.example.com")
    gateway.static(await engines())
    client = await gateway.client()
    foreign = PREFLIGHT.replace("chat.", "evil.")
    may = await client.ask(request(b"", path=CHAT, method="OPTIONS", headers=foreign))
    answer = await client.ask(request(chat(), headers="Origin: https://evil.example.com\r\n"))
    for each in (may, answer):
        assert not [name for name in each.headers if name.startswith("access-control")]
        assert each.headers["vary"] == "Origin"


async def test_every_origin_may_where_all_are_allowed(start, engines):
    gateway: Gateway = await start(cors_origins="*")
    gateway.static(await engines())
    client = await gateway.client()
    headers = PREFLIGHT.replace("authorization,content-type", "x\x80")
    may = await client.ask(
        request(b"", path=CHAT, method="OPTIONS", headers=headers.replace("chat.", "any."))
    )
    assert may.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-headers" not in may.headers  # what is no name is not said again
    assert "access-control-allow-origin" not in (await client.ask(request(chat()))).headers


@pytest.mark.parametrize("origins", ["chat.example.com", "https://a/path", "*, https://a", "ftp://a"])
async def test_what_is_no_origin_is_refused_at_the_start(start, origins):
    with pytest.raises(SettingsError, match=r"CORS_ORIGINS: .* must be"):
        await start(cors_origins=origins)


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"BREW /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 501, "not_implemented"),
        (START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "not_implemented"),
        (START + b"\r\n", 411, "length_required"),
        (START + b'\r\n{"model":"llm"}', 411, "length_required"),
        (b"POST /" + b"x" * 70_000, 414, "target_too_long"),
        (START + b"X: " + b"x" * 70_000, 431, "header_too_large"),
        (START + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n", 417, "expectation_failed"),
        (START + b"Expect: 100-continue, x\r\nContent-Length: 2\r\n\r\n", 417, "expectation_failed"),
        (START + b"Content-Length: 99999999999\r\n\r\n", 413, "body_too_large"),
    ],
)
async def test_who_cannot_be_understood_hears_why_and_goes(gateway, engines, raw, status, code):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    answer = await client.ask(raw)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["connection"] == "close"
    assert await client.closed() == b""
    assert engine.calls == []


async def test_http_1_0_is_kept_only_where_it_asked_and_the_end_is_told_by_a_length(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    keep = b"Connection: Keep-Alive\r\n"
    for raw in (request(chat()), GET_MODELS, request(chat(model="none")), request(b"", method="OPTIONS")):
        answer = await client.ask(old(raw, keep))
        assert answer.headers["connection"] == "keep-alive", answer.status
        assert "transfer-encoding" not in answer.headers
    stream = await client.ask(old(request(chat(stream=True)), keep))  # its length is not known
    assert (stream.headers["connection"], stream.body) == ("close", TOKEN + TOKEN + DONE)
    assert await client.closed() == b""


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n", b"Connection: keep-alive, close\r\n"])
async def test_http_1_0_is_closed_where_it_did_not_ask(gateway, header):
    client = await gateway.client()
    answer = await client.ask(old(GET_MODELS, header) + GET_MODELS)
    assert answer.headers["connection"] == "close"
    assert await client.closed() == b""  # and what it sent ahead is not answered


async def test_http_1_0_needs_no_host_and_hears_no_100(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    head, _, body = old(request(chat(), headers="Expect: 100-continue\r\n")).partition(b"\r\n\r\n")
    assert (await client.ask(head.replace(b"Host: gw\r\n", b"") + b"\r\n\r\n" + body)).status == 200


async def test_100_is_sent_only_when_the_body_is_wanted_and_not_there_yet(gateway, engines):
    gateway.static(await engines())
    body = json.dumps(chat()).encode()
    expect = b"Expect: 100-Continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    client = await gateway.client()
    await client.send(START + expect)
    assert (await client.head()).status == 100
    assert (await client.ask(body)).status == 200
    assert (await client.ask(START + expect + body)).status == 200  # it came along: no 100
    none = START.replace(CHAT.encode(), b"/nowhere")
    refused = await client.ask(none + expect)
    assert refused.status == 404
    assert await client.closed() == b""  # the body may come or not: nobody can tell


async def test_a_chunked_upload_may_expect_too(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    await client.send(START + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert (await client.head()).status == 100
    body = json.dumps(chat()).encode()
    assert (await client.ask(chunk(body[:7]) + chunk(body[7:]) + b"0\r\n\r\n")).status == 200
    assert engine.calls[0].body == body


async def test_a_chunked_audio_upload_names_its_model_in_the_form(gateway, engines):
    engine = await engines()
    gateway.static(engine, name="whisper")
    audio = bytes(range(256)) * 400 + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nnone\r\n'
    form = (
        b'--B-1\r\nContent-Disposition: form-data; name="file"; filename="name=model"\r\n'
        b"Content-Type: audio/wav\r\n\r\n" + audio + b"\r\n"
        b'--B-1\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n'
        b'--B-1\r\nContent-Disposition: form-data; name="stream"\r\n\r\nfalse\r\n--B-1--\r\n'
    )
    raw = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    raw += b"Content-Type: multipart/form-data; charset=utf-8; boundary=B-1\r\n\r\n"
    client = await gateway.client()
    await client.send(raw)
    for at in range(0, len(form), 1000):
        await client.send(chunk(form[at : at + 1000]))
    assert (await client.ask(b"0\r\n\r\n")).status == 200
    assert engine.calls[0].body == form
    assert f"content-length: {len(form)}" in engine.calls[0].lines


async def test_two_content_types_are_none(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    raw = request(chat(), headers="Content-Type: multipart/form-data; boundary=x\r\n")
    assert (await client.ask(raw)).status == 400
    assert engine.calls == []


async def test_an_answer_waits_its_turn_however_fast_it_is(gateway, engines):
    """Pipelined: the first takes long, the second is known at once; the engine gets one at a time."""
    release = asyncio.Event()

    async def slow(call):
        await release.wait()
        await call.send(json_answer({"n": len(engine.calls)}))

    engine = await engines(slow)
    gateway.static(engine)
    client = await gateway.client()
    await client.send(request(chat()) + GET_MODELS + request(chat()) + request(chat(model="none")))
    await until(lambda: engine.calls)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(engine.calls) == 1
    release.set()
    assert json.loads((await client.answer()).body) == {"n": 1}
    assert b'"object":"list"' in (await client.answer()).body
    assert json.loads((await client.answer()).body) == {"n": 2}
    assert (await client.answer()).status == 404
    assert len(engine.calls) == 2


async def test_a_target_may_name_the_host_and_engines_get_the_path(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    answer = await client.ask(request(chat(), path=f"http://llm.example.com:8080{CHAT}?x=1"))
    assert answer.status == 200
    assert f"post {CHAT}?x=1 http/1.1" in engine.calls[0].lines
    assert b"example.com" not in engine.calls[0].head


async def test_an_upgrade_is_not_taken_up(gateway, engines):
    gateway.static(await engines())
    client = await gateway.client()
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
    assert (await client.ask(request(b"", path=MODELS, method="GET", headers=upgrade))).status == 200
    assert (await client.ask(request(chat(), headers=upgrade))).status == 200


def test_the_setting_is_off_by_default():
    assert Settings().cors_origins == ""
