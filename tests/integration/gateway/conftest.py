"""A gateway in this process, on uvloop as in production, with engines and launchers that do as told."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import uvloop
from torpor_gateway.fleet import Fleet
from torpor_gateway.settings import Settings

from tests.integration.gateway.harness import Client, Gateway, Pod, until
from tests.integration.gateway.running import Running
from tests.integration.gateway.scripted import Engine, Launcher

NO_STATS: Mapping[str, object] = MappingProxyType({})


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """What production does once a second happens here as soon as a test can tell the difference."""
    monkeypatch.setattr("torpor_gateway.server.SWEEP_SECONDS", 0.1)
    monkeypatch.setattr("torpor_gateway.fleet.SUSPECT_SECONDS", 0.2)


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Gateway]]:
    """Start gateways with settings of one's own; all of them are closed in the end."""
    started: list[Gateway] = []

    async def begin(**settings: object) -> Gateway:
        gateway = Gateway(Settings(**settings))  # type: ignore[arg-type]
        await gateway.open()
        started.append(gateway)
        return gateway

    yield begin  # type: ignore[misc]
    for gateway in started:
        await gateway.close()


@pytest.fixture
async def gateway(start: Callable[..., Gateway]) -> Gateway:
    return await start(comment_seconds=0.1)  # type: ignore[misc]


@pytest.fixture
async def engines() -> AsyncIterator[Callable[..., Engine]]:
    started: list[Engine] = []

    async def begin(script: Callable[..., object] | None = None) -> Engine:
        engine = Engine(script)
        await engine.open()
        started.append(engine)
        return engine

    yield begin  # type: ignore[misc]
    for engine in started:
        await engine.close()


@pytest.fixture
async def launchers() -> AsyncIterator[Callable[..., Launcher]]:
    started: list[Launcher] = []

    async def begin() -> Launcher:
        launcher = Launcher()
        await launcher.open()
        started.append(launcher)
        return launcher

    yield begin  # type: ignore[misc]
    for launcher in started:
        await launcher.close()


@pytest.fixture
async def awake(
    gateway: Gateway, engines: Callable[..., Awaitable[Engine]], launchers: Callable[..., Awaitable[Launcher]]
) -> Callable[..., Awaitable[tuple[Fleet, Engine, Launcher]]]:
    """Start a managed fleet with one pod that is ready. Keywords are `stats` of the pod, and the policy."""

    async def begin(
        script: Callable[..., object] | None = None, stats: Mapping[str, object] = NO_STATS, **policy: object
    ) -> tuple[Fleet, Engine, Launcher]:
        engine, launcher = await engines(script), await launchers()
        launcher.ready(**stats)
        fleet = gateway.managed(**policy)  # type: ignore[arg-type]
        gateway.pods(fleet, (engine, launcher))
        await until(lambda: fleet.ready)
        return fleet, engine, launcher

    return begin


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[int], Awaitable[Client]]]:
    """Open connections that are closed in the end."""
    opened: list[Client] = []

    async def begin(port: int) -> Client:
        opened.append(await Client.connect(port))
        return opened[-1]

    yield begin
    for client in opened:
        client.leave()
    await asyncio.sleep(0)


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Start processes that are ended in the end."""
    running: list[Running] = []

    async def begin(program: str, *arguments: str, **environment: str) -> Running:
        log = tmp_path / f"{program}-{len(running)}.log"
        running.append(await Running.begin(log, program, *arguments, **environment))
        return running[-1]

    yield begin
    for item in running:
        if item.process.returncode is None:
            item.process.kill()
        await item.process.wait()


@pytest.fixture
async def pod(
    run: Callable[..., Awaitable[Running]], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[tuple[Running, Pod]]]]:
    """Start the launcher and the simulated engine as the pod's manifest does; return its ports at once."""
    ports = Pod()
    launchers: list[Running] = []
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()

    async def begin(*arguments: str) -> tuple[Running, Pod]:
        process = await run(
            "python",
            "-m",
            "torpor_engine",
            "run",
            "--",
            *arguments,
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            TORPOR_ENGINE_TYPE="Simulated",
            TORPOR_MODEL_URI=f"image://{tmp_path}",
            TORPOR_MODEL_NAMES="llm,ns/llm",
            TORPOR_FLEET_NAMESPACE="ns",
            TORPOR_FLEET_NAME="llm",
            TORPOR_FLEET_UID="uid-1",
            TORPOR_REVISION="r1",
            TORPOR_POD_NAME="llm-0",
            TORPOR_CACHE_DIR=str(tmp_path),
            TORPOR_DRAIN_SECONDS="20",
            TORPOR_ENGINE_PORT=str(ports.port),
            TORPOR_LAUNCHER_PORT=str(ports.launcher.port),
            TORPOR_LISTEN_HOST="127.0.0.1",
            TORPOR_TERMINATION_LOG=str(tmp_path / "termination-log"),
            HOME=str(tmp_path),
        )
        launchers.append(process)
        return process, ports

    yield begin
    for launcher in launchers:
        # Asked and not killed: its engine would outlive it. The second time it waits for nobody.
        for _ in range(2):
            if launcher.process.returncode is None:
                launcher.signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await launcher.end(10)
