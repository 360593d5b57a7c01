"""Bad input of every kind: refused where it is written, or reported on the object; what served before goes on
serving."""

import asyncio
import json

import pytest

from e2e.support import http1
from e2e.support.chat import chat_now
from e2e.support.fleets import fleet
from e2e.support.kube import ApiError
from e2e.support.waiting import until

# What is wrong: (the change to a good spec, the words that the refusal must contain).
REFUSED = {
    "minimum above maximum": (
        {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
        ["minReplicas", "must not exceed maxReplicas"],
    ),
    "maximum of zero": ({"scaling": {"maxReplicas": 0}}, ["maxReplicas", "greater than or equal to 1"]),
    "negative": ({"scaling": {"minReplicas": -1}}, ["scaling.minReplicas", "greater than or equal to 0"]),
    "two to the 31": ({"scaling": {"maxReplicas": 2**31}}, ["spec.scaling.maxReplicas"]),
    "two to the 63": ({"drainSeconds": 2**63}, ["drainSeconds"]),
    "a fraction": ({"scaling": {"idleSeconds": 1.5}}, ["spec.scaling.idleSeconds", "integer"]),
    "a word for a number": ({"scaling": {"maxReplicas": "many"}}, ["spec.scaling.maxReplicas", "integer"]),
    "NUL in an argument": ({"engine": {"args": ["--seed=1\u0000"]}}, ["spec.engine.args"]),
    "newline in an argument": ({"engine": {"args": ["--seed=1\n--port=1"]}}, ["spec.engine.args"]),
    "NUL in a variable": ({"engine": {"env": [{"name": "A", "value": "x\u0000y"}]}}, ["spec.engine.env"]),
    "our own flag": ({"engine": {"args": ["--port=9"]}}, ["args", "is set by Torpor"]),
    "our own flag before its value": ({"engine": {"args": ["--api_key", "x"]}}, ["args", "is set by Torpor"]),
    "unknown scheme": ({"model": {"uri": "ftp://models/llm"}}, ["spec.model.uri", "hf://"]),
    "climbing path": ({"model": {"uri": "image:///models/../etc"}}, ["spec.model.uri"]),
    "64 KiB in one argument": ({"engine": {"args": ["x" * 65536]}}, ["spec.engine.args"]),
    "64 KiB of arguments": ({"engine": {"args": ["x" * 8000] * 9}}, ["args", "32768"]),
    "more requested than allowed": (
        {"engine": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}},
        ["spec.engine.resources"],
    ),
    "no model": ({"model": None}, ["spec.model", "Required"]),
    "unknown engine": ({"engine": {"type": "Abacus"}}, ["spec.engine.type", "vLLM"]),
    "model name with a space": ({"model": {"name": "two words"}}, ["spec.model.name"]),
}  # fmt: skip


def refusal(world, ns, name, spec) -> str:
    """The API server's words against a spec; fails if it takes it."""
    with pytest.raises(ApiError) as refused:
        world.cluster.request(
            "POST",
            world.cluster.path("inferenceservices", ns, dryRun="All", fieldValidation="Strict"),
            fleet(name, **spec),
        )
    assert refused.value.status == 422, refused.value
    return str(refused.value)


def test_the_api_server_refuses_what_it_can_judge_and_says_why(world, ns):
    for what, (spec, words) in REFUSED.items():
        told = refusal(world, ns, "bad", spec)
        for word in words:
            assert word in told, f"{what}: {word!r} is not in {told}"
    assert "metadata.name" in refusal(world, ns, "a" * 253, {})
    assert "metadata.name" in refusal(world, ns, "1st", {})
    assert world.cluster.list("inferenceservices", ns) == []


def test_an_unknown_field_is_refused_by_kubectl(world, ns):
    bad = fleet("typo")
    bad["spec"]["scaling"] = {"maxReplica": 3}
    with pytest.raises(Exception, match="maxReplica"):
        world.cluster.kubectl("apply", "-n", ns, "-f", "-", stdin=json.dumps(bad))


