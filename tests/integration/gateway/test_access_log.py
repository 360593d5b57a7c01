"""The access log: what each request leaves in it, what never gets in, and that nobody waits for it."""

import asyncio
import contextlib
import json
import os
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from torpor_gateway import accesslog
from torpor_gateway.accesslog import AccessLog
from torpor_gateway.gate import ApiKey
from torpor_gateway.keys import digest
from torpor_gateway.recording import recording
from torpor_gateway.settings import SettingsError

from tests.integration.gateway.harness import chat, request, until
from tests.integration.gateway.scripted import DONE, SSE_HEAD, TOKEN, chunk, json_answer

ROOT = Path(__file__).parents[3]


class Log:
    """The log of a gateway, read as it grows."""

    def __init__(self, file: Path) -> None:
        self.file = file

    async def lines(self, count: int) -> list[dict]:
        """Return all lines, once there are so many."""
        text = await until(lambda: (t := self.file.read_text()).count("\n") >= count and t)
        found = [json.loads(line) for line in text.splitlines()]
        assert len(found) == count
        return found


@pytest.fixture
async def log(gateway, tmp_path):
    file = tmp_path / "access.log"
    gateway.server.settings = replace(gateway.settings, access_log=str(file))
    async with recording(gateway.server, "boot-1", {}):
        yield Log(file)


def documented() -> set[str]:
    page = (ROOT / "docs/reference/tracing.md").read_text()
    section = page.partition("## The access log\n")[2].partition("\n## ")[0]
    return {
        name
        for cell in re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }


async def test_a_line_for_each_request_and_no_word_of_its_content(gateway, awake, log):
    async def stream(call):
        if b"left" in call.body:
            await call.send(SSE_HEAD + chunk(TOKEN))
            await call.until_left()
            return
        await asyncio.sleep(0.02)
        usage = b'data: {"usage": {"prompt_tokens": 11, "completion_tokens": 2}}\n\n'
        await call.send(SSE_HEAD + chunk(TOKEN) + chunk(TOKEN) + chunk(usage) + chunk(DONE) + b"0\r\n\r\n")

    secret = "SECRET-WORD"
    key = ApiKey("team-a", (digest(b"SECRET-KEY"),))
    gateway.server.gate.replace([key])
    before = datetime.now(UTC)
    fleet, engine, _ = await awake(stream)
    headers = "authorization: Bearer SECRET-KEY\r\nx-request-id: my-id\r\nx-note: SECRET-WORD\r\n"
    answer = await gateway.ask(chat(stream=True, user=secret), headers=headers)
    assert answer.status == 200
    (first,) = await log.lines(1)
    assert first["key"] == "team-a"
    assert (first["request_id"], first["client"], first["method"]) == ("my-id", "127.0.0.1", "POST")
    assert (first["path"], first["status"], "reason" in first) == ("/v1/chat/completions", 200, False)
    assert (first["namespace"], first["fleet"], first["model"], first["pod"]) == ("ns", "llm", "llm", "llm-0")
    assert (first["stream"], first["attempts"]) == (True, 1)
    assert (first["prompt_tokens"], first["output_tokens"]) == (11, 2)
    assert first["request_bytes"] > 80
    assert 0.01 <= first["time_to_first_token_seconds"] <= first["duration_seconds"]
    assert (first["hold_seconds"], first["queue_seconds"]) == (0, 0)
    assert before <= datetime.fromisoformat(first["time"]) <= datetime.now(UTC)

    # Each ends in another way.
    async def bad(call):
        await call.send(json_answer({"error": {"message": secret}}, status=400))

    client = await gateway.client()
    await client.send(request(chat(stream=True, left=True), headers=headers))
    await client.read_until(b"hi")
    client.leave()
    assert (await log.lines(2))[-1].items() >= {"status": 499, "reason": "ClientGone"}.items()
    engine.script = bad
    assert (await gateway.ask(chat(user=secret), headers=headers)).status == 400
    assert (await gateway.ask(chat(model=secret), headers=headers)).status == 404
    assert (await gateway.ask(chat(user=secret))).status == 401
    ask = "/v1/models?key=SECRET-KEY"
    client = await gateway.client()
    answer = await client.ask(request(b"", path=ask, method="GET", headers=headers))
    assert answer.status == 200
    assert (await gateway.ask(b"", path="/nowhere", headers=headers)).status == 404
    await client.ask(request(b"", path="/v1/models", method="OPTIONS", headers=headers))
    await client.send(b"bad\r\n\r\n")
    assert (await client.answer()).status == 400
    lines = await log.lines(9)
    told = [(line.get("path"), line["status"], line.get("reason")) for line in lines[2:]]
    assert told == [
        ("/v1/chat/completions", 400, None),
        ("/v1/chat/completions", 404, "model_not_found"),
        ("/v1/chat/completions", 401, "invalid_api_key"),
        ("/v1/models", 200, None),
        ("/nowhere", 404, "not_found"),
        ("/v1/models", 204, None),
        (None, 400, "bad_request"),
    ]
    assert "SECRET" not in log.file.read_text()
    assert "hello" not in log.file.read_text()
    assert fleet.arrivals == 3


