"""Bodies that are not what they say: the client hears it, no engine sees any of it, nothing is read twice."""

import gzip
import json

import pytest

from tests.integration.gateway.harness import CHAT, chat, request
from tests.integration.gateway.scripted import chunk

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
HIDDEN = START.replace(CHAT.encode(), CHAT.encode() + b"?hidden=1") + b"Content-Length: 15\r\n\r\n"
HIDDEN += b'{"model":"llm"}'
DEEP = 100_000


async def test_a_compressed_body_is_415_and_nobody_unpacks_it(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    bomb = gzip.compress(json.dumps(chat(padding="0" * 10_000_000)).encode())
    for coding in ("gzip", "deflate", "br", "identity, gzip", "x"):
        answer = await gateway.ask(bomb, headers=f"Content-Encoding: {coding}\r\n")
        assert (answer.status, answer.error["code"]) == (415, "content_encoding")
    assert gateway.server.buffered_bytes == 0
    assert engine.calls == []
    assert (await gateway.ask(chat(), headers="Content-Encoding: identity\r\n")).status == 200


async def test_behind_a_length_that_is_too_small_nothing_is_believed(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    body = json.dumps(chat()).encode()
    await client.send(START + b"Content-Length: %d\r\n\r\n" % (len(body) - 5) + body)
    first = await client.answer()
    assert (first.status, first.error["code"]) == (400, "invalid_json")
    second = await client.answer()  # `lo"}]}`, which is no request
    assert (second.status, second.headers["connection"]) == (400, "close")
    assert await client.closed() == b""
    assert engine.calls == []


async def test_behind_a_length_that_is_too_large_nothing_is_a_request(start, engines):
    gateway = await start(body_grace_seconds=0.2, min_body_bytes_per_second=1000)
    engine = await engines()
    gateway.static(engine)
    for rest in (b"", HIDDEN):  # what follows belongs to the body, and is missed there or makes it no JSON
        client = await gateway.client()
        body = json.dumps(chat()).encode()
        await client.send(START + b"Content-Length: %d\r\n\r\n" % (len(body) + len(HIDDEN)) + body + rest)
        answer = await client.answer()
        assert answer.status == (400 if rest else 408)
        client.leave()
    assert engine.calls == []
    assert gateway.server.buffered_bytes == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(
            b'{"model":"llm","x":' + b"[" * DEEP + b"]" * DEEP + b"}", "invalid_json", id="deep-lists"
        ),
        pytest.param(
            b'{"model":"llm","x":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
            "invalid_json",
            id="deep-objects",
        ),
        pytest.param(b'{"model":"llm","temperature":NaN}', "invalid_json", id="nan"),
        pytest.param(b'{"model":"llm","temperature":-Infinity}', "invalid_json", id="infinity"),
        pytest.param(b'{"model":"llm","temperature":1e999}', "invalid_json", id="1e999"),
        pytest.param(b'{"model":"llm","prompt":"\xc3("}', "invalid_json", id="no-utf-8"),
        pytest.param(b'{"model":"llm","prompt":"\xed\xa0\x80"}', "invalid_json", id="utf-8-surrogate"),
        pytest.param('{"model":"llm"}'.encode("utf-16"), "invalid_json", id="utf-16"),
        pytest.param(b'\xef\xbb\xbf{"model":"llm"}', "invalid_json", id="byte-order-mark"),
        pytest.param(b'{"model":"llm"}{"model":"llm"}', "invalid_json", id="two-values"),
        pytest.param(b'{"model":"llm","x":01}', "invalid_json", id="leading-zero"),
        pytest.param(b'{"model":"llm",}', "invalid_json", id="trailing-comma"),
        pytest.param(b"{'model':'llm'}", "invalid_json", id="single-quotes"),
        pytest.param(b'{"model":["llm"]}', "invalid_model", id="model-is-a-list"),
        pytest.param(b'{"model":null}', "model_required", id="model-is-null"),
        pytest.param(b"{}", "model_required", id="no-model"),
        pytest.param(b'[{"model":"llm"}]', "invalid_json", id="no-object"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_json_that_an_engine_might_read_otherwise_is_400(gateway, engines, body, code, chunked):
    engine = await engines()
    gateway.static(engine)
    client = await gateway.client()
    if chunked:
        sent = (
            START + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body[:1]) + chunk(body[1:]) + b"0\r\n\r\n"
        )
    else:
        sent = request(body)
    answer = await client.ask(sent)
    assert (answer.status, answer.error["code"]) == (400, code)
    assert answer.error["type"] == "invalid_request_error"
    assert (await client.ask(request(chat()))).status == 200, "the connection goes on"
    assert len(engine.calls) == 1


async def test_of_two_members_of_one_name_the_last_counts_here_and_at_the_engine(gateway, engines):
    """Refusing them would refuse what engines serve; what matters is that both read the same one."""
    first, second = await engines(), await engines()
    gateway.static(first, name="first")
    gateway.static(second, name="second")
    body = b'{"mod\\u0065l":"first","model":"first","mod\\u0065l":"second"}'
    assert (await gateway.ask(body)).status == 200
    assert (first.calls, [call.body for call in second.calls]) == ([], [body])
    assert json.loads(body)["model"] == "second", "as the engine's parser reads it"
