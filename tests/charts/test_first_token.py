"""The script of `helm test` against simulated engines: what is a success, and what it says about a failure."""

import asyncio
import sys
import time

import pytest

from tests.charts.rendering import CHART
from tests.integration.sim.process import address_of, launch

ENGINE = ("--model", "llm", "--listen", "127.0.0.1:0", "--profile", "instant")


async def run(url: str, model: str = "llm", seconds: float = 10) -> tuple[int, str]:
    """Run the script as its pod does; return exit status and output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", (CHART / "files" / "first_token.py").read_text(),
        env={"GATEWAY": url, "MODEL": model, "TIMEOUT_SECONDS": str(seconds)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_it_prints_the_answer() -> None:
    async with launch(*ENGINE) as engine:
        status, output = await run(await address_of(engine))
    assert status == 0, output
    assert output.startswith("llm slept, and answered after ")
    assert len(output.partition(" s: ")[2].split()) >= 4


FAULTS = {
    "cut-stream-after-tokens=3": "",
    "reset-before-head": "",
    "status=503": "503",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_answer_is_a_failed_test_that_says_why(fault: str) -> None:
    async with launch(*ENGINE, "--fault", fault) as engine:
        url = await address_of(engine)
        status, output = await run(url)
    assert status == 1
    assert output.startswith(f"{url}: {FAULTS[fault]}")
    assert "Traceback" not in output


async def test_a_model_that_stays_unknown_fails_after_a_while_and_not_at_once() -> None:
    async with launch(*ENGINE) as engine:
        url = await address_of(engine)
        start = time.monotonic()
        status, output = await run(url, "other")
    assert status == 1
    assert output.startswith(f"{url}: 404 ")
    assert time.monotonic() - start >= 5


async def test_silence_ends_at_the_time_limit() -> None:
    async with launch(*ENGINE, "--fault", "slow-first-token=60s") as engine:
        status, output = await run(await address_of(engine), seconds=1)
    assert status == 1
    assert "timed out" in output
