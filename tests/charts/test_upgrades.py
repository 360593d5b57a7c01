"""One release from an older chart to this one, through everything that values can switch, and back again.

An upgrade fails late and in production: a selector that may not change, a role's reference, an object that
the new values no longer have and that nobody deletes. Here a release takes these steps on a real API server,
and after each the server has exactly the objects that the chart renders for these values, as it renders them,
while the token, the addresses, the definition and a fleet stay the ones of the first step.
"""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.cluster.controlplane import ControlPlane
from tests.charts.combinations import COMBINATIONS
from tests.charts.installing import CRD, Installation
from tests.charts.living import Identity, define_foreign_kinds, differences, forget, is_hook, living
from tests.charts.rendering import CHART, ROOT, Object, Values, identity, render
from tests.charts.test_installed import FLEET

# The chart as it was on the first day of version 0.1.0.
OLDER = ROOT / "tests" / "data" / "charts" / "torpor-first.tgz"
# Other names are another installation, and a token of the user's is no token of the chart's.
ELSEWHERE = {"fullnameOverride", "nameOverride", "demandToken"}
EVERYTHING = {key: item for key, item in COMBINATIONS["everything at once"].items() if key not in ELSEWHERE}
FEWER = {"watchNamespaces": ["a"]} | COMBINATIONS["without policies and budgets"] | {"test.enabled": False}
OTHERS = {"watchNamespaces": ["b", "a"], "gateway.apiKeys.secretName": "keys"} | {
    f"{part}.serviceAccount": {"create": False, "name": "shared"} for part in ("operator", "gateway")
}
NAMESPACES = {name for values in (EVERYTHING, FEWER, OTHERS) for name in values.get("watchNamespaces", ())}
GATEWAY = ("Service", "upgraded", "torpor-gateway")
DEFINITION = ("CustomResourceDefinition", "", CRD)


@pytest.fixture
def release(server: ControlPlane, http: httpx.Client) -> Iterator[Installation]:
    define_foreign_kinds(http)
    for name in (*NAMESPACES, "upgraded"):
        made = http.post("/api/v1/namespaces", json={"metadata": {"name": name}})
        assert made.status_code in (201, 409), made.text
    installation = Installation(server, http, "torpor", "upgraded")
    yield installation
    forget(installation)


def rendered(installation: Installation, values: Values, chart: Path = CHART) -> list[Object]:
    """Return what a fresh installation with these values would make, the token aside."""
    objects = render(values, release=installation.release, namespace=installation.namespace, chart=chart)
    return [item for item in objects if not is_hook(item)]


def check(installation: Installation, values: Values, chart: Path = CHART) -> dict[Identity, Object]:
    """Fail unless the server has of the release what the chart renders, and nothing else; return it."""
    found = living(installation)
    wanted = {}
    for item in rendered(installation, values, chart):
        kind, namespace, name = identity(item)
        at_home = (kind, installation.namespace, name)  # where Helm puts what names no namespace
        wanted[at_home if not namespace and at_home in found else (kind, namespace, name)] = item
    assert found.keys() == wanted.keys()
    told = []
    for name, item in wanted.items():
        content = {key: part for key, part in item.items() if key not in ("apiVersion", "metadata")}
        if item["kind"] == "Secret":
            del content["data"]  # another token in each rendering; `lasting` has the one that counts
        told += [f"{name} {text}" for text in differences(content, found[name])]
        # Helm writes its own name on objects that have no labels.
        ours = {"app.kubernetes.io/managed-by": "Helm"} | item["metadata"].get("labels", {})
        told += [f"{name} {text}" for text in differences(ours, found[name]["metadata"]["labels"], ".labels")]
    assert told == []
    return found


def lasting(installation: Installation, found: dict[Identity, Object]) -> dict[str, object]:
    """Return what no upgrade may change: an object that was made again has another uid."""
    named = {item["metadata"]["name"]: item for name, item in found.items() if name[0] == "Deployment"}
    fleet = installation.get("inferenceservices", "llm")
    return {
        "token": installation.token(),
        "address": (found[GATEWAY]["metadata"]["uid"], found[GATEWAY]["spec"]["clusterIP"]),
        "definition": found[DEFINITION]["metadata"]["uid"],
        "fleet": (
            fleet["metadata"]["uid"],
            fleet["spec"]["model"],
            fleet["metadata"].get("deletionTimestamp"),
        ),
        "pods": [
            (key, item["metadata"]["uid"], item["spec"]["selector"]) for key, item in sorted(named.items())
        ],
    }


def properties(found: dict[Identity, Object]) -> int:
    """Return how many fields the definition explains, which tells the two charts' apart."""
    return str(found[DEFINITION]["spec"]).count("'description'")


@pytest.mark.timeout(600)  # seven times Helm, on a machine where others work
def test_a_release_goes_from_an_older_chart_through_its_values_and_back(release: Installation) -> None:
    # Whichever release of another test had the definition, this one takes it over.
    release.helm("install", "torpor", str(OLDER), "--take-ownership")
    release.send("POST", "inferenceservices", FLEET)
    older = check(release, {}, OLDER)
    before = lasting(release, older)
    newer = {}
    for values in ({}, EVERYTHING, FEWER, OTHERS):
        release.install(values)
        newer = check(release, values)
        assert lasting(release, newer) == before, values
    assert properties(newer) > properties(older)
    release.helm("rollback", "torpor", "2")
    assert lasting(release, check(release, {})) == before
    release.helm("rollback", "torpor", "1")
    back = check(release, {}, OLDER)
    assert (lasting(release, back), properties(back)) == (before, properties(older))


def test_what_an_upgrade_would_leave_behind_is_noticed() -> None:
    # The comparison itself: what the server adds is none of its business, what an old version left is.
    wanted = {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}, "metadata": {"labels": {"c": "d"}}}
    found = {
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"a": "b"}, "type": "ClusterIP"}
    }
    found |= {"metadata": {"labels": {"c": "d"}, "uid": "1"}}
    assert list(differences(wanted, found)) == []
    found["spec"]["ports"] += [{"port": 81}]
    found["spec"]["selector"] |= {"old": "x"}
    found["metadata"]["labels"] |= {"c": "e", "f": "g"}
    assert list(differences(wanted, found)) == [
        ".spec.ports: 2 entries instead of 1", ".spec.selector.old: left over",
        ".metadata.labels.c: 'e' instead of 'd'", ".metadata.labels.f: left over",
    ]  # fmt: skip