async def test_waits_and_traces_are_in_it_and_every_field_is_documented(
    gateway, engines, launchers, tmp_path
):
    file = tmp_path / "access.log"
    gateway.server.settings = replace(gateway.settings, access_log=str(file))
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_off"}
    engine, launcher = await engines(), await launchers()
    fleet = gateway.managed()
    gateway.pods(fleet, (engine, launcher))
    async with recording(gateway.server, "boot-1", environ):
        client = await gateway.waiting(fleet, chat(stream=True))
        await asyncio.sleep(0.03)
        launcher.ready()
        assert (await client.answer()).status == 200
        (line,) = await Log(file).lines(1)
    assert 0.02 <= line["hold_seconds"] <= line["time_to_first_token_seconds"]
    assert line["queue_seconds"] == 0
    (told,) = (text for text in engine.calls[0].lines if text.startswith("traceparent:"))
    assert line["trace_id"] in told
    assert line.keys() | {"reason", "key"} == documented()


async def test_a_reader_that_stands_still_costs_lines_and_no_request(gateway, awake, monkeypatch):
    """A pipe that nobody reads: requests go on, lines are lost and counted, and it recovers."""
    monkeypatch.setattr(accesslog, "_MAX_BYTES", 100_000)
    monkeypatch.setattr(accesslog, "_GATHER_SECONDS", 0.001)
    reading, writing = os.pipe()
    gateway.server.settings = replace(gateway.settings, access_log=f"/dev/fd/{writing}")
    await awake()
    async with recording(gateway.server, "boot-1", {}):
        log = gateway.server.recorder.access_log
        client = await gateway.client()

        async def ask(count: int) -> None:
            for _ in range(count):
                assert (await client.ask(request(chat()))).status == 200

        asked = 0
        while not log.lost:  # the pipe's 64 KiB, then those of the process
            assert asked < 2_000
            await ask(50)
            asked += 50
        os.set_blocking(reading, False)
        got = b""

        def drained() -> bool:
            nonlocal got
            with contextlib.suppress(BlockingIOError):
                got += os.read(reading, 1 << 20)
            return log.written + log.lost == asked and got.count(b"\n") == log.written

        await until(drained)
        lost = log.lost
        await ask(3)
        asked += 3
        await until(drained)
        assert log.lost == lost, "a log that is read again loses nothing"
        assert all(json.loads(line)["status"] == 200 for line in got.splitlines())
    os.close(reading)
    os.close(writing)


async def test_lines_that_cannot_be_written_are_lost_and_it_is_said(tmp_path, caplog):
    log = AccessLog("/dev/full")
    log.write(b"{}\n")
    log.write(b"{}\n")
    await until(lambda: log.lost == 2)
    assert log.written == 0
    assert "the access log cannot be written" in caplog.text
    await log.close()


async def test_a_file_that_cannot_be_opened_is_said_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match=r"access-log=.*must be - or a file"):
        AccessLog(str(tmp_path))


async def test_the_end_waits_for_the_last_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(accesslog, "_GATHER_SECONDS", 3600.0)
    log = AccessLog(str(tmp_path / "log"))
    log.write(b'{"a":1}\n')
    await log.close()
    assert (tmp_path / "log").read_bytes() == b'{"a":1}\n'
    assert (log.written, log.lost) == (1, 0)


def test_pieces_are_whole_lines_that_a_pipe_takes_at_once():
    lines = [b"x" * size + b"\n" for size in (10, 4000, 200, 5000, 4095, 1, 1)]
    joined = accesslog.pieces(lines)
    assert b"".join(joined) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in joined)
    assert [len(piece) for piece in joined] == [4012, 201, 5001, 4096, 4]
    assert accesslog.pieces([]) == []
