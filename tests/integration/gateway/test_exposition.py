"""/metrics of a real gateway that was asked everything: all that is documented is there, and it adds up.

The process has keys, an access log and a collector of traces that is not there; behind it stand simulated
engines that answer, cut their streams, reset connections, fail, and never come to an end.
"""

import asyncio
import json
from collections import Counter

import httpx
import pytest

from tests.authority import Authority
from tests.exposition import GATEWAY, Exposition, documented
from tests.integration.gateway.harness import PATIENCE_SECONDS, chat, request
from tests.ports import free_port
from tests.unit.gateway.test_keys import Secret

TEAM, HASTY = "sk-of-a-team-0123456789abcdef", "sk-of-the-hasty-0123456789abcdef"
KEYS = {"keys": {"team": {"key": TEAM}, "hasty": {"key": HASTY, "requestsPerMinute": 1}}}
# Of several processes only, and gone while there is one.
OF_SEVERAL = {"torpor_gateway_workers", "torpor_gateway_worker_restarts_total"}
REFUSALS = ["invalid_api_key", "model_not_found", "not_found", "rate_limit_exceeded", "QueueFull", "Waking"]
LISTENS = r"on http://(127\.0\.0\.1:\d+)\s"
ENGINES = {
    "whole": ("--served-model-name", "whole", "resets"),
    "cuts": ("--fault=cut-stream-after-tokens=2,every=1",),
    "resets": ("--fault=reset-before-head,every=1",),
    "fails": ("--fault=status=500,every=1",),
    "stalls": ("--fault=stall-after=0s",),
}


def bearer(key):
    return f"Authorization: Bearer {key}\r\n"


