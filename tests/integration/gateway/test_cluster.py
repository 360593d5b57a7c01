"""The real process against a real API server: fleets and slices by watch, and life without the API server."""

import asyncio
import json
import re
import socket
from pathlib import Path

import httpx
import pytest
import yaml

from tests.integration.gateway.harness import CHAT, PATIENCE_SECONDS, chat, free_port, request, until
from tests.integration.gateway.scripted import DONE, Engine, Launcher, Server

SLICES = "/apis/discovery.k8s.io/v1"


def own_address() -> str:
    """Return an address of this machine that an EndpointSlice may carry; loopback may not be in one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(sock.getsockname()[0])


class Wire(Server):
    """A TCP proxy in front of the API server; closing it cuts the wire."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._to = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._to)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(copy(reader, other_writer))
                await copy(other_reader, writer)
                raise ConnectionResetError
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            other_writer.transport.abort()


class World:
    """One namespace, one gateway process that serves it, one engine with its launcher."""

    def __init__(self, kube, namespace, wire, port, admin):
        self.kube, self.namespace, self.wire, self.port, self.admin = kube, namespace, wire, port, admin
        self.engine, self.launcher = Engine(), Launcher()
        self.launcher.beat_seconds = 1.0  # a process takes its time to notice that its API server is gone
        self.address = own_address()

    def fleet(self, name="llm", **spec):
        manifest = {
            "apiVersion": "serving.torpor.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "model": {"uri": "hf://org/model"},
                "engine": {"type": "Simulated"},
                "scaling": {"maxReplicas": 4},
            }
            | spec,
        }
        answer = self.kube.create(manifest)
        assert answer.status_code == 201, answer.text
        self.launcher.stats |= {
            "fleetUid": answer.json()["metadata"]["uid"],
            "models": [name, f"{self.namespace}/{name}"],
            "namespace": self.namespace,
            "name": name,
        }
        return self.kube.path(manifest)

    def slice(self, name="llm", pod="llm-0", **conditions):
        collection = f"{SLICES}/namespaces/{self.namespace}/endpointslices"
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {
                "name": f"{name}-engines-1",
                "labels": {
                    "kubernetes.io/service-name": f"{name}-engines",
                    "serving.torpor.dev/inferenceservice": name,
                },
            },
            "ports": [
                {"name": "engine", "port": self.engine.port},
                {"name": "launcher", "port": self.launcher.port},
            ],
            "endpoints": [
                {
                    "addresses": [self.address],
                    "conditions": {"ready": False} | conditions,
                    "targetRef": {"kind": "Pod", "name": pod, "namespace": self.namespace, "uid": pod},
                }
            ],
        }
        path = f"{collection}/{manifest['metadata']['name']}"
        answer = self.kube.http.patch(
            path,
            params={"fieldManager": "test", "force": "true"},
            content=yaml.safe_dump(manifest).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        assert answer.status_code in (200, 201), answer.text
        return path

    async def metric(self, name):
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
            text = (await client.get(f"http://127.0.0.1:{self.admin}/metrics")).text
        found = re.search(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    async def until_metric(self, name, value):
        async with asyncio.timeout(60):
            while await self.metric(name) != value:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.02)


def copy_config(control_plane, to: Path, port: int) -> None:
    text = Path(control_plane.kubeconfig).read_text()
    to.write_text(text.replace(f":{control_plane.port}", f":{port}"))


@pytest.fixture
async def world(kube, namespace, control_plane, run, tmp_path: Path):
    wire = Wire(control_plane.port)
    await wire.open()
    config = tmp_path / "kubeconfig"
    copy_config(control_plane, config, wire.port)
    token = tmp_path / "token"
    token.write_text("secret")
    world = World(kube, namespace, wire, free_port(), free_port())
    await world.engine.open(host="0.0.0.0")
    await world.launcher.open(host="0.0.0.0")
    world.demand = free_port()
    gateway = await run(
        "torpor-gateway",
        "--listen",
        f"127.0.0.1:{world.port}",
        "--admin",
        f"127.0.0.1:{world.admin}",
        "--demand",
        f"127.0.0.1:{world.demand}",
        "--watch-namespaces",
        namespace,
        "--comment-seconds",
        "0.2",
        KUBECONFIG=str(config),
        TORPOR_DEMAND_TOKEN_FILE=str(token),
        TORPOR_POD_NAME="gw-0",
    )
    await gateway.says("listening on")
    await world.until_metric("torpor_gateway_synced", 1)
    yield world
    await world.engine.close()
    await world.launcher.close()
    await wire.close()


async def test_a_fleet_is_created_held_for_woken_and_deleted(world, connect):
    path = world.fleet()
    await world.until_metric("torpor_gateway_fleets", 1)
    client = await connect(world.port)
    await client.send(request(chat(stream=True)))
    await client.read_until(b": waking")
    world.slice()
    await until(lambda: world.launcher.streams)
    world.launcher.ready()
    await client.read_until(DONE)
    other = await connect(world.port)
    host = f"llm.{world.namespace}.svc.cluster.local"
    assert (await other.ask(request({"messages": []}, host=host))).status == 200
    world.slice(terminating=True)
    await world.until_metric("torpor_gateway_routable_endpoints", 0)
    assert world.kube.http.delete(path).status_code == 200
    await world.until_metric("torpor_gateway_fleets", 0)
    assert (await other.ask(request(chat()))).status == 404


async def test_without_the_api_server_it_goes_on_with_what_it_knew(world, connect):
    world.fleet()
    world.slice()
    world.launcher.ready()
    await world.until_metric("torpor_gateway_routable_endpoints", 1)
    await world.wire.close()
    await world.until_metric("torpor_gateway_synced", 0)
    client = await connect(world.port)
    assert (await client.ask(request(chat()))).status == 200
    assert (await client.ask(request(b"", path="/readyz", method="GET"))).status == 200
    world.fleet(name="later")
    await world.wire.open(world.wire.port)
    await world.until_metric("torpor_gateway_fleets", 2)
    await world.until_metric("torpor_gateway_synced", 1)


async def test_the_scale_and_the_limits_of_the_object_are_followed(world, connect):
    path = world.fleet(scaling={"maxReplicas": 4, "replicas": 0})
    await world.until_metric("torpor_gateway_fleets", 1)
    client = await connect(world.port)
    assert (await client.ask(request(chat()))).error["code"] == "ScaledToZeroExternally"
    world.kube.merge(
        path, {"spec": {"scaling": {"replicas": None}, "traffic": {"coldStart": {"response": "Reject"}}}}
    )

    async with asyncio.timeout(PATIENCE_SECONDS):
        while (answer := await client.ask(request(chat()))).error["code"] != "Waking":
            pass
    assert answer.status == 503


async def test_the_operator_hears_of_the_first_held_request(world, connect):
    world.fleet()
    await world.until_metric("torpor_gateway_fleets", 1)
    operator = await connect(world.demand)
    await operator.send(b"GET /v1/demand HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n\r\n")
    assert (await operator.head()).status == 200
    hello = json.loads(await operator.read_until(b"\n"))
    assert hello["gateway"] == "gw-0"
    client = await connect(world.port)
    await client.send(request(chat(), path=CHAT))
    while (line := json.loads(await operator.read_until(b"\n")))["type"] != "fleet":
        pass
    assert (line["namespace"], line["name"], line["held"]["count"]) == (world.namespace, "llm", 1)
