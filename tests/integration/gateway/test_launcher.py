"""With the real launcher and the simulated engine under it: the word of the pod's own process is enough."""

import os
import sys
from pathlib import Path

import pytest

from tests.integration.gateway.harness import chat, free_port, request, until
from tests.integration.gateway.scripted import DONE


class Pod:
    """An engine pod as far as a gateway can tell: two ports."""

    def __init__(self, port: int, launcher_port: int) -> None:
        self.port, self.launcher_port = port, launcher_port


@pytest.fixture
async def pod(run, tmp_path: Path):
    """Start the launcher as the pod's manifest does; return its ports at once."""
    engine, launcher = free_port(), free_port()
    bin_folder = Path(sys.executable).parent
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()

    async def begin(*arguments: str):
        process = await run(
            "python",
            "-m",
            "torpor_engine",
            "run",
            "--",
            *arguments,
            PATH=f"{bin_folder}:{os.environ['PATH']}",
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
            TORPOR_ENGINE_PORT=str(engine),
            TORPOR_LAUNCHER_PORT=str(launcher),
            TORPOR_LISTEN_HOST="127.0.0.1",
            TORPOR_TERMINATION_LOG=str(tmp_path / "termination-log"),
            HOME=str(tmp_path),
        )
        return process, Pod(engine, launcher)

    return begin


class Address:
    """What the harness asks of a launcher: its port."""

    def __init__(self, port: int) -> None:
        self.port = port


async def test_held_requests_go_out_on_the_launchers_word_and_its_drain_is_heard(gateway, pod):
    process, ports = await pod("--max-num-seqs=2")
    fleet = gateway.managed(queue_depth_target=1)
    gateway.pods(fleet, (ports.port, Address(ports.launcher_port)))
    clients = [await gateway.client() for _ in range(6)]
    for client in clients:
        await client.send(request(chat(stream=True, max_tokens=8)))
    await until(lambda: len(fleet.line) == 6)
    await until(lambda: fleet.ready, seconds=30)
    for client in clients:
        assert (await client.answer()).body.endswith(DONE)
    endpoint = fleet.ready[0]
    assert endpoint.matched
    assert endpoint.pod == "llm-0"
    assert endpoint.load_state.max_num_seqs == 2
    assert fleet.output_tokens >= 6 * 7
    last = await gateway.client()
    await last.send(request(chat(stream=True, max_tokens=200)))
    await last.read_until(b"data:")
    process.process.terminate()
    await until(lambda: not fleet.ready, seconds=10)
    assert (await last.read_until(DONE)).endswith(DONE), "the drain cut a stream"
    assert fleet.failed == 0
