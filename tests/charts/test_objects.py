"""What holds for every object of every installation: Kubernetes accepts it, and it is this release's."""

import json
from functools import cache
from typing import Any

import pytest
import yaml

from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import CHART, Object, flags_of, identity, of, one, pods, render, run
from tests.kubernetes_schema import refuse_what_kubernetes_refuses

# Their definitions are not Kubernetes' own; test_outside.py and the resource's own tests look at them.
FOREIGN_KINDS = {"InferenceService", "HTTPRoute", "PodMonitor", "PrometheusRule", "ServiceMonitor"}


@cache
def accepted(text: str, version: str) -> None:
    """Fail where the strict schema of that Kubernetes refuses the object; each is read once."""
    item = json.loads(text)
    if item["kind"] not in FOREIGN_KINDS:
        refuse_what_kubernetes_refuses(item, version)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_kubernetes_accepts_every_object(name: str) -> None:
    objects = render(COMBINATIONS[name])
    assert objects
    for item in objects:
        accepted(json.dumps(item, sort_keys=True), "1.37")


@pytest.mark.parametrize("name", COMBINATIONS)
def test_objects_are_distinct_labelled_and_in_a_namespace_of_the_release(name: str) -> None:
    values = COMBINATIONS[name]
    objects = render(values)
    identities = [identity(item) for item in objects]
    assert len(set(identities)) == len(identities)
    watched = set(values.get("watchNamespaces", ()))
    for item in objects:
        if item["kind"] == "ConfigMap":  # extraObjects: theirs, untouched
            continue
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "torpor", identity(item)
        assert labels["app.kubernetes.io/managed-by"] == "Helm", identity(item)
        assert labels["app.kubernetes.io/part-of"] == "torpor", identity(item)
        assert item["metadata"].get("namespace", "torpor-system") in {"torpor-system"} | watched, identity(
            item
        )


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_selector_selects_the_pods_of_one_part_and_no_other(name: str) -> None:
    objects = render(COMBINATIONS[name])
    labels = {pod_name: pod["metadata"]["labels"] for pod_name, pod in pods(objects)}
    for item in objects:
        selector = _selector(item)
        if selector is None:
            continue
        selected = [pod for pod, own in labels.items() if selector.items() <= own.items()]
        part = "operator" if "operator" in item["metadata"]["name"] else "gateway"
        assert len(selected) == 1, identity(item)
        assert selected[0].endswith(f"-{part}"), identity(item)


def _selector(item: Object) -> dict[str, str] | None:
    spec = item.get("spec", {})
    match item["kind"]:
        case "Service":
            return dict(spec["selector"])
        case "Deployment" | "PodDisruptionBudget":
            return dict(spec["selector"]["matchLabels"])
        case "NetworkPolicy":
            return dict(spec["podSelector"]["matchLabels"])
    return None


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_port_of_a_service_and_of_a_policy_is_one_of_the_container(name: str) -> None:
    objects = render(COMBINATIONS[name])
    for item in objects:
        if item["kind"] not in ("Service", "NetworkPolicy"):
            continue
        part = "operator" if "operator" in item["metadata"]["name"] else "gateway"
        (deployment,) = (d for d in of(objects, "Deployment") if d["metadata"]["name"].endswith(f"-{part}"))
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        open_ports = {port["name"] for port in container["ports"]}
        if item["kind"] == "Service":
            used = {port["targetPort"] for port in item["spec"]["ports"]}
        else:
            used = {port["port"] for rule in item["spec"]["ingress"] for port in rule["ports"]}
        assert used <= open_ports, identity(item)


# What lint adds to the tests above are rules about templates, so it is enough to reach each of them.
@pytest.mark.parametrize("name", ["defaults", "one watched namespace", "everything at once"])
def test_helm_lint_is_silent_under_strict(name: str) -> None:
    text = run("lint", "--strict", str(CHART), *flags_of(COMBINATIONS[name]))
    assert "[WARNING]" not in text
    assert "[ERROR]" not in text


@pytest.mark.parametrize("version", ["1.30.0", "1.33.4-gke.100", "1.37.1"])
def test_renders_for_each_kubernetes_that_is_supported(version: str) -> None:
    for item in render(kubernetes=version):
        accepted(json.dumps(item, sort_keys=True), ".".join(version.split(".")[:2]))


def test_a_template_of_an_extra_object_is_rendered_and_a_mapping_is_left_alone() -> None:
    objects = render(COMBINATIONS["objects of others"])
    assert one(objects, "ConfigMap", "torpor-text")
    assert one(objects, "ConfigMap", "mapping")["data"] == {"a": "{{ kept }}"}


def test_the_definition_is_the_generated_one_and_stays_when_the_release_goes() -> None:
    sources = [yaml.safe_load(path.read_text()) for path in sorted((CHART / "files" / "crds").glob("*.yaml"))]
    rendered = of(render(), "CustomResourceDefinition")
    assert [item["spec"] for item in rendered] == [item["spec"] for item in sources]
    assert sources, "crds/ is empty"
    for item in rendered:
        assert item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_definition_can_be_left_out_and_can_go_with_the_release() -> None:
    assert not of(render({"crds.install": False}), "CustomResourceDefinition")
    for item in of(render({"crds.keep": False}), "CustomResourceDefinition"):
        assert "helm.sh/resource-policy" not in item["metadata"].get("annotations", {})


def test_images_take_registry_tag_and_digest_in_that_order_of_care() -> None:
    def images(values: dict[str, Any]) -> set[str]:
        objects = render(values)
        found = {c["image"] for _, pod in pods(objects) for c in pod["spec"]["containers"]}
        env = one(objects, "Deployment", "torpor-operator")["spec"]["template"]["spec"]["containers"][0][
            "env"
        ]
        return found | {entry["value"] for entry in env if entry["name"] == "TORPOR_LAUNCHER_IMAGE"}

    digest = "sha256:" + "a" * 64
    assert images({}) == {"torpor/operator:0.1.0", "torpor/gateway:0.1.0", "torpor/engine:0.1.0"}
    registry = images({"global.imageRegistry": "r.example/x"})
    assert registry == {f"r.example/x/torpor/{part}:0.1.0" for part in ("operator", "gateway", "engine")}
    assert f"torpor/gateway@{digest}" in images({"gateway.image.digest": digest})
    both = images({"engine.image": {"digest": digest, "tag": "7", "registry": "own.example"}})
    assert f"own.example/torpor/engine:7@{digest}" in both
