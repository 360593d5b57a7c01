"""What the fuzz tests of tests/unit/gateway say of the protocols, said again of a process on real sockets.

Hundreds of clients at once speak HTTP as the grammar draws it, cut into writes anywhere. The process lives,
every connection ends, others are served meanwhile, engines get nothing that a second parser (h11) does not
find in what was sent, and no more often; and what bodies took of memory is given back. `make fuzz` sends
other examples, and ten times as many.
"""

import asyncio
import contextlib
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.gateway.harness import PATIENCE_SECONDS, Client, chat, request, until
from tests.ports import free_port
from tests.unit.gateway.grammar import EXAMPLES, cut, numbers, reference, streams

FUZZ = bool(os.environ.get("TORPOR_FUZZ"))
STREAMS = 3000 if FUZZ else 300
AT_ONCE = 320  # each waits for its connection's deadlines, so the fewer rounds the shorter
SHORT = {
    "header-seconds": 2,
    "idle-seconds": 1,
    "body-grace-seconds": 1,
    "min-body-bytes-per-second": 100_000,
    "linger-seconds": 1,
    "max-body-bytes": 4096,
    "max-header-bytes": 2048,
    "max-headers": 12,
}
MEBIBYTE = 1 << 20


def drawn(count):
    """Return `count` times (bytes of a connection, the places where they are cut), the same in each run."""
    found = [(data, [len(data) // 2]) for data in EXAMPLES]
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

    @settings(
        max_examples=count, derandomize=not FUZZ, database=None, deadline=None, suppress_health_check=slow
    )
    @given(streams(), st.lists(numbers, max_size=4))
    def collect(data, places):
        found.append((data, places))

    collect()
    return found


@pytest.fixture
async def site(run, engines, tmp_path):
    """Start a gateway process; return (the process, its port, its engine)."""

    async def begin(**flags):
        engine, port = await engines(), free_port()
        file = tmp_path / "fleets.yaml"
        file.write_text(f'fleets: [{{name: llm, endpoints: ["127.0.0.1:{engine.port}"]}}, {{name: asleep}}]')
        options = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        arguments = ("--static", str(file), "--listen", f"127.0.0.1:{port}", *options)
        running = await run("torpor-gateway", *arguments)
        await running.says("listening on")
        return running, port, engine

    return begin


async def speak(port, data, places):
    """Send, and read until the gateway closes; return what came."""
    client = await Client.connect(port)
    with contextlib.suppress(ConnectionError):
        for piece in cut(data, places):
            await client.send(piece)
            await asyncio.sleep(0)
    said = await client.closed(120)
    client.leave()
    return said


def memory(running):
    """Return the bytes of a process that are in memory."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[1]) << 10


async def healthy(port):
    """Ask until it is answered, return how often: a slow machine may miss deadlines as short as these."""
    asked = 0
    async with asyncio.timeout(4 * PATIENCE_SECONDS):
        while True:
            client = await Client.connect(port)
            asked += 1
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                if (await client.ask(request(chat()))).status == 200:
                    client.leave()
                    return asked
            client.leave()


@pytest.mark.timeout(3600 if FUZZ else 300)
async def test_no_crowd_gets_more_to_an_engine_than_it_sent_and_the_process_lives(site):
    sent = drawn(STREAMS)
    running, port, engine = await site(**SHORT)
    served = 0
    for first in range(0, len(sent), AT_ONCE):
        speaking = [speak(port, data, places) for data, places in sent[first : first + AT_ONCE]]
        said, asked = await asyncio.gather(asyncio.gather(*speaking), healthy(port))
        served += asked
        assert all(answer.startswith(b"HTTP/1.1 ") or not answer for answer in said)
    assert running.process.returncode is None, running.log.read_text()
    assert "Traceback" not in running.log.read_text()
    allowed = Counter(
        (target.removeprefix(b"http://a").partition(b"#")[0], body)
        for data, _ in sent
        for method, target, body in reference(data)
        if method == b"POST"
    )
    mine = request(chat()).partition(b"\r\n\r\n")[2]
    allowed[b"/v1/chat/completions", mine] += served
    got = Counter((call.head.split(b" ")[1], call.body) for call in engine.calls)
    assert got.total() > served, "nothing of the crowd reached the engine"
    assert not got - allowed, "an engine got what nobody sent, or got it twice"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("left", ["in the body", "while held", "after the answer"])
async def test_what_bodies_took_of_memory_is_given_back(site, left):
    """Waves of 10 MB: what the first ones take may stay with the process, but not that of each."""
    running, port, _ = await site()
    model = b"asleep" if left == "while held" else b"llm"
    body = b'{"model":"%b","stream":true,"prompt":"%b"}' % (model, b"x" * 256 * 1024)
    data = request(body)

    async def one():
        client = await Client.connect(port)
        if left == "in the body":
            await client.send(data[:-10])
            client.writer.close()  # in order, so that all of it has come
            await client.closed()
            return
        await client.send(data)
        if left == "while held":
            await client.read_until(b": waking")
        else:
            assert (await client.answer()).ended
        client.leave()

    async def wave():
        await asyncio.gather(*(one() for _ in range(40)))
        await healthy(port)

    await wave()
    await wave()
    base = memory(running)
    for _ in range(8):
        await wave()
    await until(lambda: memory(running) < base + 30 * MEBIBYTE)
    assert running.process.returncode is None
