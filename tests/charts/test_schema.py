"""Values that no template reads or that are out of range are refused, and the message names them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.generate import __main__ as generator
from charts.generate import values as values_file
from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import CHART, Refused, one, render, run

SCHEMA = json.loads((CHART / "values.schema.json").read_text())

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown at the top": ({"gatway": {"replicaCount": 3}}, "gatway"),
    "unknown in a part": ({"gateway.replicas": 3}, "replicas"),
    "unknown in an image": ({"engine.image.tags": "1"}, "tags"),
    "unknown in a Kubernetes type": ({"operator.tolerations": [{"keys": "x"}]}, "keys"),
    "unknown deep in a Kubernetes type": (
        {"gateway.affinity": {"nodeAffinity": {"requiredDuringScheduling": {}}}},
        "requiredDuringScheduling",
    ),
    "unknown in a security context": ({"gateway.securityContext.readOnlyRoot": True}, "readOnlyRoot"),
    "misspelt key of ours in global": ({"global.imageRegistri": "x"}, "imageRegistri"),
    "text for a number": ({"gateway.replicaCount": "two"}, "/gateway/replicaCount"),
    "no replicas": ({"operator.replicaCount": 0}, "/operator/replicaCount"),
    "text for a switch": ({"crds.install": "false"}, "/crds/install"),
    "unheard-of pull policy": ({"gateway.image.pullPolicy": "Sometimes"}, "/gateway/image/pullPolicy"),
    "digest without algorithm": ({"engine.image.digest": "a" * 64}, "/engine/image/digest"),
    "namespace in capitals": ({"watchNamespaces": ["Models"]}, "/watchNamespaces/0"),
    "namespaces in one text": ({"watchNamespaces": "a,b"}, "/watchNamespaces"),
    "negative hold": ({"gateway.drain.holdSeconds": -1}, "/gateway/drain/holdSeconds"),
    "label that is a number": ({"commonLabels": {"team": 7}}, "/commonLabels/team"),
    "mapping for an extra object without kind": ({"extraObjects": [{"apiVersion": "v1"}]}, "/extraObjects/0"),
    "host with a scheme": ({"gateway.ingress.hosts": ["https://x.example"]}, "/gateway/ingress/hosts/0"),
    "old TLS": ({"gateway.tls.minVersion": "1.1"}, "/gateway/tls/minVersion"),
    "no pods by load": ({"gateway.autoscaling.minReplicas": 0}, "/gateway/autoscaling/minReplicas"),
    "unknown in a behaviour": ({"gateway.autoscaling.behavior": {"scaledown": {}}}, "scaledown"),
    "budget above all": ({"gateway.podDisruptionBudget.maxUnavailable": "150%"}, "maxUnavailable"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_value_is_refused_by_name(name: str) -> None:
    values, named = REFUSED[name]
    with pytest.raises(Refused) as refusal:
        render(values)
    text = str(refusal.value)
    assert "values don't meet the specifications of the schema" in text
    assert named in text or named.replace("/", ".").lstrip(".") in text


def _objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        kind = node.get("type")
        if (
            kind == "object"
            or (isinstance(kind, list) and "object" in kind)
            or isinstance(node.get("properties"), dict)
        ):
            yield path, node
        for key, item in node.items():
            if key != "default":
                yield from _objects(item, f"{path}/{key}")
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _objects(item, f"{path}/{index}")


def test_no_mapping_admits_unknown_keys_but_the_objects_of_others() -> None:
    found = list(_objects(SCHEMA))
    assert len(found) > 50
    extra = "/properties/extraObjects/items/oneOf/1"
    is_open = [path for path, node in found if node.get("additionalProperties", True) is True]
    assert is_open == [extra, f"{extra}/properties/metadata"]


def test_every_value_is_described_has_its_default_and_no_other_value_is_in_the_schema() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    for leaf in values_file.leaves(values_file.read(CHART / "values.yaml")):
        node, default = SCHEMA, defaults
        for key in leaf.path:
            node, default = node["properties"][key], default[key]
        assert len(node["description"]) > 10, leaf.name
        assert node["default"] == default, leaf.name


def test_the_defaults_meet_the_schema_when_given_by_hand(tmp_path: Path) -> None:
    assert run("template", "torpor", str(CHART), f"--values={CHART / 'values.yaml'}")


def test_keys_of_global_that_belong_to_other_charts_pass() -> None:
    render(
        {"global": {"storageClass": "fast", "security": {"allowInsecureImages": True}, "imageRegistry": "r"}}
    )


def test_the_chart_works_as_a_dependency(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "torpor").symlink_to(CHART)
    dependency = {"name": "torpor", "version": "0.1.0", "repository": "", "condition": "torpor.enabled"}
    chart = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(chart))
    values = {"global.team": "ml", "torpor.gateway.replicaCount": 5}
    objects = render(values, release="platform", chart=tmp_path)
    assert one(objects, "Deployment", "platform-torpor-gateway")["spec"]["replicas"] == 5
    with pytest.raises(Refused, match="gatway"):
        render({"torpor.gatway": {}}, release="platform", chart=tmp_path)
    with pytest.raises(AssertionError):
        one(render({"torpor.enabled": False}, release="platform", chart=tmp_path), "Deployment")


TEMPLATE_REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "ingress without a host": ({"gateway.ingress.enabled": True}, "gateway.ingress.hosts: empty"),
    "route without a gateway": ({"gateway.httpRoute.enabled": True}, "gateway.httpRoute.parentRefs: empty"),
    "operator variable twice": (
        {"operator.extraEnv": [{"name": "TORPOR_NAMESPACE", "value": "x"}]},
        "operator.extraEnv: TORPOR_NAMESPACE is set by the chart",
    ),
    "own variable twice": (
        {"gateway.extraEnv": [{"name": "A", "value": "x"}, {"name": "A", "value": "y"}]},
        "gateway.extraEnv: A is",
    ),
}


@pytest.mark.parametrize("name", TEMPLATE_REFUSALS)
def test_values_that_contradict_each_other_are_refused_with_the_next_step(name: str) -> None:
    values, text = TEMPLATE_REFUSALS[name]
    with pytest.raises(Refused, match=re.escape(text)):
        render(values)


def test_a_release_name_that_no_service_may_bear_is_refused() -> None:
    with pytest.raises(Refused, match="set fullnameOverride"):
        render(release="7b")
    assert render({"fullnameOverride": "seven"}, release="7b")


def test_old_kubernetes_is_refused() -> None:
    with pytest.raises(Refused, match=r"1\.30\.0"):
        render(kubernetes="1.29.9")


@pytest.mark.parametrize("path", generator.wanted(), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Path) -> None:
    assert path.exists(), "run `python -m charts.generate`"
    assert path.read_text() == generator.wanted()[path], "run `python -m charts.generate`"


def test_no_definition_is_left_over() -> None:
    assert set((CHART / "files" / "crds").glob("*.yaml")) <= set(generator.wanted())


UNDOCUMENTED = {
    "no description": ("a: true\n", "line 1, a: no description"),
    "list without type": ("# Some things.\na: []\n", "line 2, a: .* does not tell the type"),
    "number without range": ("b:\n  # A number.\n  a: 1\n", "line 3, b.a: .* does not tell the type"),
}


@pytest.mark.parametrize("name", UNDOCUMENTED)
def test_values_that_say_too_little_stop_the_generator(name: str, tmp_path: Path) -> None:
    text, message = UNDOCUMENTED[name]
    (tmp_path / "values.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        values_file.read(tmp_path / "values.yaml")


def test_every_value_is_read_by_a_template() -> None:
    templates = "\n".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    used = set(re.findall(r"[.\w$]+", templates))
    words = {word for token in used for word in token.split(".")}
    unread = [
        leaf.name
        for leaf in values_file.leaves(values_file.read(CHART / "values.yaml"))
        if leaf.path[-1] not in words and leaf.name != "enabled"
    ]
    assert not unread


@pytest.mark.parametrize("name", COMBINATIONS)
def test_each_combination_changes_something(name: str) -> None:
    def without_token(values: dict[str, Any]) -> list[Any]:
        return [item | {"data": None} for item in render(values)]

    assert not COMBINATIONS[name] or without_token(COMBINATIONS[name]) != without_token({})
