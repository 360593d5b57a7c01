"""The real process against the real simulated engine: curl, the openai client, SIGHUP, SIGTERM."""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.gateway.harness import PATIENCE_SECONDS, chat, free_port, request, until
from tests.integration.gateway.running import Running

BIN = Path(sys.executable).parent


class Site:
    """A gateway process with a file, and one simulated engine."""

    def __init__(self, gateway: Running, file: Path, port: int, admin: int, engine: int) -> None:
        self.gateway, self.file, self.port, self.admin, self.engine = gateway, file, port, admin, engine

    def write(self, *, awake: bool, extra: str = "") -> None:
        endpoints = f'["127.0.0.1:{self.engine}"]' if awake else "[]"
        self.file.write_text(f"fleets: [{{name: llm, endpoints: {endpoints}{extra}}}]\n")

    async def reload(self, *, awake: bool) -> None:
        before = self.gateway.log.read_text().count("read again")
        self.write(awake=awake)
        self.gateway.signal(signal.SIGHUP)
        await until(lambda: self.gateway.log.read_text().count("read again") > before)

    async def get(self, path: str, port: int | None = None) -> httpx.Response:
        async with httpx.AsyncClient(
            trust_env=False, verify=False, timeout=PATIENCE_SECONDS
        ) as client:  # no trust store to load each time
            return await client.get(f"http://127.0.0.1:{port or self.admin}{path}")

    async def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", (await self.get("/metrics")).text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def until_metric(self, name: str, value: float) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.metric(name) != value:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.01)

    @property
    def openai(self) -> openai.AsyncOpenAI:
        http = httpx.AsyncClient(trust_env=False, verify=False)
        return openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, http_client=http
        )


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[int]:
    """One simulated engine for all tests here; return its port."""
    log = tmp_path_factory.mktemp("engine") / "log"
    command = [BIN / "torpor-sim", "--listen", "127.0.0.1:0", "--model", "llm"]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + 60
            while not (told := re.search(r"on http://127\.0\.0\.1:(\d+)\s", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield int(told[1])
        finally:
            process.kill()


@pytest.fixture
async def site(run, tmp_path, engine) -> Site:
    file, port, admin = tmp_path / "fleets.yaml", free_port(), free_port()
    site = Site(None, file, port, admin, engine)  # type: ignore[arg-type]
    site.write(awake=True)
    site.gateway = await run(
        "torpor-gateway",
        "--static",
        str(file),
        "--listen",
        f"127.0.0.1:{port}",
        "--admin",
        f"127.0.0.1:{admin}",
        "--comment-seconds",
        "0.2",
        "--drain-delay-seconds",
        "4",
    )
    await site.gateway.says("listening on")
    return site


HELD = 'torpor_gateway_held_requests{name="llm",namespace="static"}'


async def test_the_openai_client_gets_tokens(site):
    async with site.openai as client:
        answer = await client.chat.completions.create(
            model="llm", messages=[{"role": "user", "content": "hi"}], max_tokens=4
        )
        assert answer.choices[0].message.content
        assert [model.id async for model in client.models.list()] == ["llm"]
        stream = await client.chat.completions.create(
            model="llm", messages=[{"role": "user", "content": "hi"}], max_tokens=4, stream=True
        )
        assert "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="other", messages=[])
    assert (
        await site.metric('torpor_gateway_requests_total{code="200",name="llm",namespace="static",reason=""}')
        == 2
    )
    assert await site.metric('torpor_gateway_tokens_total{kind="output",name="llm",namespace="static"}') >= 8


async def test_the_openai_client_is_held_and_woken(site):
    await site.reload(awake=False)
    async with site.openai as client:

        async def stream() -> str:
            parts = await client.chat.completions.create(
                model="llm", messages=[{"role": "user", "content": "hi"}], max_tokens=4, stream=True
            )
            return "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])

        async def unary() -> str:
            answer = await client.chat.completions.create(
                model="llm", messages=[{"role": "user", "content": "hi"}]
            )
            return answer.choices[0].message.content

        held = asyncio.gather(stream(), unary())
        await site.until_metric(HELD, 2)
        await asyncio.sleep(0.3)  # some comments go by
        await site.reload(awake=True)
        assert all(await held)


async def test_the_openai_client_hears_of_a_failed_hold(site):
    site.write(awake=False, extra=", coldStart: {holdSeconds: 0.5, unaryHoldSeconds: 0.5}")
    site.gateway.signal(signal.SIGHUP)
    async with site.openai as client:
        await site.until_metric('torpor_gateway_routable_endpoints{name="llm",namespace="static"}', 0)
        stream = await client.chat.completions.create(model="llm", messages=[], stream=True)
        with pytest.raises(openai.APIError, match="did not wake"):
            [part async for part in stream]
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model="llm", messages=[])
        assert failed.value.status_code == 503
        assert failed.value.response.headers["retry-after"]


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed: apt-get install curl")
async def test_curl_sees_comments_then_tokens(site):
    await site.reload(awake=False)
    curl = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--no-buffer",
        "--noproxy",
        "*",
        f"http://127.0.0.1:{site.port}/v1/chat/completions",
        "--header",
        "Content-Type: application/json",
        "--data",
        json.dumps(chat(stream=True, max_tokens=3)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert curl.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await curl.stdout.readuntil(b"\n\n") == b": waking static/llm\n\n"
        await site.reload(awake=True)
        out = await curl.stdout.read()
    assert await curl.wait() == 0
    assert out.endswith(b"data: [DONE]\n\n")


async def test_a_bad_file_changes_nothing(site):
    site.file.write_text("fleets: [{name: llm, endpoints: [nowhere]}]")
    site.gateway.signal(signal.SIGHUP)
    await site.gateway.says(
        r"the last good one stays: fleets\[0\]\.endpoints\[0\]: 'nowhere': must be HOST:PORT"
    )
    async with site.openai as client:
        assert await client.chat.completions.create(model="llm", messages=[{"role": "user", "content": "hi"}])


async def test_a_bad_file_at_the_start_is_an_exit_code(run, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("fleets: [{name: llm, maxConcurrency: 0}]")
    gateway = await run("torpor-gateway", "--static", str(file), "--listen", "127.0.0.1:0")
    assert await gateway.end() == 2
    assert "fleets[0].maxConcurrency: 0: must be a whole number from 1" in gateway.log.read_text()


async def test_sigterm_holds_and_streams_on_and_ends_when_nothing_is_left(site, connect):
    await site.reload(awake=False)
    held, idle = await connect(site.port), await connect(site.port)
    await idle.ask(request(b"", path="/healthz", method="GET"))
    await held.send(request(chat(stream=True, max_tokens=3)))
    await site.until_metric(HELD, 1)
    assert (await site.get("/readyz")).status_code == 200
    site.gateway.signal(signal.SIGTERM)
    await site.gateway.says("draining: 1 requests")
    # First what only holds for the seconds of the delay: whoever comes now is still let in.
    late = await (await connect(site.port)).ask(request(b"", path="/readyz", method="GET"))
    assert late.status == 503
    assert (await site.get("/readyz")).status_code == 503
    assert await idle.closed() == b""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                (await connect(site.port)).leave()
            except ConnectionRefusedError:
                break
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert site.gateway.process.returncode is None, "it ended with a request in its hands"
    assert await site.metric(HELD) == 1
    await site.reload(awake=True)
    answer = await held.answer()
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert answer.ended
    assert await site.gateway.end() == 0


async def test_the_grace_limit_answers_what_is_left(run, connect, tmp_path):
    file, port, admin = tmp_path / "fleets.yaml", free_port(), free_port()
    file.write_text("fleets: [{name: llm}]")
    gateway = await run(
        "torpor-gateway",
        "--static",
        str(file),
        "--listen",
        f"127.0.0.1:{port}",
        "--admin",
        f"127.0.0.1:{admin}",
        "--grace-seconds",
        "1",
        TORPOR_DRAIN_DELAY_SECONDS="0.1",
    )
    await gateway.says("listening on")
    client = await connect(port)
    await client.send(request(chat()))
    await Site(gateway, file, port, admin, 0).until_metric(HELD, 1)
    gateway.signal(signal.SIGTERM)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (503, "GatewayStopping")
    assert answer.headers["retry-after"]
    assert await gateway.end() == 0


async def test_it_is_small(site):
    async with site.openai as client:
        for _ in range(20):
            await client.chat.completions.create(
                model="llm", messages=[{"role": "user", "content": "hi"}], max_tokens=2
            )
    assert await site.metric("process_resident_memory_bytes") < 60 << 20
    assert (await site.get("/healthz")).text == "ok\n"
