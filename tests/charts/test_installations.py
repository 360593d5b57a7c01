"""Two installations in one cluster share the resource definition and nothing else."""

import pytest

from tests.charts.rendering import Object, Refused, environment, identity, of, one, render

SECOND = {"crds.install": False, "watchNamespaces": ["night"]}


def identities(objects: list[Object]) -> set[tuple[str, str, str]]:
    """Return the identities of all objects."""
    return {identity(item) for item in objects}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("torpor", "torpor-system"), ("torpor", "night")),  # one release name in two namespaces
        (("torpor", "one"), ("night", "one")),  # two in one namespace
        (("a-b", "c"), ("a", "b-c")),  # joined by dashes these would meet
        (("torpor", "a"), ("torpor-operator", "a")),
    ],
)
def test_no_object_belongs_to_two_installations(first: tuple[str, str], second: tuple[str, str]) -> None:
    one_of_them = render({"watchNamespaces": ["day"]}, release=first[0], namespace=first[1])
    other = render(SECOND, release=second[0], namespace=second[1])
    assert not identities(one_of_them) & identities(other)
    for objects in (render(release=first[0], namespace=first[1]), one_of_them):
        wide = {i for i in identities(objects) if not i[1] and i[0] != "CustomResourceDefinition"}
        assert wide
        for _, _, name in wide:
            assert name.startswith(f"torpor:{first[1]}:{first[0]}:")


def test_the_second_installation_looks_at_its_own_namespaces_alone() -> None:
    objects = render(SECOND, release="night", namespace="night-system")
    assert not of(objects, "CustomResourceDefinition")
    for part in ("operator", "gateway"):
        assert environment(objects, part, "night-torpor")["TORPOR_WATCH_NAMESPACES"] == "night"
    operator = environment(objects, "operator", "night-torpor")
    assert operator["TORPOR_LEASE_NAME"] == "night-torpor-operator"
    assert operator["TORPOR_GATEWAY_SERVICE"] == "night-torpor-gateway"
    assert one(objects, "Service", operator["TORPOR_GATEWAY_DEMAND_SERVICE"])
    # Two installations may serve one namespace one after the other: their roles there have different names.
    roles = {
        role["metadata"]["name"] for role in of(objects, "Role") if role["metadata"]["namespace"] == "night"
    }
    assert roles == {"night-system-night-torpor-operator", "night-system-night-torpor-gateway"}


def test_helms_test_runs_where_the_installation_looks() -> None:
    objects = render({"watchNamespaces": ["night", "day"]})
    fleet = one(objects, "InferenceService")
    assert fleet["metadata"]["namespace"] == "night"
    pod = one(objects, "Pod")
    assert pod["metadata"]["namespace"] == "torpor-system"
    variables = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}
    assert variables["MODEL"] == f"night/{fleet['metadata']['name']}"
    assert variables["GATEWAY"] == "http://torpor-gateway.torpor-system.svc.cluster.local"


@pytest.mark.parametrize(
    ("release", "values", "prefix"),
    [
        ("torpor", {}, "torpor"),
        ("night", {}, "night-torpor"),
        ("my-torpor", {}, "my-torpor"),
        ("night", {"nameOverride": "llm"}, "night-llm"),
        ("night", {"fullnameOverride": "llm"}, "llm"),
        ("r" * 53, {}, "r" * 40),
    ],
)
def test_names_begin_with_the_release(release: str, values: dict[str, str], prefix: str) -> None:
    objects = render(values, release=release)
    for item in objects:
        if item["kind"] in ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"):
            assert item["metadata"]["name"].startswith(f"{prefix}-"), identity(item)
        assert len(item["metadata"]["name"]) <= 63 or item["kind"].startswith(("Cluster", "Role")), identity(
            item
        )
    assert len(one(objects, "InferenceService")["metadata"]["name"]) <= 45


def test_namespaces_are_listed_once() -> None:
    with pytest.raises(Refused):
        render({"watchNamespaces": ["a", "A"]})
    objects = render({"watchNamespaces": ["a", "a"]})
    assert len(identities(objects)) == len(objects)
