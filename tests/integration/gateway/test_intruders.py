"""Headers of people who try something: keys that are none, and names and traces that would end up in logs."""

import logging
from dataclasses import replace

import pytest
from torpor_gateway.metrics import exposition, generate_latest
from torpor_gateway.recording import recording

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.test_keys import A, B, bearer, let_in

CANARY = "sk-canary-9f8e7d6c5b4a"


async def test_every_key_that_is_none_gets_the_same_401(start, engines):
    gateway = await start(max_header_bytes=4096)
    engine = await engines()
    gateway.static(engine)
    let_in(gateway, a=A)
    bodies = set()
    for headers in (
        "",
        "Authorization:\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \t \r\n",
        f"Authorization: {A}\r\n",
        f"Authorization: Basic {A}\r\n",
        f"Authorization: Bearer {A} {A}\r\n",
        bearer(A) + bearer(A),  # of two nobody knows which one somebody else believes
        bearer(A) + bearer(B),
        f"x-api-key: {A}\r\nx-api-key: {A}\r\n",
        bearer(A[:-1]),
        bearer(A + "\xff"),
        bearer("ключ-0123456789abcdef"),
        bearer(A.upper()),
        bearer("x" * 3000),
    ):
        answer = await gateway.ask(chat(), headers=headers)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key"), headers[:60]
        bodies.add(answer.body)
    assert len(bodies) == 1
    assert engine.calls == []


async def test_a_key_of_a_mebibyte_is_refused_before_it_has_come(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    let_in(gateway, a=A)
    client = await gateway.client()
    begin = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
    await client.send(begin + b"x" * (1 << 20))
    assert (await client.answer()).status == 431
    assert await client.closed() == b""
    await until(lambda: not gateway.server.connections)
    assert engine.calls == []


async def test_a_key_that_is_taken_away_opens_nothing_on_a_connection_that_it_opened(gateway, engines):
    """The head of a request that came before is known by its bytes; whose it is, is asked each time."""
    engine = await engines()
    gateway.static(engine)
    let_in(gateway, a=A, b=B)
    client = await gateway.client()
    for _ in range(3):
        assert (await client.ask(request(chat(), headers=bearer(A)))).status == 200
    let_in(gateway, b=B)
    assert (await client.ask(request(chat(), headers=bearer(A)))).status == 401
    assert (await client.ask(request(chat(), headers=bearer(B)))).status == 200
    let_in(gateway, a=A)
    assert (await client.ask(request(chat(), headers=bearer(B)))).status == 401
    assert len(engine.calls) == 4


async def test_keys_right_and_wrong_are_in_no_log_no_metric_and_no_answer(gateway, engines, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    gateway.static(await engines())
    let_in(gateway, a={"key": CANARY, "requestsPerMinute": 2})
    file = tmp_path / "access.log"
    gateway.server.settings = replace(gateway.settings, access_log=str(file))
    told = []
    async with recording(gateway.server, "boot-1", {}):
        for headers, status in (
            (f"Authorization: Bearer {CANARY}\r\n", 200),
            (f"x-api-key: {CANARY}\r\n", 200),
            (f"Authorization: Bearer {CANARY}\r\n", 429),
            (f"Authorization: Bearer {CANARY}x\r\n", 401),
            (f"Authorization: Basic {CANARY}\r\n", 401),
            (f"Authorization: Bearer {CANARY}\x00\r\n", 400),
            (f"Authorization: Bearer {CANARY}\r\n folded\r\n", 400),
            (f"Authorization {CANARY}\r\n", 400),
            (f"Expect: {CANARY}\r\nAuthorization: Bearer {CANARY}\r\n", 417),
        ):
            answer = await gateway.ask(chat(), headers=headers)
            assert answer.status == status, headers
            told.append((answer.body, answer.headers))
        await until(lambda: file.read_text().count("\n") >= len(told))
    assert "requestsPerMinute of 2 are used up" in caplog.text, "nothing was logged at all"
    metrics = generate_latest(exposition(gateway.server, None)).decode()
    for text in (caplog.text, file.read_text(), metrics, str(told)):
        assert CANARY not in text


@pytest.mark.parametrize(
    "hostile",
    [
        "a b",
        "x" * 129,
        "x" * 10_000,
        "ä",
        '"},{"a":"',
        "",
        "\x85",
        "a\tb",
    ],
)
async def test_a_hostile_request_id_is_replaced_everywhere(gateway, engines, hostile):
    engine = await engines()
    gateway.static(engine)
    head = f"X-Request-Id: {hostile}\r\n".encode("latin-1")
    raw = request(chat()).replace(b"Host: gw\r\n", b"Host: gw\r\n" + head)
    client = await gateway.client()
    assert (await client.ask(raw)).status == 200
    refused = await client.ask(raw.replace(b'"llm"', b'"lem"'))
    ids = [line for line in engine.calls[0].lines if line.startswith("x-request-id:")]
    given = ids[0].partition(":")[2].strip()
    if hostile == '"},{"a":"':  # printable, and every log that has it quotes it
        assert (ids, refused.headers["x-request-id"]) == ([f"x-request-id: {hostile}"], hostile)
        return
    assert len(ids) == 1
    assert given
    assert hostile.lower() != given
    assert refused.headers["x-request-id"].startswith(given.rpartition("-")[0])


@pytest.mark.parametrize("header", ["X-Request-Id", "Traceparent", "Tracestate", "X-Session-Id", "Host"])
@pytest.mark.parametrize("text", ["a\nX-Admin: 1", "a\rX-Admin: 1", "a\r\n X-Admin: 1", "a\x00b", "a\x1bb"])
async def test_a_line_end_in_a_header_is_400_and_no_header_of_its_own(gateway, engines, header, text):
    engine = await engines()
    gateway.static(engine)
    answer = await gateway.ask(chat(), headers=f"{header}: {text}\r\n")
    assert answer.status == 400
    assert engine.calls == []


async def test_two_request_ids_are_one(gateway, engines):
    engine = await engines()
    gateway.static(engine)
    assert (await gateway.ask(chat(), headers="X-Request-Id: one\r\nx-request-ID: two\r\n")).status == 200
    assert sum(line.startswith("x-request-id:") for line in engine.calls[0].lines) == 1
