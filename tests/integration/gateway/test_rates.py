"""`torpor status --live`: a real gateway process, read by the command line through a real API server's proxy.

The API server has no nodes here, so the pod of the gateway is written down by hand, with an address of this
machine at which the process listens.
"""

import asyncio
import contextlib
import json
import signal

import httpx
import pytest
from torpor.api import constants as c
from torpor.cli import live
from torpor.cli.app import app
from typer.testing import CliRunner

from tests.integration.gateway.harness import free_port
from tests.integration.gateway.scripted import json_answer
from tests.integration.gateway.test_cluster import World

TOKENS, REQUESTS = 7, 5


async def answer(call):
    await call.send(json_answer({"usage": {"prompt_tokens": 3, "completion_tokens": TOKENS}}))


@pytest.fixture
async def servers():
    """What is closed in the end, whatever happens before."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def world(servers, kube, namespace, kubeconfig, run, tmp_path, monkeypatch):  # noqa: PLR0917 - fixtures
    world = World(kube, namespace, None, free_port(), free_port())
    for server in (world.engine, world.launcher):
        await server.open(host="0.0.0.0")
        servers.push_async_callback(server.close)
    (tmp_path / "token").write_text("secret")
    world.process = await run(
        "torpor-gateway",
        *("--listen", f"127.0.0.1:{world.port}", "--demand", f"127.0.0.1:{free_port()}"),
        *("--admin", f"0.0.0.0:{world.admin}", "--watch-namespaces", namespace),
        KUBECONFIG=str(kubeconfig),
        TORPOR_DEMAND_TOKEN_FILE=str(tmp_path / "token"),
        TORPOR_POD_NAME="gw-0",
    )
    await world.process.says("listening on")
    await world.until_metric("torpor_gateway_synced", 1)
    labels = {c.LABEL_PART_OF: c.PART_OF, c.LABEL_COMPONENT_NAME: c.GATEWAY_COMPONENT}
    pods = f"/api/v1/namespaces/{namespace}/pods"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gw-0", "labels": labels},
        "spec": {"containers": [{"name": "gateway", "image": "none"}], "automountServiceAccountToken": False},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    kube.http.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account)
    made = kube.http.post(pods, json=manifest)
    assert made.status_code == 201, made.text
    status = {"phase": "Running", "podIP": world.address, "podIPs": [{"ip": world.address}]}
    done = kube.merge(f"{pods}/gw-0/status", {"status": status})
    assert done.status_code == 200, done.text
    monkeypatch.setattr(c, "ADMIN_PORT", world.admin)
    return world


async def torpor(*arguments):
    """Run a command in a thread: the scripted engine lives in this loop."""
    result = await asyncio.to_thread(CliRunner().invoke, app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


async def test_tokens_per_second_are_the_gateways_own(world, namespace, kube, kubeconfig, monkeypatch):
    path = world.fleet()
    world.engine.script = answer
    world.slice()
    world.launcher.ready()
    await world.until_metric("torpor_gateway_routable_endpoints", 1)
    signals = [{"name": "queueDepth", "value": "3"}, {"name": "kvCacheUtilization", "value": "42"}]
    decision = {"mode": "Auto", "desiredReplicas": 1, "reason": "Steady", "time": "2026-11-22T08:00:00Z"}
    told = kube.merge(f"{path}/status", {"status": {"decision": decision | {"signals": signals}}})
    assert told.status_code == 200, told.text
    readings, read = [], live.read

    async def kept(cluster):
        readings.append(await read(cluster))
        return readings[-1]

    async def meanwhile(_):
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=60) as client:
            for _ in range(REQUESTS):
                body = {"model": "llm", "messages": [{"role": "user", "content": "hello"}]}
                done = await client.post(f"http://127.0.0.1:{world.port}/v1/chat/completions", json=body)
                assert done.status_code == 200, done.text

    monkeypatch.setattr(live, "read", kept)
    monkeypatch.setattr("torpor.cli.status.pause", meanwhile)
    done = await torpor("status", "--live", "-n", namespace, "-o", "json", "--kubeconfig", kubeconfig)
    assert done.exit_code == 0, done.output
    (line,) = json.loads(done.stdout)["fleets"]
    before, after = readings
    place = ("gw-0", (namespace, "llm"))
    assert after.tokens[place] - before.tokens.get(place, 0.0) == REQUESTS * TOKENS
    assert (line["queuePerReplica"], line["kvPercent"]) == (3.0, 42.0)
    # A process that has counted nothing yet has no such sample, and a rate is a difference of two.
    readings.clear()
    done = await torpor("status", "--live", "-n", namespace, "-o", "json", "--kubeconfig", kubeconfig)
    (line,) = json.loads(done.stdout)["fleets"]
    before, after = readings
    assert line["outputTokensPerSecond"] == pytest.approx(REQUESTS * TOKENS / (after.at - before.at))
    world.process.signal(signal.SIGKILL)
    await world.process.end()
    done = await torpor("status", "--live", "-n", namespace, "--kubeconfig", kubeconfig)
    assert (done.exit_code, "note: no tokens per second: " in done.stderr) == (0, True), done.output
    assert "42%" in done.stdout