def test_what_only_torpor_can_judge_is_told_and_the_last_good_children_serve(world, make):
    good = make("good", scaling={"minReplicas": 1, "maxReplicas": 1})
    other = make("other", scaling={"minReplicas": 1, "maxReplicas": 1})
    for one in (good, other):
        one.wait_replicas(1)
    template = good.deployment()["spec"]["template"]
    pods = [pod["metadata"]["uid"] for pod in good.pods()]
    # The schema knows the form of a field path, Kubernetes alone knows which fields there are.
    nonsense = {"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nonsense"}}}
    good.patch(engine={"env": [nonsense]})

    def told():
        return [c for c in good.status()["conditions"] if "metadata.nonsense" in c["message"]]

    (condition, *_) = until("a condition names the value", told)
    assert condition["status"] == "False", condition
    assert "env" in condition["message"], condition
    assert good.ready_pods()
    assert good.deployment()["spec"]["template"] == template
    assert chat_now(world.gateway, good.model).kind == "answered"
    # The others are still looked after, and so is this one once it is mended.
    other.patch(scaling={"maxReplicas": 2, "minReplicas": 2})
    other.wait_replicas(2)
    assert [pod["metadata"]["uid"] for pod in good.pods()] == pods
    good.patch(engine={"env": []})
    good.wait("Progressing", "False", "Stable")
    good.wait("Ready", "True", "Serving")


def test_what_no_schema_can_say_makes_the_spec_invalid_and_the_fleet_goes_on(world, make):
    fleet = make("halved", scaling={"minReplicas": 1, "maxReplicas": 1})
    fleet.wait_replicas(1)
    template = fleet.deployment()["spec"]["template"]
    # To the schema it is a quantity like any other; that a device cannot be halved is left to Torpor to say.
    fleet.patch(engine={"resources": {"limits": {"nvidia.com/gpu": "500m"}}})
    refused = fleet.wait("SpecValid", "False")
    for word in ("spec.engine.resources.limits", "nvidia.com/gpu", "500m"):
        assert word in refused["message"], refused
    assert fleet.deployment()["spec"]["template"] == template
    assert chat_now(world.gateway, fleet.model).kind == "answered"
    fleet.patch(engine={"resources": {"limits": {"nvidia.com/gpu": 1}}})
    fleet.wait("SpecValid", "True")
    fleet.wait("Ready", "True", "Serving")


def test_a_model_name_belongs_to_the_oldest_claimant(world, ns, make):
    name = f"shared-{ns}"
    oldest = make("oldest", model={"name": name}, scaling={"idleSeconds": 30})
    twin = make("twin", model={"name": name}, wait=False)
    conflict = twin.wait("RouteAccepted", "False")
    assert name in conflict["message"], conflict
    assert "oldest" in conflict["message"], conflict
    assert twin.wait("Ready", "False", "RouteConflict")
    assert chat_now(world.gateway, f"{ns}/{name}").kind == "answered"
    assert oldest.replicas() == 1
    assert twin.replicas() in (0, None)
    elsewhere = world.open_namespace("cousin")
    try:
        cousin = world.make(elsewhere, "cousin", model={"name": name}, wait=False)
        bare_only = cousin.wait("RouteAccepted", "False")
        assert name in bare_only["message"], bare_only
        cousin.wait("Ready", "True")
        assert chat_now(world.gateway, f"{elsewhere}/{name}").kind == "answered"
    finally:
        world.close_namespace(elsewhere)


def test_bad_requests_get_openai_errors_and_never_a_500(world):
    async def ask(method: str, path: str, payload: bytes, headers: dict[str, str] | None = None):
        async with (
            asyncio.timeout(20),
            http1.request(world.gateway, method, path, payload, headers) as answer,
        ):
            return answer.status, json.loads(await answer.body())

    big = b'{"model":"' + b"x" * 1_000_000 + b'"}'
    for method, path, payload, headers, statuses in (
        ("POST", "/v1/chat/completions", b"{not json", None, {400}),
        ("POST", "/v1/chat/completions", b"[]", None, {400}),
        ("POST", "/v1/chat/completions", b'{"messages":[]}', None, {400, 404}),
        ("POST", "/v1/chat/completions", b'{"model":"no-such-model"}', None, {404}),
        ("POST", "/v1/chat/completions", big, None, {404, 413}),
        ("GET", "/v1/chat/completions", b"", None, {405}),
        ("POST", "/metrics", b"{}", None, {404, 405}),
        ("GET", "/sleep", b"", None, {404}),
        ("POST", "/v1/no-such-path", b"{}", None, {404}),
        ("POST", "/v1/chat/completions", b"{}", {"Content-Length": "999999999999"}, {413}),
    ):
        status, told = asyncio.run(ask(method, path, payload, headers))
        assert status in statuses, (method, path, payload[:40], status, told)
        assert told["error"]["message"], told
