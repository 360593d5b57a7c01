"""Manifests, values, parts of a fleet, JSON: each held against the schema of what it is."""

import json
import re
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from torpor.api import constants, crd, validation
from torpor_gateway import surface
from torpor_gateway.keys import read_document

from tests.docs.blocks import gitops
from tests.docs.blocks.reading import ROOT

API = f"{constants.GROUP}/{constants.VERSION}"
KUBERNETES = "1.35"
OF_SPEC = {"model", "engine", "scaling", "traffic", "rollout", "drainSeconds"}
OF_CHART = {"metricsNamespaces", "imagePullSecrets"}  # the chart has an `engine` too
ADMIN = {"/metrics", "/healthz", "/readyz"}  # of every process of ours


@cache
def _of_values() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        json.loads((ROOT / "charts/torpor/values.schema.json").read_text())
    )


def check_yaml(text: str) -> None:
    """Check each document of a block: a manifest, values of the chart, or a part of something of ours."""
    for item in yaml.safe_load_all(text):
        assert isinstance(item, dict), "no mapping"
        group = str(item.get("apiVersion", "")).partition("/")[0]
        if "kind" not in item:
            check_part(item)
        elif item["kind"] == constants.KIND and group == constants.GROUP:
            check_fleet(item)
        elif gitops.knows(item):
            gitops.check(item)
        elif "." in group and not group.endswith("k8s.io"):
            check_foreign(item)
        else:
            kubernetes_validate.validate(item, KUBERNETES, strict=True)


def check_fleet(fleet: dict[str, Any]) -> None:
    """Check an InferenceService as admission does, and that it has no field that nothing reads."""
    problems = [*validation.unknown_fields(fleet), *validation.check(fleet).problems]
    assert not problems, f"{problems[0]}"


def check_foreign(item: dict[str, Any]) -> None:
    """Check a resource of another project: it is named, and what it holds for our chart the chart takes."""
    assert item["metadata"]["name"], "without a name"
    assert set(item) <= {"apiVersion", "kind", "metadata", "spec"}, f"unknown fields: {set(item)}"
    spec = item.get("spec", {})
    sources = [spec, *spec.get("sources", []), *([spec["source"]] if "source" in spec else [])]
    for source in sources:
        helm = source.get("helm", {})
        for values in (source.get("values"), helm.get("valuesObject"), helm.get("values")):
            if values is not None:
                check_values(yaml.safe_load(values) if isinstance(values, str) else values)


def check_part(item: dict[str, Any]) -> None:
    """Check values of the chart, a part of a fleet's spec, or a file of API keys; their keys tell which."""
    if set(item) == {"keys"}:
        read_document(yaml.safe_dump(item))
    elif set(item) == {"scrape_configs"}:  # tests/charts/test_prometheusrule.py gives it to promtool
        assert all(job["job_name"] for job in item["scrape_configs"])
    elif set(item) == {"spec"}:  # a patch
        check_part(item["spec"])
    elif item and set(item) <= OF_SPEC and not set(item.get("engine", {})) & OF_CHART:
        spec = {"model": {"uri": "hf://a/b"}, **_without_nulls(item)}
        check_fleet({"apiVersion": API, "kind": constants.KIND, "metadata": {"name": "a"}, "spec": spec})
    else:
        check_values(item)


def _without_nulls(item: Any) -> Any:
    """Return a patch as what it makes of an empty object: null removes."""
    if isinstance(item, dict):
        return {key: _without_nulls(value) for key, value in item.items() if value is not None}
    return item


def check_values(values: dict[str, Any]) -> None:
    """Check values of the chart; null takes a default away, whatever it is."""
    held(_without_nulls(values), _of_values())


def check_set(text: str) -> None:
    """Check what `--set` of helm says."""
    path, equals, value = text.partition("=")
    assert equals, f"--set {text} has no value"
    values: Any = value[1:-1].split(",") if re.fullmatch(r"\{.*\}", value) else yaml.safe_load(value)
    for key in reversed(path.split(".")):
        values = {key: values}
    check_values(values)


@cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = crd.build()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def check_paths(text: str) -> None:
    """Check the paths of `jsonpath={.a.b[0].c}` into an InferenceService."""
    root = _schema()
    for path in re.findall(r"\{(\.[^}]*)\}", text):
        node = root
        for step in re.findall(r"\.(\w+)", re.sub(r"\[[^]]*\]", "", path)):
            node = node.get("items", node)
            if node is root["properties"]["metadata"]:
                break
            assert step in node.get("properties", {}), f"an InferenceService has no {path}"
            node = node["properties"][step]


def check_json(text: str) -> None:
    """Check a JSON block by what it looks like: manifest, error, request, or part of a fleet's status."""
    read = json.loads(text)
    assert isinstance(read, dict), "no object"
    if "kind" in read:
        check_yaml(text)
    elif "error" in read and set(read) <= {"error", "type", "request_id"}:
        unknown = set(read["error"]) - {"message", "type", "param", "code", "details"}
        assert not unknown, f"the gateway's errors have no {unknown}"
    elif "model" in read:
        assert set(read) & {"messages", "prompt", "input"}, "a request that asks nothing"
    else:
        check_status(read)


def check_status(part: dict[str, Any]) -> None:
    """Check a part of a fleet's status against its schema, closed: no field that is not there."""
    held(part, _of_status())


@cache
def _of_status() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_closed(_schema()["properties"]["status"]))


def held(value: Any, validator: jsonschema.Draft202012Validator) -> None:
    """Hold a value against a schema; the AssertionError has the first thing that is wrong, in a line."""
    error = next(iter(validator.iter_errors(value)), None)
    assert error is None, f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _closed(value) for key, value in node.items()}
    return (
        {**made, "additionalProperties": False}
        if made.get("type") == "object" and "properties" in made
        else made
    )


def check_served(path: str) -> None:
    """Check that a path is one that the gateway or a process of ours serves."""
    plain = path.partition("?")[0]
    known = {*surface.OPERATIONS, surface.MODELS, *surface.PROBES, *ADMIN}
    assert plain in known, f"nothing of ours serves {plain}"