class Door:
    """A gateway process with all that it can measure turned on, and simulated engines behind it."""

    def __init__(self, process, port, admin, log):
        self.process, self.port, self.admin, self.log = process, port, admin, log

    async def scrape(self):
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=PATIENCE_SECONDS) as client:
            answer = await client.get(f"http://127.0.0.1:{self.admin}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return Exposition(answer.text)

    async def until(self, series, value, **labels):
        """Wait until a sum is so large, and return the scrape in which it was."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (page := await self.scrape()).sum(series, **labels) < value:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return page

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
async def door(run, tmp_path):
    """Start one with arguments of its own, and the engines that a test needs."""

    async def begin(*arguments, engines=tuple(ENGINES)):
        started = {
            name: await run("torpor-sim", "--listen", "127.0.0.1:0", "--model", name, *ENGINES[name])
            for name in engines
        }
        at = {name: (await engine.says(LISTENS))[1] for name, engine in started.items()}
        special = {
            "whole": {"maxConcurrency": 1},
            "resets": {"endpoints": [at[name] for name in ("resets", "whole") if name in at]},
            "stalls": {"maxConcurrency": 1, "maxQueueSeconds": 0.1},
        }
        fleets = [
            *({"name": name, "endpoints": [at[name]]} | special.get(name, {}) for name in engines),
            {"name": "shut", "endpoints": [], "coldStart": {"response": "Reject"}},
            {"name": "held", "endpoints": [], "coldStart": {"holdSeconds": 0.2, "unaryHoldSeconds": 0.2}},
        ]
        file, keys, log = (tmp_path / name for name in ("fleets.yaml", "keys.yaml", "access.log"))
        certificate = tmp_path / "certificate"
        Secret(certificate).write(**Authority().issue().entries)
        file.write_text(json.dumps({"fleets": fleets}))  # JSON is YAML
        keys.write_text(json.dumps(KEYS))
        admin = free_port()
        process = await run(
            "torpor-gateway",
            *("--static", str(file), "--listen", "127.0.0.1:0", "--admin", f"127.0.0.1:{admin}"),
            *("--api-keys", str(keys), "--access-log", str(log), *arguments),
            *("--tls-listen", "127.0.0.1:0", "--tls-folder", str(certificate)),
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",  # nobody listens there
            OTEL_BSP_SCHEDULE_DELAY="20",
            OTEL_BSP_MAX_QUEUE_SIZE="8",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
        )
        port = int((await process.says(r"listening on 127\.0\.0\.1:(\d+)[ ,](?!with TLS)"))[1])
        return Door(process, port, admin, log)

    return begin


async def test_everything_documented_is_served_and_adds_up(door, connect):
    door = await door()

    async def ask(model, status, *, key=TEAM, headers="", path="/v1/chat/completions", **more):
        client = await connect(door.port)
        body = chat(model=model, max_tokens=4, **more)
        answer = await client.ask(request(body, path, headers=bearer(key) + headers))
        assert answer.status == status, answer.body
        return answer

    # What is answered.
    await ask("whole", 200)
    answer = await ask("whole", 200, stream=True)
    assert answer.body.endswith(b"data: [DONE]\n\n")
    await asyncio.gather(*(ask("whole", 200, stream=True) for _ in range(3)))
    await ask("whole", 200, headers="x-stainless-retry-count: 1\r\n")
    await ask("whole", 200, key=HASTY)
    retried = 0
    while not (await door.scrape()).sum("torpor_gateway_upstream_retries_total"):
        assert retried < 50, "none of them went to the pod that resets its connections"
        await ask("resets", 200, user=f"user {retried}")
        retried += 1
    # What is refused, by the gateway and by an engine.
    await ask("whole", 401, key="sk-nobody-has-this-key")
    await ask("none-of-these", 404)
    await ask("whole", 404, path="/v1/nonsense")
    await ask("whole", 429, key=HASTY)
    await ask("shut", 503)
    await ask("held", 503)
    await ask("fails", 500)
    # What ends before its end: by its engine, and by its client.
    assert not (await ask("cuts", 200, stream=True)).body.endswith(b"data: [DONE]\n\n")
    stuck = await connect(door.port)
    await stuck.send(request(chat(model="stalls"), headers=bearer(TEAM)))
    page = await door.until("torpor_gateway_in_flight_requests", 1, name="stalls")
    assert page.sum("torpor_gateway_key_requests_under_way", key="team") == 1
    await ask("stalls", 429)
    stuck.leave()
    await door.until("torpor_gateway_requests_total", 1, code="499")
    page = await door.until("torpor_gateway_access_log_lines_total", 17 + retried, result="written")

    assert page.metrics() == {
        name: metric for name, metric in documented(GATEWAY).items() if name not in OF_SEVERAL
    }
    page.checked_by_promtool()
    page.histograms_are_sound()
    requests, fleets = "torpor_gateway_requests_total", set(page.by("torpor_gateway_arrivals_total", "name"))
    assert fleets == {*ENGINES, "shut", "held"}
    codes = {name: page.by(requests, "code", name=name) for name in fleets}
    assert codes == {
        "whole": {"200": 7},
        "resets": {"200": retried},
        "fails": {"500": 1},
        "cuts": {"200": 1},
        "stalls": {"429": 1, "499": 1},
        "shut": {"503": 1},
        "held": {"503": 1},
    }
    for name in fleets:
        arrived = page.sum("torpor_gateway_arrivals_total", name=name)
        again = page.sum("torpor_gateway_client_retries_total", name=name)
        assert page.sum(requests, name=name) == arrived + again, name
    assert page.by("torpor_gateway_client_retries_total", "name") == {"whole": 1}
    reasons = page.by(requests, "reason")
    assert reasons == {"": 8 + retried, "EngineGone": 1, "ClientGone": 1, "QueueFull": 1, "Waking": 2}
    assert page.by("torpor_gateway_cut_answers_total", "cause") == {"engine": 1}
    assert page.by("torpor_gateway_upstream_retries_total", "name").keys() == {"resets"}
    lines = door.lines()
    told = Counter(line["reason"] for line in lines if "reason" in line)
    passed_on = Counter(EngineGone=1, ClientGone=1)  # no answers of the gateway's own
    assert page.by("torpor_gateway_errors_total", "reason") == told - passed_on
    assert (told - passed_on).keys() == set(REFUSALS)
    # Who asked.
    assert page.by("torpor_gateway_key_requests_total", "key") == {"team": 12 + retried, "hasty": 1}
    refusals = "torpor_gateway_key_refusals_total"
    assert page.by(refusals, "reason", key="team") == {"QueueFull": 1, "Waking": 2}
    assert page.by(refusals, "reason", key="hasty") == {"requestsPerMinute": 1}
    # What is over is nowhere any more.
    for gauge in ("held_requests", "queued_requests", "in_flight_requests", "waiting_bytes"):
        await gone(door, f"torpor_gateway_{gauge}")
    await gone(door, "torpor_gateway_key_requests_under_way")
    # Waits and speeds: each once.
    assert page.sum("torpor_gateway_hold_seconds_count", name="held") == 1
    assert page.sum("torpor_gateway_hold_seconds_sum", name="held") >= 0.2
    assert page.sum("torpor_gateway_queue_seconds_count", name="stalls") == 1
    assert page.sum("torpor_gateway_queue_seconds_sum", name="stalls") >= 0.1
    assert page.by("torpor_gateway_time_to_first_token_seconds_count", "name") == {"whole": 4, "cuts": 1}
    assert page.by("torpor_gateway_stream_tokens_per_second_count", "name").keys() <= {"whole"}
    # Records: a line for each that is over, and spans that reach nobody.
    assert len(lines) == 17 + retried == page.sum("torpor_gateway_access_log_lines_total")
    assert page.by(requests, "code") == Counter(str(line["status"]) for line in lines if "fleet" in line)
    written = sum(line.get("output_tokens", 0) for line in lines)
    assert 0 < page.sum("torpor_gateway_tokens_total", kind="output") <= written
    page = await door.until("torpor_gateway_spans_total", 1, result="dropped")
    assert page.by("torpor_gateway_spans_total", "result").keys() <= {"dropped", "failed"}


async def gone(door, name):
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await door.scrape()).sum(name):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.02)


async def test_several_processes_serve_all_of_it_together(door, connect):
    door = await door("--workers", "2", "--demand", "127.0.0.1:0", engines=["whole"])
    for _ in range(4):
        client = await connect(door.port)
        asked = request(chat(model="whole", max_tokens=2), headers=bearer(TEAM))
        assert (await client.ask(asked)).status == 200
    page = await door.until("torpor_gateway_requests_total", 4, code="200")
    told, served = documented(GATEWAY), page.metrics()
    assert {name: told[name] for name in served} == served, "nothing is served that is not documented"
    assert set(told) - set(served) <= {
        *("torpor_gateway_upstream_retries_total", "torpor_gateway_key_refusals_total"),
        "torpor_gateway_errors_total",
    }, "what nothing has happened of has no series, and everything else has"
    assert page.sum("torpor_gateway_workers") == 2
    page.checked_by_promtool()
    page.histograms_are_sound()
