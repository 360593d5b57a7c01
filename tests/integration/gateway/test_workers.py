"""Several real processes on one port: they count as one, are signalled as one, and one may die."""

import asyncio
import contextlib
import json
import os
import re
import signal

import pytest
from torpor.api.names import FleetKey
from torpor.cluster.demand import DemandStreams

from tests.integration.gateway.harness import Client, chat, free_port, request, until
from tests.integration.gateway.test_process import HELD, Site, engine

__all__ = ["engine"]

WORKERS = 3
KEY, UID = FleetKey("static", "llm"), "llm"
ARRIVALS = 'torpor_gateway_arrivals_total{name="llm",namespace="static"}'
UP = r"worker (\d) is up: pid (\d+), demand port (\d+)"
SECONDS = 30


class Crew(Site):
    """A gateway of several workers."""

    def workers(self) -> dict[int, tuple[int, int]]:
        """Return (pid, demand port) of each worker, by the last word about it."""
        said = re.findall(UP, self.gateway.log.read_text())
        return {int(index): (int(pid), int(port)) for index, pid, port in said}

    def demands(self) -> list[str]:
        return [f"127.0.0.1:{port}" for _, port in self.workers().values()]

    async def boot_id(self, index: int) -> str:
        client = await Client.connect(self.workers()[index][1])
        await client.send(b"GET /v1/demand HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.read_until(b"\r\n\r\n")
        hello = json.loads(await client.read_until(b"\n"))
        client.leave()
        return hello["bootId"]

    async def ask(self, count: int) -> None:
        """Send requests on connections of their own, so that the kernel spreads them."""
        for _ in range(count):
            client = await Client.connect(self.port)
            assert (await client.ask(request(chat(max_tokens=1)))).status == 200
            client.leave()

    async def ready(self) -> None:
        async with asyncio.timeout(SECONDS):
            while (await self.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)


@pytest.fixture
async def crew(run, tmp_path, engine) -> Crew:
    file, port, admin = tmp_path / "fleets.yaml", free_port(), free_port()
    crew = Crew(None, file, port, admin, engine)  # type: ignore[arg-type]
    crew.write(awake=True)
    arguments = ["--static", str(file), "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    arguments += ["--demand", "127.0.0.1:0", "--drain-delay-seconds", "0.2", "--workers", str(WORKERS)]
    crew.gateway = await run("torpor-gateway", *arguments)
    await crew.gateway.says("listening on .* with 3 workers", seconds=60)
    return crew


@contextlib.asynccontextmanager
async def operator(*targets: str):
    """The operator's end of the demand streams, once each worker has said where it stands."""
    async with DemandStreams(lambda key: None) as streams:
        streams.set_targets(targets)
        await until(lambda: all(KEY in view.fleets for view in streams._views.values()), seconds=SECONDS)
        yield streams


async def test_counts_of_all_workers_add_up(crew):
    async with operator(*crew.demands()) as streams:
        assert streams.fleet(KEY, UID).reporting == WORKERS
        await crew.ask(40)
        assert await crew.metric(ARRIVALS) == 40
        await until(lambda: streams.fleet(KEY, UID).arrivals == 40, seconds=SECONDS)
        tally = await until(
            lambda: (t := streams.fleet(KEY, UID).tally) and t.completed == 40 and t, seconds=SECONDS
        )
        assert tally.output_tokens == 40
        reports = [view.fleets.get(KEY) for view in streams._views.values()]
        assert len([report for report in reports if report and report.line["arrivals"]]) > 1, "not spread"
    assert await crew.metric("torpor_gateway_workers") == WORKERS
    page = (await crew.get("/metrics")).text
    assert len(set(re.findall(r'process_resident_memory_bytes\{worker="(\w+)"\}', page))) == WORKERS + 1
    assert len({await crew.boot_id(index) for index in range(WORKERS)}) == WORKERS


async def test_a_killed_worker_is_replaced_and_nothing_is_counted_twice(crew):
    async with operator(*crew.demands()) as streams:
        await crew.ask(30)
        await until(lambda: streams.fleet(KEY, UID).arrivals == 30, seconds=SECONDS)
        assert await crew.metric(ARRIVALS) == 30
        before, boot = crew.workers(), await crew.boot_id(1)
        os.kill(before[1][0], signal.SIGKILL)
        await crew.gateway.says("worker 1 ended with -9", seconds=SECONDS)
        await crew.ask(10)  # the others go on
        await until(lambda: crew.workers()[1] != before[1], seconds=SECONDS)
        await crew.ready()
        assert await crew.boot_id(1) != boot
        assert {index: crew.workers()[index] for index in (0, 2)} == {i: before[i] for i in (0, 2)}
        streams.set_targets(crew.demands())
        await crew.ask(30)
        assert await crew.metric(ARRIVALS) == 70
        await until(lambda: streams.fleet(KEY, UID).arrivals == 70, seconds=SECONDS)
        assert await crew.metric("torpor_gateway_worker_restarts_total") == 1


async def test_a_file_is_read_again_by_all_and_sigterm_drains_all(crew, connect):
    crew.write(awake=False)
    crew.gateway.signal(signal.SIGHUP)
    await crew.until_metric('torpor_gateway_routable_endpoints{name="llm",namespace="static"}', 0)
    held = [await connect(crew.port) for _ in range(12)]
    for client in held:
        await client.send(request(chat(stream=True, max_tokens=2)))
    await crew.until_metric(HELD, 12)
    crew.gateway.signal(signal.SIGTERM)
    for index in range(WORKERS):
        await crew.gateway.says(f"worker {index} .*draining", seconds=SECONDS)
    refused = await crew.get("/readyz")
    assert (refused.status_code, refused.text.startswith("worker 0")) == (503, True)
    assert crew.gateway.process.returncode is None, "it ended with requests in its hands"
    crew.write(awake=True)
    crew.gateway.signal(signal.SIGHUP)
    for client in held:
        answer = await client.answer()
        assert answer.ended
        assert answer.body.endswith(b"data: [DONE]\n\n")
    assert await crew.gateway.end(SECONDS) == 0


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_workers_do_not_outlive_their_supervisor(crew):
    pids = [pid for pid, _ in crew.workers().values()]
    crew.gateway.process.kill()
    await until(lambda: not any(map(runs, pids)), seconds=SECONDS)


async def test_what_keeps_one_from_starting_is_said_once(run, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("fleets: [{name: llm, maxConcurrency: 0}]")
    gateway = await run(
        "torpor-gateway", "--static", str(file), "--listen", "127.0.0.1:0", TORPOR_WORKERS="3"
    )
    assert await gateway.end(60) == 2
    assert gateway.log.read_text().count("fleets[0].maxConcurrency: 0: must be a whole number") == 1


async def test_a_port_that_another_gateway_has_is_refused(run, crew):
    gateway = await run(
        "torpor-gateway",
        "--static",
        str(crew.file),
        "--listen",
        f"127.0.0.1:{crew.port}",
        TORPOR_WORKERS="2",
    )
    assert await gateway.end(60) == 1
    assert "in use" in gateway.log.read_text()
