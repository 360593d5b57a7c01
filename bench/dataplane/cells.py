"""One measurement each: so many posts or streams through one gateway, and what it cost.

CPU is taken between two moments at which the load is steady, so connecting and the first tokens are outside.
A gateway that cannot keep up with the streams is measured on the tokens that it delivered.
"""

import asyncio
import itertools
import signal
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torpor_gateway.files import Files, raise_limit

from bench.dataplane import client, peers
from bench.dataplane.processes import Child, StartError, free_ports
from bench.dataplane.table import percentile

_BODIES = 64
_SETTLE_SECONDS = 0.5
_PATIENCE = 60.0
_CALM_SHARE = 0.1  # of a core


class Gateway:
    """A running gateway, or with `child` None the way to the engine without one."""

    def __init__(self, name: str, version: str, child: Child | None, port: int, admin: int = 0) -> None:
        self.name, self.version, self.child, self.port, self.admin = name, version, child, port, admin
        self.start_again: Callable[[], Child] | None = None
        self._operator: asyncio.Task[None] | None = None

    @property
    def cpu(self) -> float:
        """CPU seconds so far."""
        return self.child.cpu() if self.child else 0.0

    def listen_to_demand(self, port: int) -> None:
        """Be the operator: read the demand stream, as one does wherever the gateway runs."""
        self._operator = asyncio.get_running_loop().create_task(_read_demand(port))

    def metric(self, name: str) -> float:
        """Return one of our gateway's own metrics, summed over labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + "{", name + " "))
        )

    async def calm_down(self, seconds: float = 5.0) -> None:
        """Wait until what its clients left has ended; start it again if that takes longer than `seconds`.

        Some go on reading an engine's stream for nobody, for as long as it lasts, and the next row would pay.
        """
        deadline = time.monotonic() + seconds
        while self.child is not None and self.start_again is not None:
            before = self.cpu
            await asyncio.sleep(_SETTLE_SECONDS)
            if self.cpu - before < _CALM_SHARE * _SETTLE_SECONDS:
                return
            if time.monotonic() > deadline:
                self.child.end()
                self.child = self.start_again()
                await check(self)
                return

    def end(self) -> None:
        """Stop it."""
        if self._operator is not None:
            self._operator.cancel()
        if self.child is not None:
            self.child.end()


async def _read_demand(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/demand HTTP/1.1\r\nHost: bench\r\n\r\n")
    while await reader.read(65536):
        pass


def start(name: str, engines: tuple[int, ...], folder: Path) -> Gateway:
    """Start a gateway of `peers.STARTS`. Raises InstallError, StartError."""
    place = _place(name, engines, folder)
    found = peers.STARTS[name](place)
    gateway = _launch(name, found, place)
    if name == peers.OURS:
        gateway.listen_to_demand(place.others[0])
    return gateway


def start_ours(engines: tuple[int, ...], folder: Path, *flags: str, **fleet: object) -> Gateway:
    """Start our gateway with flags and fields of its fleet of its own. Raises StartError."""
    place = _place(peers.OURS, engines, folder)
    gateway = _launch(peers.OURS, peers.torpor(place, *flags, **fleet), place)
    gateway.listen_to_demand(place.others[0])
    return gateway


def _place(name: str, engines: tuple[int, ...], folder: Path) -> peers.Place:
    port, *others = free_ports(3)
    own = folder / f"{name.replace(' ', '-')}-{port}"
    own.mkdir(parents=True)
    return peers.Place(port, engines, (others[0], others[1]), own)


def _launch(name: str, found: peers.Start, place: peers.Place) -> Gateway:
    def launch() -> Child:
        child = Child(found.command, place.folder / "log", found.environment)
        try:
            child.wait_for_port(place.port)
        except BaseException:
            child.end()
            raise
        return child

    gateway = Gateway(name, found.version, launch(), place.port, place.others[1])
    gateway.start_again = launch
    return gateway


def start_engines(folder: Path, rate: float, count: int = 2) -> tuple[Child, tuple[int, ...]]:
    """Start the upstream. Raises StartError."""
    ports = tuple(free_ports(count))
    command = (sys.executable, "-m", "bench.dataplane.upstream", "--rate", str(rate), *map(str, ports))
    child = Child(command, folder / f"upstream-{ports[0]}.log")
    try:
        child.wait_for_port(ports[0])
    except BaseException:
        child.end()
        raise
    return child, ports


def endless(port: int, *, stream: bool, tokens: int = 64) -> Callable[[], bytes]:
    """Return a source of requests that never ends."""
    made = [client.request(port, client.body(n, stream=stream, tokens=tokens)) for n in range(_BODIES)]
    turns = itertools.cycle(made)
    return lambda: next(turns)


def once(port: int, count: int, *, stream: bool, tokens: int = 64) -> Callable[[], bytes | None]:
    """Return a source of `count` requests."""
    source, left = endless(port, stream=stream, tokens=tokens), itertools.count(1)
    return lambda: source() if next(left) <= count else None


async def until(what: Callable[[], bool], seconds: float, told: str) -> None:
    """Wait until `what()` holds. Raises StartError with `told`."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise StartError(told)
        await asyncio.sleep(0.02)


