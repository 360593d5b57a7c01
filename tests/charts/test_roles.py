"""What the parts may do, and to whom that is granted.

`watchNamespaces` turns cluster-wide rights into rights in those namespaces, verb for verb; nothing else may
differ. Whether the verbs are those that the code uses is the subject of test_verbs.py.
"""

from typing import Any

import pytest

from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import Object, of, one, render

PARTS = ("operator", "gateway")
Rights = set[tuple[str, str, str]]
ADDRESSES = ("discovery.k8s.io", "endpointslices", "watch")


def rights(role: Object) -> Rights:
    """Return the role's rights as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def granted(objects: list[Object], part: str, home: str = "torpor-system") -> dict[str, Rights]:
    """Return what the account of a part may do, by namespace; "*" is everywhere."""
    account = {"kind": "ServiceAccount", "name": f"torpor-{part}", "namespace": home}
    found: dict[str, Rights] = {}
    for binding in [*of(objects, "RoleBinding"), *of(objects, "ClusterRoleBinding")]:
        if account not in binding["subjects"]:
            continue
        namespace = binding["metadata"].get("namespace")
        reference = binding["roleRef"]
        roles = [
            r
            for r in of(objects, reference["kind"], reference["name"])
            if r["metadata"].get("namespace") == namespace
        ]
        assert len(roles) == 1, reference
        found.setdefault(namespace or "*", set()).update(rights(roles[0]))
    return found


def test_nothing_is_granted_by_wildcard_and_nobody_reads_secrets() -> None:
    for values in COMBINATIONS.values():
        for role in [*of(render(values), "Role"), *of(render(values), "ClusterRole")]:
            for group, resource, verb in rights(role):
                assert "*" not in (group, resource, verb), role["metadata"]["name"]
                assert resource not in ("secrets", "roles", "clusterroles", "pods/exec"), role["metadata"][
                    "name"
                ]
                assert verb not in ("escalate", "bind", "impersonate"), role["metadata"]["name"]


def test_the_gateway_writes_nothing() -> None:
    assert granted(render(), "gateway") == {
        "*": {
            (group, resource, verb)
            for group, resource in (
                ("serving.torpor.dev", "inferenceservices"),
                ("discovery.k8s.io", "endpointslices"),
            )
            for verb in ("list", "watch")
        }
    }


@pytest.mark.parametrize("part", PARTS)
def test_watched_namespaces_get_the_same_rights_and_the_cluster_none(part: str) -> None:
    everywhere = granted(render(), part)["*"]
    objects = render({"watchNamespaces": ["a", "b"]})
    narrow = granted(objects, part)
    assert "*" not in narrow
    assert narrow["a"] == narrow["b"] == everywhere != set()
    assert set(narrow) == {"a", "b"} | ({"torpor-system"} if part == "operator" else set())
    assert not of(objects, "ClusterRoleBinding")
    roles = {role["metadata"]["name"] for role in of(objects, "ClusterRole")}
    assert roles == {"torpor:torpor-system:torpor:view", "torpor:torpor-system:torpor:edit"}


def test_the_lease_is_the_operators_and_only_that_one() -> None:
    home = one(render(), "Role", "torpor-operator")
    assert home["metadata"]["namespace"] == "torpor-system"
    leases = [rule for rule in home["rules"] if "leases" in rule["resources"]]
    by_name = {tuple(rule.get("resourceNames", ())): set(rule["verbs"]) for rule in leases}
    assert by_name[()] == {"create"}  # a create has no name to check
    assert set(by_name) == {(), ("torpor-operator",)}
    for namespace, found in granted(render({"watchNamespaces": ["a"]}), "operator").items():
        assert ("leases" in {resource for _, resource, _ in found}) == (namespace == "torpor-system")


@pytest.mark.parametrize("watched", [[], ["models"], ["models", "torpor-system"]])
def test_the_operator_sees_the_gateways_addresses_and_no_others(watched: list[str]) -> None:
    reach = granted(render({"watchNamespaces": watched}), "operator")
    seen = {namespace for namespace, found in reach.items() if ADDRESSES in found}
    assert seen == {"torpor-system"}


def test_viewers_see_fleets_and_editors_change_them() -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    roles: dict[str, tuple[set[str], Rights]] = {}
    for role in of(render(), "ClusterRole"):
        targets = {key.removeprefix(prefix) for key in role["metadata"]["labels"] if key.startswith(prefix)}
        if targets:
            roles[role["metadata"]["name"].rpartition(":")[2]] = (targets, rights(role))
    assert roles["view"][0] == {"view", "edit", "admin"}
    assert roles["edit"][0] == {"edit", "admin"}
    assert {verb for _, _, verb in roles["view"][1]} == {"get", "list", "watch"}
    fleets = "inferenceservices"
    edits = {(resource, verb) for _, resource, verb in roles["edit"][1]}
    assert {(fleets, verb) for verb in ("create", "update", "patch", "delete", "deletecollection")} <= edits
    assert {(f"{fleets}/scale", "update"), (f"{fleets}/scale", "patch")} <= edits
    assert not {resource for resource, _ in edits} & {f"{fleets}/status"}


def test_accounts_of_others_are_bound_and_not_made() -> None:
    objects = render(COMBINATIONS["accounts of others"])
    assert not of(objects, "ServiceAccount")
    subjects = {s["name"] for b in of(objects, "ClusterRoleBinding") for s in b["subjects"]}
    assert subjects == {"operator-account", "gateway-account"}
    names = {d["spec"]["template"]["spec"]["serviceAccountName"] for d in of(objects, "Deployment")}
    assert names == subjects


def test_roles_can_be_left_to_others() -> None:
    values: dict[str, Any] = {"rbac": {"create": False, "aggregateRoles": False}}
    kinds = {item["kind"] for item in render(values)}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
