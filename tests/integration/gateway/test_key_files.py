"""Keys of the real process: a mounted Secret rotated under it, bad keys, and a gateway that is open."""

import asyncio
import json
import urllib.request

from tests.integration.gateway.harness import Client, free_port, request
from tests.unit.gateway.test_keys import Secret

OLD, NEW = "sk-the-old-key-000001", "sk-the-new-key-000002"


async def begin(run, tmp_path, **environment):
    (tmp_path / "fleets.yaml").write_text("fleets: [{name: llm, endpoints: []}]")
    admin = free_port()
    arguments = ("--static", str(tmp_path / "fleets.yaml"), "--listen", "127.0.0.1:0")
    process = await run("torpor-gateway", *arguments, "--admin", f"127.0.0.1:{admin}", **environment)
    port = int((await process.says(r"listening on 127.0.0.1:(\d+)", 30))[1])
    return process, port, admin


async def status(port, key):
    client = await Client.connect(port)
    answer = await client.ask(request(b"", "/v1/models", method="GET", headers=f"x-api-key: {key}\r\n"))
    client.leave()
    return answer.status


def get(port, path):
    def read():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()

    return asyncio.to_thread(read)


async def until_status(port, key, wanted):
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 60
    while (found := await status(port, key)) != wanted:
        assert loop.time() < deadline, found
        await asyncio.sleep(0.05)


async def test_a_rotated_secret_is_taken_without_a_restart(run, tmp_path):
    secret = Secret(tmp_path / "keys")
    secret.write(team=OLD)
    process, port, admin = await begin(run, tmp_path, TORPOR_API_KEYS=str(secret.root))
    assert (await status(port, OLD), await status(port, NEW)) == (200, 401)
    secret.write(team=json.dumps({"key": NEW}))
    await until_status(port, NEW, 200)
    assert await status(port, OLD) == 401
    await process.says("changed: team", 30)
    assert OLD not in process.log.read_text()
    assert NEW not in process.log.read_text()

    secret.write(team=f"{NEW}: [")  # a typing error
    await process.says("the last good ones stay", 30)
    assert await status(port, NEW) == 200
    assert await get(admin, "/readyz") == (200, "ok\n")
    _, metrics = await get(admin, "/metrics")
    assert "torpor_gateway_api_keys_stale 1.0" in metrics
    assert "torpor_gateway_api_keys 1.0" in metrics
    secret.write(other=OLD)
    await until_status(port, OLD, 200)
    assert await status(port, NEW) == 401
    assert NEW not in process.log.read_text()


async def test_keys_that_were_never_good_keep_the_gateway_from_starting(run, tmp_path):
    (tmp_path / "fleets.yaml").write_text("fleets: []")
    (tmp_path / "keys.yaml").write_text(f"keys: {{team: {{key: {NEW}, priority: high}}}}")
    arguments = ("--static", str(tmp_path / "fleets.yaml"), "--listen", "127.0.0.1:0")
    process = await run("torpor-gateway", *arguments, "--api-keys", str(tmp_path / "keys.yaml"))
    assert await process.end(60) == 2
    assert "team.priority: must be one of interactive, batch" in process.log.read_text()
    assert NEW not in process.log.read_text()


async def test_a_gateway_without_keys_says_that_it_is_open(run, tmp_path):
    process, _, admin = await begin(run, tmp_path)
    assert "WARNING torpor_gateway.process: no API keys: whoever reaches this" in process.log.read_text()
    assert "torpor_gateway_open 1.0" in (await get(admin, "/metrics"))[1]


async def test_hash_key_makes_what_the_gateway_takes(run, tmp_path):
    made = await run("torpor-gateway", "hash-key", "--new")
    assert await made.end(60) == 0
    text = made.log.read_text()
    key = text.partition("nowhere else: ")[2].split()[0]
    entry = "\n".join(line for line in text.splitlines() if line.startswith("sha256"))
    secret = Secret(tmp_path / "keys")
    secret.write(team=entry)
    _, port, _ = await begin(run, tmp_path, TORPOR_API_KEYS=str(secret.root))
    assert await status(port, key) == 200
