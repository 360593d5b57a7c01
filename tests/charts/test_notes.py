"""What Helm prints after an installation works when it is pasted, and warns of what will hurt later.

Helm shows notes only when it installs, so the text is rendered here as a value of an object in a copy of the
chart.
"""

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from torpor.api import validation

from tests.charts.rendering import CHART, ROOT, Values, of, one, render

WRAPPED = 'kind: Notes\ntext: {{ tpl (.Files.Get "files/NOTES.txt") . | toJson }}\n'


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the chart whose notes are an object."""
    chart = tmp_path_factory.mktemp("noted") / "torpor"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "files" / "NOTES.txt")
    (chart / "templates" / "notes.yaml").write_text(WRAPPED)
    return chart


def notes(chart: Path, values: Values | None = None, kubernetes: str = "1.37.1") -> str:
    """Return the notes as the user reads them."""
    (wrapped,) = (o for o in render(values, chart=chart, kubernetes=kubernetes) if o["kind"] == "Notes")
    return str(wrapped["text"])


def first_object(text: str) -> dict[str, Any]:
    """Return the object between the marks of the shell's here-document."""
    (document,) = re.findall(r"<<EOF\n(.*?)\n  EOF", text, re.DOTALL)
    parsed = yaml.safe_load(document)
    assert isinstance(parsed, dict)
    return parsed


def refusals(fleet: dict[str, Any]) -> list[str]:
    """Return what the API objects to in the object, fields that it does not have included."""
    return [
        str(problem) for problem in (*validation.check(fleet).problems, *validation.unknown_fields(fleet))
    ]


@pytest.mark.parametrize("without_gpu", [False, True])
def test_the_first_object_is_accepted_by_the_api(noted: Path, without_gpu: bool) -> None:
    first = first_object(notes(noted))
    if without_gpu:  # what the notes tell a reader without a GPU to do
        first["spec"]["engine"] = {"type": "Simulated"}
    assert refusals(first) == []
    first["spec"]["engine"]["kind"] = "x"
    assert refusals(first)


@pytest.mark.parametrize("seconds", [10, 240, 3600])
def test_the_fleet_of_helms_test_is_accepted_and_sleeps(seconds: int) -> None:
    fleet = one(render({"test.timeoutSeconds": seconds}), "InferenceService")
    assert refusals(fleet) == []
    assert fleet["spec"]["scaling"]["minReplicas"] == 0
    assert "limits" not in fleet["spec"]["engine"]["resources"]


def test_the_example_of_the_chart_index_is_accepted() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (example,) = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    assert refusals(example) == []
    (crd,) = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    definition = one(render(), "CustomResourceDefinition", crd["name"])["spec"]
    assert crd["kind"] == definition["names"]["kind"]
    assert crd["version"] in [version["name"] for version in definition["versions"]]


def test_the_versions_of_chart_and_product_are_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]


def test_the_request_names_the_first_object(noted: Path) -> None:
    for values, namespace in (({}, "default"), ({"watchNamespaces": ["models", "other"]}, "models")):
        text = notes(noted, values)
        name = first_object(text)["metadata"]["name"]
        (curl,) = re.findall(r"  curl .*?\]}'", text, re.DOTALL)
        words = shlex.split(curl)
        body = json.loads(words[words.index("-d") + 1])
        assert body["model"] == f"{namespace}/{name}"
        assert body["stream"] is True
        assert f"kubectl apply -n {namespace} -f -" in text
        assert f"http://{name}.{namespace}.svc.cluster.local/v1" in text


def test_commands_name_objects_that_exist(noted: Path) -> None:
    text = notes(noted, {"fullnameOverride": "night"})
    objects = render({"fullnameOverride": "night"})
    for name in re.findall(r"deployment/([-\w]+)", text):
        assert one(objects, "Deployment", name)
    for name in re.findall(r"service/([-\w]+)", text):
        assert one(objects, "Service", name)
    assert len(re.findall(r"(deployment|service)/", text)) == 3


WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a gateway alone": ({"gateway.replicaCount": 1}, "gateway.replicaCount is 1"),
    "an operator alone": ({"operator.replicaCount": 1}, "operator.replicaCount is 1"),
    "definition that goes": ({"crds.keep": False}, "uninstalling this release deletes the resource"),
    "definition of others": ({"crds.install": False}, "crds.install is false"),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_a_risky_choice_is_named(noted: Path, name: str) -> None:
    values, text = WARNINGS[name]
    assert text in notes(noted, values)
    assert text not in notes(noted)


def test_a_newer_kubernetes_is_named(noted: Path) -> None:
    assert "v1.38.0 is newer than 1.37" in notes(noted, kubernetes="1.38.0")
    assert "WARNING" not in notes(noted)


def test_bare_names_are_named_where_tenants_may_meet(noted: Path) -> None:
    assert "every namespace may claim a bare model name" in notes(noted)
    assert "may claim" not in notes(noted, {"gateway.bareNames": ["team"]})
    assert "may claim" not in notes(noted, {"watchNamespaces": ["team"]})


def test_a_gateway_without_keys_is_named_and_a_test_without_one(noted: Path) -> None:
    assert "gateway.apiKeys.secretName is empty" in notes(noted)
    keys = {"gateway.apiKeys.secretName": "keys"}
    assert "secretName is empty" not in notes(noted, keys)
    assert "helm test will be refused" in notes(noted, keys)
    assert "refused" not in notes(noted, keys | {"test.apiKey.secretName": "test-key"})


def test_a_missing_registry_is_named(noted: Path) -> None:
    assert "no registry is set" in notes(noted)
    assert "no registry" not in notes(noted, {"global.imageRegistry": "registry.example"})
    assert "no registry" not in notes(noted, {"operator.image.registry": "registry.example"})


def test_how_to_remove_it_is_told_and_what_would_be_left(noted: Path) -> None:
    everywhere = notes(noted)
    assert "running pods, GPUs included" in everywhere
    order = [everywhere.index(words) for words in (
        "kubectl delete inferenceservices --all --all-namespaces", "helm uninstall -n torpor-system torpor",
        "kubectl delete customresourcedefinition inferenceservices.serving.torpor.dev",
    )]  # fmt: skip
    assert order == sorted(order)
    here = notes(noted, {"watchNamespaces": ["day", "night", "day"]})
    assert re.findall(r"kubectl -n (\S+) delete inferenceservices --all\n", here) == ["day", "night"]
    assert "--all-namespaces" not in here
    # Of others' definition, and of one that goes by itself, nothing is said.
    for values in ({"crds.install": False}, {"crds.keep": False}):
        assert "delete customresourcedefinition" not in notes(noted, values)


def test_helms_test_is_offered_where_it_exists(noted: Path) -> None:
    assert "helm test -n torpor-system torpor" in notes(noted)
    assert "helm test" not in notes(noted, {"test.enabled": False})
    assert not of(render({"test.enabled": False}), "Pod")
