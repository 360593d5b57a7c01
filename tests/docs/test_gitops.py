"""The objects of Flux and Argo CD in the guide are such as those tools take."""

import copy
from pathlib import Path
from typing import Any

import pytest
from torpor.api import constants

from tests.docs.blocks import gitops
from tests.docs.blocks.reading import documents

GUIDE = Path(__file__).parents[2] / "docs/guides/gitops.md"
OBJECTS = [item for item in documents(GUIDE) if gitops.knows(item)]


def of(kind: str, place: int = 0) -> dict[str, Any]:
    return copy.deepcopy([item for item in OBJECTS if item["kind"] == kind][place])


def test_the_guide_shows_each_kind_that_is_recorded_but_for_git_repositories() -> None:
    assert {item["kind"] for item in OBJECTS} == set(gitops.SCHEMAS) - {"GitRepository"}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Kustomization", ("healthcheckExprs",), []),
        ("Kustomization", ("healthCheckExprs", 0, "progressing"), "true"),
        ("Kustomization", ("dependsOn", 0, "kind"), 3),
        ("Kustomization", ("timeout",), "40 minutes"),
        ("Kustomization", ("sourceRef", "kind"), "Git"),
        ("HelmRelease", ("values", "gateway"), {"replicas": 2}),
        ("HelmRelease", ("chartRef", "version"), "1"),
        ("HelmRelease", ("install", "createNamespaces"), True),
        ("OCIRepository", ("ref", "version"), "1"),
        ("Application", ("source", "helm", "valuesObject", "demandToken"), {"secret": "a"}),
        ("Application", ("source", "helm", "values_object"), {}),
        ("Application", ("syncPolicy", "automatic"), {}),
        ("Application", ("syncPolicy", "syncOptions"), "ServerSideApply=true"),
    ],
)
def test_a_slip_in_a_manifest_is_seen(kind: str, path: tuple[str | int, ...], value: object) -> None:
    item = of(kind, place=1 if kind == "Kustomization" else 0)
    gitops.check(item)
    node: Any = item["spec"]
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    with pytest.raises(Exception):  # noqa: B017, PT011 - each validation has its own
        gitops.check(item)


def test_dependencies_and_sources_name_what_is_there() -> None:
    named = {(item["kind"], item["metadata"]["name"]) for item in OBJECTS} | {
        ("GitRepository", "flux-system")
    }
    for item in OBJECTS:
        spec = item["spec"]
        for reference in (spec.get("sourceRef"), spec.get("chartRef")):
            assert reference is None or (reference["kind"], reference["name"]) in named
        for other in spec.get("dependsOn", ()):
            assert (item["kind"], other["name"]) in named
        for check in (*spec.get("healthChecks", ()), *spec.get("healthCheckExprs", ())):
            assert (check["apiVersion"], check["kind"]) == (constants.API_VERSION, constants.KIND)
        for difference in spec.get("ignoreDifferences", ()):
            assert (difference["group"], difference["kind"]) == (constants.GROUP, constants.KIND)