async def check(gateway: Gateway) -> None:
    """See that the gateway answers a post and a stream at all, before it is measured. Raises StartError."""
    deadline = time.monotonic() + _PATIENCE
    for stream in (False, True):
        while True:
            load = client.Load()
            source = once(gateway.port, 1, stream=stream, tokens=5)
            opened = await client.connect(load, gateway.port, 1, source)
            told = f"does not finish {'a stream' if stream else 'a post'}"
            await until(lambda load=load: bool(load.done + load.failed), _PATIENCE, told)  # type: ignore[misc]
            client.close(opened)
            if load.done and (not stream or load.tokens == 5):
                break
            if time.monotonic() > deadline:  # some listen before they know their engines
                raise StartError(f"{told}: it answered {load.statuses or 'nothing'} and {load.tokens} tokens")
            await asyncio.sleep(0.5)


async def unary(gateway: Gateway, seconds: float, connections: int = 32) -> dict[str, Any]:
    """Posts in a closed loop on `connections` connections."""
    load = client.Load()
    opened = await client.connect(load, gateway.port, connections, endless(gateway.port, stream=False))
    await asyncio.sleep(_SETTLE_SECONDS)
    done, cpu, began = load.done, gateway.cpu, time.monotonic()
    await asyncio.sleep(seconds)
    done, cpu, took = load.done - done, gateway.cpu - cpu, time.monotonic() - began
    client.close(opened)
    return {
        "requests": done,
        "failed": load.failed,
        "cpu_us": cpu / done * 1e6 if done and gateway.child else None,
        "per_second": done / took,
    }


async def streams(gateway: Gateway, count: int, seconds: float, rate: float) -> dict[str, Any]:
    """`count` streams at once, each `rate` tokens a second."""
    load = client.Load()
    tokens = int(rate * (seconds + 2 * _PATIENCE))
    source = endless(gateway.port, stream=True, tokens=tokens)
    opened = await client.connect(load, gateway.port, count, source, spread=1.0)
    await until(lambda: load.begun >= count or load.failed > 0, _PATIENCE, f"did not begin {count} streams")
    await asyncio.sleep(_SETTLE_SECONDS)
    load.timing = True
    got, cpu, began = load.tokens, gateway.cpu, time.monotonic()
    await asyncio.sleep(seconds)
    got, cpu, took = load.tokens - got, gateway.cpu - cpu, time.monotonic() - began
    load.timing = False
    client.close(opened)
    await asyncio.sleep(_SETTLE_SECONDS)
    return {
        "tokens": got,
        "failed": load.failed,
        "cpu_us": cpu / got * 1e6 if got and gateway.child else None,
        "delivered": got / (count * rate * took),
        "gap_p50_ms": percentile(load.gaps, 50),
        "gap_p99_ms": percentile(load.gaps, 99),
        "way_p50_ms": percentile(load.ways, 50),
        "way_p99_ms": percentile(load.ways, 99),
    }


