"""The script of `helm test` against simulated engines: what is a success, and what it says of a failure."""

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator

import pytest

from tests.charts.rendering import CHART

ENGINE = ("--model", "llm", "--listen", "127.0.0.1:0", "--profile", "instant")


@contextlib.asynccontextmanager
async def engine(*arguments: str) -> AsyncIterator[str]:
    """Run a simulated engine; yields its address, which it prints when its port is open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "torpor_sim", *ENGINE, *arguments, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            said = b""
            while not (match := re.search(rb"on (http://\S+)\s", said)):
                line = await process.stderr.readline()
                assert line, said
                said += line
        yield match[1].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def run(url: str, model: str = "llm", seconds: float = 60, **more: str) -> tuple[int, str]:
    """Run the script as its pod does; return exit status and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", (CHART / "files" / "first_token.py").read_text(),
        env={"GATEWAY": url, "MODEL": model, "TIMEOUT_SECONDS": str(seconds)} | more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_it_prints_the_answer() -> None:
    async with engine() as url:
        status, output = await run(url)
    assert status == 0, output
    assert output.startswith("llm slept, and answered after ")
    assert len(output.partition(" s: ")[2].split()) >= 4


async def test_it_asks_with_its_key_where_it_has_one() -> None:
    async with engine("--api-key", "sk-of-the-test-000001") as url:
        status, output = await run(url)
        assert status == 1
        assert ": 401 " in output
        status, output = await run(url, API_KEY="sk-of-the-test-000001")
    assert status == 0, output


FAULTS = {
    "cut-stream-after-tokens=3": "",
    "reset-before-head": "",
    "status=503": "503",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_answer_is_a_failed_test_that_says_why(fault: str) -> None:
    async with engine("--fault", fault) as url:
        status, output = await run(url)
    assert status == 1
    assert output.startswith(f"{url}: {FAULTS[fault]}")
    assert "Traceback" not in output


async def test_a_model_that_stays_unknown_fails_after_a_while_and_not_at_once() -> None:
    async with engine() as url:
        start = time.monotonic()
        status, output = await run(url, "other")
    assert status == 1
    assert output.startswith(f"{url}: 404 ")
    assert time.monotonic() - start >= 5


async def test_silence_ends_at_the_time_limit() -> None:
    async with engine("--fault", "slow-first-token=60s") as url:
        status, output = await run(url, seconds=1)
    assert status == 1
    assert "timed out" in output
