"""Who owns which field: what Git says comes back as it was written, and nobody fights over the rest."""

import copy
from itertools import chain
from pathlib import Path

import pytest
import yaml
from torpor.api import constants as c

from tests.docs.blocks.reading import HERE_DOCUMENT, documents
from tests.integration.gitops.tools import ROOT
from tests.unit.api import examples

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SPECS = {"least": {}, "full": examples.FULL, "placement": examples.PLACEMENT}
WAKE = {c.ANNOTATION_WAKE_AT: "2026-11-22T20:00:00Z"}


def fleets(page: Path):
    """The fleets that a page shows whole."""
    typed = (yaml.safe_load_all(body) for _, body in HERE_DOCUMENT.findall(page.read_text()))
    for item in chain(documents(page), *typed):
        if (
            isinstance(item, dict)
            and item.get("kind") == c.KIND
            and "serving.torpor.dev" in item["apiVersion"]
        ):
            yield item


EXAMPLES = [
    pytest.param(item, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, item in enumerate(fleets(page))
]
EXAMPLES += [pytest.param(examples.fleet(spec), id=name) for name, spec in SPECS.items()]


def differences(wanted, found, path=""):
    """Fields of `wanted` that `found` has otherwise or not at all."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from differences(value, found.get(key), f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif wanted != found:
        yield f"{path}: {wanted!r} became {found!r}"


def test_the_pages_have_fleets():
    assert len(EXAMPLES) - len(SPECS) >= 4, "the patterns do not find them any more"


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("server_side", [False, True], ids=["created", "applied"])
def test_what_was_written_comes_back(kube, namespace, example, server_side):
    fleet = copy.deepcopy(example)
    fleet["metadata"] = {"name": fleet["metadata"]["name"], "namespace": namespace}
    answer = kube.apply(fleet) if server_side else kube.create(fleet)
    assert answer.status_code == 201, answer.text
    found = kube.http.get(kube.path(fleet)).json()
    assert list(differences(fleet, found)) == []


def sync(kube, fleet, manager="argocd-controller"):
    """Apply as Argo CD and Flux do."""
    answer = kube.http.patch(
        kube.path(fleet),
        params={"fieldManager": manager, "force": "true"},
        content=yaml.safe_dump(fleet).encode(),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


@pytest.fixture
def fleet(namespace):
    return {
        "apiVersion": c.API_VERSION,
        "kind": c.KIND,
        "metadata": {"name": "llm", "namespace": namespace},
        "spec": {"model": {"uri": "hf://org/model"}, "scaling": {"maxReplicas": 4}},
    }


def test_a_sync_leaves_the_number_of_another_writer_and_the_annotations_of_people(kube, fleet):
    sync(kube, fleet)
    path = kube.path(fleet)
    assert kube.merge(f"{path}/scale", {"spec": {"replicas": 3}}).status_code == 200
    assert kube.merge(path, {"metadata": {"annotations": WAKE}}).status_code == 200
    before = kube.http.get(path).json()
    after = sync(kube, fleet)
    assert after["spec"]["scaling"]["replicas"] == 3
    assert after["metadata"]["annotations"] == WAKE
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"], "nothing to write"


def test_a_client_side_apply_leaves_them_too(kube, fleet):
    text = yaml.safe_dump(fleet)
    kube.kubectl("apply", "-f", "-", stdin=text)
    path = kube.path(fleet)
    assert kube.merge(f"{path}/scale", {"spec": {"replicas": 3}}).status_code == 200
    assert kube.merge(path, {"metadata": {"annotations": WAKE}}).status_code == 200
    told = kube.kubectl("apply", "-f", "-", stdin=text).stdout
    assert told.strip().endswith("unchanged")
    found = kube.http.get(path).json()
    assert found["spec"]["scaling"]["replicas"] == 3
    assert WAKE.items() <= found["metadata"]["annotations"].items()


def test_a_number_that_git_has_is_fought_over(kube, fleet):
    """Why the guide wants it out of Git, or ignored."""
    fleet["spec"]["scaling"]["replicas"] = 1
    sync(kube, fleet)
    assert kube.merge(f"{kube.path(fleet)}/scale", {"spec": {"replicas": 3}}).status_code == 200
    assert sync(kube, fleet)["spec"]["scaling"]["replicas"] == 1


def test_a_status_that_the_operator_writes_is_no_difference(kube, fleet):
    before = sync(kube, fleet)
    status = {"observedGeneration": 1, "replicas": 0}
    answer = kube.apply(fleet | {"status": status}, subresource="/status")
    assert answer.status_code == 200, answer.text
    after = sync(kube, fleet)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"]["observedGeneration"] == 1
