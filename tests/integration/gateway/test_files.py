"""A gateway that runs out of open files: it says so, spins for nobody, blames no pod, and recovers."""

import asyncio
import contextlib
import os
import re
import resource
from pathlib import Path

import httpx
import pytest
from torpor_gateway.files import OTHERS

from tests.integration.gateway.harness import PATIENCE_SECONDS, chat, request, until
from tests.integration.gateway.running import BIN
from tests.integration.gateway.scripted import json_answer
from tests.ports import free_port

TICKS = os.sysconf("SC_CLK_TCK")


class Site:
    """A gateway process with few files in front of one engine."""

    def __init__(self, running, port, admin):
        self.running, self.port, self.admin = running, port, admin
        self.pid = running.process.pid

    def exhaust(self):
        """Leave it no file: what it has it keeps."""
        used = {int(entry.name) for entry in Path(f"/proc/{self.pid}/fd").iterdir()}
        self.limit(min(set(range(len(used) + 1)) - used))

    def limit(self, files):
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (files, hard))

    def cpu(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def comes_to_rest(self):
        """Wait until it takes less than a tenth of a core: a loop that turns for nothing takes all of it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 2 * PATIENCE_SECONDS
        while loop.time() < deadline:
            began, before = loop.time(), self.cpu()
            await asyncio.sleep(1.0)
            if self.cpu() - before < 0.1 * (loop.time() - began):
                return
        pytest.fail("it does not come to rest")

    async def errors(self, reason):
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
            text = (await client.get(f"http://127.0.0.1:{self.admin}/metrics")).text
        found = re.findall(rf'^torpor_gateway_errors_total{{.*reason="{reason}"}} (\S+)$', text, re.MULTILINE)
        return sum(map(float, found))


@pytest.fixture
async def site(run, engines, tmp_path):
    async def begin(files):
        engine, port, admin = await engines(), free_port(), free_port()
        file = tmp_path / "fleets.yaml"
        file.write_text(f'fleets: [{{name: llm, endpoints: ["127.0.0.1:{engine.port}"]}}]')
        gateway = (
            f"ulimit -n {files}; exec {BIN}/torpor-gateway --static {file} "
            f"--listen 127.0.0.1:{port} --admin 127.0.0.1:{admin}"
        )
        running = await run("/bin/sh", "-c", gateway)
        await running.says("listening on")
        return Site(running, port, admin), engine

    return begin


async def heard(client):
    """Return the status that a client that asked nothing gets, 0 for none; None while it is welcome."""
    try:
        async with asyncio.timeout(0.05):
            await client.reader.read(1)
    except TimeoutError:
        return None
    except ConnectionError:
        return 0
    return 503


async def welcomes(connect, port):
    """Wait until it takes in a new client, and see it answered."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await heard(client := await connect(port)) is not None:
            pass
    assert (await client.ask(request(chat()))).status == 200


async def test_more_clients_than_files_are_told_503_or_cut_off_and_probes_go_on(site, connect):
    site, _ = await site(64)
    await site.running.says("at most 64 open files: the limit of connections is 32")
    clients = [await connect(site.port) for _ in range(100)]
    welcome, told = clients[:20], clients[32:]
    first = await told[0].answer()
    assert (first.status, first.error["code"]) == (503, "out_of_files")
    assert 2 <= int(first.headers["retry-after"]) <= 4
    for client in told[1:]:
        data = await client.closed()
        assert data == b"" or data.startswith(b"HTTP/1.1 503 ")
    await site.running.says("open files are used up")
    await site.comes_to_rest()
    assert await site.errors("out_of_files") == len(told), "and the metrics can be read meanwhile"
    for client in welcome:
        assert (await client.ask(request(chat()))).status == 200
    for client in clients:
        client.leave()
    await welcomes(connect, site.port)


async def test_when_the_system_has_no_file_left_it_waits_for_one_and_goes_on(site, connect):
    """Somebody else took them all: nothing that the gateway counted."""
    site, engine = await site(256)
    first, second = await connect(site.port), await connect(site.port)
    assert (await first.ask(request(chat()))).status == 200
    await until(lambda: engine.connections == 1)
    site.exhaust()
    await second.send(request(chat(stream=True)))
    await first.send(request(chat()))
    for _ in range(10):  # the loop may close them unheard; it must not end, nor turn for nothing
        with contextlib.suppress(OSError):
            (await connect(site.port)).writer.write(b"GET")
    await site.running.says("open files are used up")
    await site.comes_to_rest()
    site.limit(256)
    assert (await first.answer()).status == (await second.answer()).status == 200
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await site.errors("no_file_left") < 1:  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.05)
    await welcomes(connect, site.port)


async def test_who_finds_no_file_for_its_engine_waits_for_one_and_the_pod_is_not_blamed(gateway, engines):
    at_once = most = 0

    async def slow(call):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        await call.send(json_answer({}))

    fleet = gateway.static(await engines(slow))
    clients = [await gateway.client() for _ in range(40)]
    await until(lambda: gateway.registry.files.clients == 40)
    gateway.registry.files.limit = OTHERS + 40 + 3
    for client in clients:
        await client.send(request(chat()))
    for client in clients:
        assert (await client.answer()).status == 200
    assert most <= 3
    assert fleet.upstream_retries["out_of_files"] >= 1
    assert not fleet.upstream_retries["connection"]
    assert (fleet.completed, fleet.failed, fleet.refused) == (40, 0, 0)


async def test_connections_that_nobody_uses_make_room_for_others(gateway, engines):
    """Of another fleet's engine: else a fleet that rests would keep the files of one that works."""
    gateway.static(await engines(), name="resting")
    fleet = gateway.static(await engines())
    clients = [await gateway.client() for _ in range(3)]
    for client in clients:
        await client.send(request(chat(model="resting")))
    for client in clients:
        assert (await client.answer()).status == 200
    files = gateway.registry.files
    files.limit = OTHERS + files.clients + files.engines
    assert files.engines >= 1
    assert (await clients[0].ask(request(chat()))).status == 200
    assert fleet.completed == 1


async def test_kept_connections_of_clients_are_closed_where_others_are_turned_away(start, connect):
    gateway = await start(header_seconds=5.0)
    gateway.static()
    kept = [await connect(gateway.port) for _ in range(7)]
    for client in kept:
        assert (await client.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    fresh = await connect(gateway.port)
    await until(lambda: gateway.registry.files.clients == 8)
    gateway.registry.files.limit = OTHERS + 9  # the reserve is 4 of 33
    assert await heard(await connect(gateway.port)) in (0, 503)
    rounds = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await heard(late := await connect(gateway.port))) is not None:
            rounds += 1
    assert rounds >= 1, "they are kept for a second at least"
    assert (await late.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    assert any([await heard(client) is not None for client in kept])
    assert (await fresh.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200, (
        "it had not asked yet"
    )
