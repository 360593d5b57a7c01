"""What exists at the gateway, on the wire: models, hosts, paths and methods."""

import json

import pytest

from tests.integration.gateway.harness import CHAT, chat, request


async def test_models_are_merged_and_one_can_be_asked_for(gateway, engines):
    gateway.static(await engines(), name="one")
    gateway.managed()
    client = await gateway.client()
    answer = await client.ask(request(b"", path="/v1/models", method="GET"))
    assert [model["id"] for model in json.loads(answer.body)["data"]] == [
        "llm",
        "ns/llm",
        "one",
    ]
    single = await client.ask(request(b"", path="/v1/models/ns/llm", method="GET"))
    assert b'"id":"ns/llm"' in single.body
    none = await client.ask(request(b"", path="/v1/models/none", method="GET"))
    assert none.status == 404
    hosted = await client.ask(request(b"", path="/v1/models", method="GET", host="llm.ns.svc.cluster.local"))
    assert b"one" not in hosted.body


async def test_a_fleets_host_needs_no_model(gateway):
    fleet = gateway.managed(response="Reject")
    named = await gateway.ask({"messages": []}, host="llm.ns.svc.cluster.local:80")
    assert named.status == 503
    assert fleet.arrivals == 1
    wrong = await gateway.ask(chat(model="other"), host="llm.ns")
    assert wrong.status == 404
    bare = await gateway.ask({"messages": []}, host="llm")
    assert bare.status == 400
    public = await gateway.ask(chat(), host="api.example.com")
    assert public.status == 503


@pytest.mark.parametrize(
    "path",
    ["/sleep", "/wake_up", "/metrics", "/v1/load_lora_adapter", "/v1/../metrics", "/health", "//v1/models"],
)
async def test_what_is_not_on_the_list_does_not_exist(gateway, path):
    answer = await gateway.ask({}, path=path)
    assert (answer.status, answer.error["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST, OPTIONS"),
        ("DELETE", CHAT, "POST, OPTIONS"),
        ("TRACE", CHAT, "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_405_with_allow(gateway, method, path, allow):
    answer = await gateway.ask(b"", path=path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert answer.error["code"] == "method_not_allowed"