async def many(folder: Path, count: int, seconds: float, rate: float) -> dict[str, Any]:
    """`count` streams through our gateway for `seconds`: which break, and what they keep in memory."""
    upstream, engines = start_engines(folder, rate)
    gateway = None
    try:
        gateway = start_ours(engines, folder)
        assert gateway.child is not None
        await check(gateway)
        await asyncio.sleep(1.0)
        before = gateway.child.resident()
        load, tokens = client.Load(), int(rate * seconds)
        source = once(gateway.port, count, stream=True, tokens=tokens)
        opened = await client.connect(load, gateway.port, count, source, spread=2.0)
        await until(
            lambda: load.begun >= count or load.failed > 0, _PATIENCE, f"did not begin {count} streams"
        )
        samples, cpu, got = [], gateway.cpu, load.tokens
        deadline = time.monotonic() + seconds + _PATIENCE
        while load.done + load.failed < count and time.monotonic() < deadline:
            if not load.done:  # once one has ended there are fewer
                samples.append(gateway.child.resident())
            await asyncio.sleep(1.0)
        cpu, got = gateway.cpu - cpu, load.tokens - got
        broken = count - load.done
        client.close(opened)
        half = samples[len(samples) // 2 :] or samples
        return {
            "streams": count,
            "seconds": seconds,
            "rate": rate,
            "broken": broken,
            "tokens": load.tokens,
            "tokens_missing": count * tokens - load.tokens,
            "cpu_us": cpu / got * 1e6 if got else None,
            "kib_per_stream": (max(samples) - before) / count / 1024,
            "grew_kib_per_stream_in_second_half": (half[-1] - half[0]) / count / 1024,
        }
    finally:
        if gateway is not None:
            gateway.end()
        upstream.end()


async def hold(folder: Path, count: int, refused: int) -> dict[str, Any]:
    """Hold `count` requests of a sleeping fleet and refuse `refused` more; wake it and see all answered."""
    files, possible = Files(raise_limit()), count + refused
    if files.bound(possible) < possible:
        raise StartError(
            f"--held {count}: {possible} connections need more than {files.limit} open files (ulimit -Hn)"
        )
    upstream, engines = start_engines(folder, 50)
    gateway = None
    try:
        limits = {"response": "Hold", "maxHeldRequests": count, "maxHeldMebibytes": 1024}
        gateway = start_ours(
            (), folder, "--max-connections", str(2 * (count + refused)), maxQueueSeconds=600, coldStart=limits
        )
        assert gateway.child is not None
        await until(
            lambda: gateway.metric("torpor_gateway_fleets") == 1, _PATIENCE, "does not know its fleet"
        )
        await asyncio.sleep(1.0)
        before, load = gateway.child.resident(), client.Load()
        source = once(gateway.port, count + refused, stream=False)
        opened = await client.connect(load, gateway.port, count, source)
        await until(
            lambda: gateway.metric("torpor_gateway_held_requests") >= count,
            _PATIENCE,
            "does not hold them all",
        )
        held = gateway.child.resident()
        opened += await client.connect(load, gateway.port, refused, source)
        await until(lambda: load.done + load.failed >= refused, _PATIENCE, "does not refuse what is too much")
        turned_away = dict(load.statuses)
        path = gateway.child.log.parent / "fleets.yaml"
        path.write_text(peers.fleet(engines, maxConcurrency=256, coldStart=limits, maxQueueSeconds=600))
        gateway.child.signal(signal.SIGHUP)
        await until(
            lambda: load.done + load.failed >= count + refused, 2 * _PATIENCE, "does not answer what it held"
        )
        statuses = dict(sorted(load.statuses.items()))
        client.close(opened)
        return {
            "held": count,
            "too_many": refused,
            "refused": {str(status): number for status, number in turned_away.items()},
            "statuses": {str(status): number for status, number in statuses.items()},
            "unanswered": count + refused - load.done - load.failed,
            "kib_each_beyond_the_body": ((held - before) / count - client.BODY_BYTES) / 1024,
        }
    finally:
        if gateway is not None:
            gateway.end()
        upstream.end()
