"""Starting, stopping and failing on command."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from tests.integration.sim.process import DEADLINE, Engine, engine, launch
from tests.ports import free_port

SLOW = ("--step-ms", "20,0,0,0")
MODEL = ("--model", "llm", "--listen", "127.0.0.1:0")


async def refused(sim: Engine) -> None:
    """Wait until connections are refused."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await sim.client.get("/health")
            except httpx.ConnectError:
                return
            except httpx.TransportError:
                continue  # it was let in and then cut off: the port is closing


async def test_without_a_shutdown_timeout_streams_are_cut_at_once() -> None:
    async with engine(*SLOW, "--max-num-seqs", "1") as sim:
        running = sim.complete(max_tokens=5000, stream=True)
        await sim.until("vllm:num_requests_running", 1)
        queued = sim.complete(max_tokens=5000, stream=True)
        await sim.until("vllm:num_requests_waiting", 1)
        sim.terminate()
        cut = await asyncio.wait_for(running, DEADLINE)
        assert '"finish_reason":"abort"' in cut.text
        silent = (await asyncio.wait_for(queued, DEADLINE)).text
        assert silent == "data: [DONE]\n\n"
        assert await sim.process.exit_code() == 0


async def test_a_drain_finishes_what_runs_and_waits_and_refuses_what_is_new() -> None:
    async with engine(*SLOW, "--max-num-seqs", "2", "--shutdown-timeout", "60") as sim:
        endless = sim.complete(max_tokens=5000, stream=True)  # the drain lasts until its client leaves
        await sim.until("vllm:num_requests_running", 1)
        running, queued = (sim.complete(max_tokens=60, stream=True) for _ in range(2))
        await sim.until("vllm:num_requests_waiting", 1)
        sim.terminate()
        await sim.process.says("(stopping: drain)")
        late = await sim.complete(stream=True, max_tokens=1)
        assert late.status_code == 500
        assert late.json()["error"]["message"] == "cannot schedule new futures after shutdown"
        assert (await sim.client.get("/health")).status_code == 200
        for answer in await asyncio.gather(running, queued):
            assert '"finish_reason":"length"' in answer.text
        assert not endless.done()
        endless.cancel()
        assert await sim.process.exit_code() == 0


async def test_a_drain_ends_when_its_time_is_up() -> None:
    async with engine(*SLOW, "--shutdown-timeout", "200ms") as sim:
        running = sim.complete(max_tokens=5000, stream=True)
        await sim.until("vllm:num_requests_running", 1)
        sim.terminate()
        assert '"abort"' in (await asyncio.wait_for(running, DEADLINE)).text
        assert await sim.process.exit_code() == 0


async def test_hang_at_stop_keeps_connections_open_in_silence() -> None:
    async with engine(*SLOW, "--fault", "hang-at-stop") as sim:
        running = sim.complete(max_tokens=5000, stream=True)
        await sim.until("vllm:num_requests_running", 1)
        sim.terminate()
        await refused(sim)
        assert not running.done()
        assert sim.process.child.returncode is None
        running.cancel()
        assert await sim.process.exit_code() == 0


async def test_the_port_is_closed_until_loaded() -> None:
    address = f"127.0.0.1:{free_port()}"
    async with launch(*MODEL[:2], "--listen", address, "--startup-seconds", "1h") as process:
        await process.says("(loading)")
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(trust_env=False, verify=False) as client:
                await client.get(f"http://{address}/health")
        process.child.send_signal(signal.SIGTERM)
        assert await process.exit_code() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--fault", "exit-at-start=7,message=no such model"), 7, "no such model"),
        (("--fault", "oom-at-start"), 1, "torch.OutOfMemoryError"),
        (("--fault", "oom-at-start=host"), -9, "loading"),
        (("--max-model-len", "4096", "--kv-tokens", "1024"), 1, "does not fit"),
        (("--no-such-flag",), 2, "unrecognized arguments: --no-such-flag"),
        (("--fault", "meteor"), 2, "unknown; there are exit-at-start"),
    ],
)
async def test_failures_at_start(arguments: tuple[str, ...], code: int, words: str) -> None:
    async with launch(*MODEL, *arguments) as process:
        assert await process.exit_code() == code
        assert words in process.text()


async def test_crashes_by_count_and_by_time() -> None:
    async with engine("--fault", "crash-at-request=3,code=9") as sim:
        for _ in range(2):
            assert (await sim.complete(max_tokens=1)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await sim.complete(max_tokens=1)
        assert await sim.process.exit_code() == 9
    async with launch(*MODEL, env={"TORPOR_SIM_FAULTS": "crash-after=10ms,code=3"}) as process:
        await process.says("(serving)")
        assert await process.exit_code() == 3


async def test_faults_of_every_second_request() -> None:
    faults = ("--fault", "status=503,every=2,times=1", "--fault", "reset-before-head,every=3,times=1")
    async with engine("--profile", "instant", *faults) as sim:
        seen: list[int | str] = []
        for _ in range(6):
            try:
                seen.append((await sim.complete(max_tokens=1)).status_code)
            except httpx.TransportError as error:
                seen.append(type(error).__name__)
        assert seen == [200, 503, "ReadError", 200, 200, 200]


async def test_a_cut_stream_has_no_end() -> None:
    async with engine("--profile", "instant", "--fault", "cut-stream-after-tokens=5") as sim:
        with pytest.raises(httpx.RemoteProtocolError):
            await sim.complete(max_tokens=50, stream=True)
        await sim.until("vllm:num_requests_running", 0)
        assert await sim.gauge("vllm:generation_tokens_total") < 10


async def test_metrics_can_lie() -> None:
    async with engine(
        "--fault", "kv=90", "--fault", "waiting=7", "--hide-metric", "num_requests_running"
    ) as sim:
        assert await sim.gauge("vllm:kv_cache_usage_perc") == 0.9
        assert await sim.gauge("vllm:num_requests_waiting") == 7
        with pytest.raises(KeyError):
            await sim.gauge("vllm:num_requests_running")
    async with engine("--fault", "nan-metrics", "--metrics-generation", "old") as sim:
        value = await sim.gauge("vllm:gpu_cache_usage_perc")
        assert value != value  # noqa: PLR0124 - NaN
    async with engine("--profile", "instant", "--fault", "freeze-metrics-after=0s") as sim:
        before = (await sim.client.get("/metrics")).text
        await sim.complete()
        assert (await sim.client.get("/metrics")).text == before


async def test_a_stalled_engine_is_silent_but_healthy() -> None:
    async with engine("--fault", "stall-after=0s") as sim:
        task = sim.complete()
        await sim.until("vllm:num_requests_waiting", 1)
        assert (await sim.client.get("/health")).status_code == 200
        assert not task.done()
        task.cancel()
