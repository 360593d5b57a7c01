"""The roles hold exactly the rights that the code uses.

Every call through the operator's one door to Kubernetes is found in its source and must stand in `LEDGER`
with the rights it needs: a new call fails here until somebody writes them down, and then until the chart
grants them; a call that goes leaves a right that nothing uses, which fails as well. What is watched is asked
of the objects that watch. Nothing is allowed for later.
"""

import ast
import ssl
from collections.abc import Iterator
from unittest.mock import Mock

from torpor.cluster.client import Kube
from torpor.cluster.resources import (
    CHILDREN,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    FLEETS,
    LEASES,
    PODS,
    Resource,
)
from torpor.control.watches import Feed
from torpor_gateway.cluster import ClusterSource
from torpor_gateway.kube import Access
from torpor_gateway.settings import Settings

from tests.charts.rendering import ROOT, render
from tests.charts.test_roles import Rights, granted

OPERATOR = ROOT / "operator" / "src" / "torpor"
GATEWAY = ROOT / "runtime" / "src" / "torpor_gateway"
DOOR = {"get", "list", "text", "apply", "merge", "write_event", "request"}
LOCAL = {"access", "close"}  # ask the API server nothing


def rights(resources: tuple[Resource, ...], verbs: str, subresource: str = "") -> Rights:
    """Return the rights of `verbs` (words) on the resources."""
    return {(r.group, r.plural + subresource, verb) for r in resources for verb in verbs.split()}


# file, method, first argument -> what the API server asks for. Server-side apply creates what is missing.
LEDGER: dict[tuple[str, str, str], Rights] = {
    ("control/executor.py", "apply", "manifest"): rights(CHILDREN, "create patch")
    | rights((FLEETS,), "patch", "/status"),
    ("control/executor.py", "merge", "DEPLOYMENTS"): rights((DEPLOYMENTS,), "patch", "/scale"),
    ("control/executor.py", "merge", "PODS"): rights((PODS,), "patch"),
    ("control/executor.py", "merge", "CONFIG_MAPS"): rights((CONFIG_MAPS,), "patch"),
    ("control/executor.py", "get", "resource"): rights(CHILDREN, "get"),
    ("control/executor.py", "get", "CONFIG_MAPS"): rights((CONFIG_MAPS,), "get"),
    ("control/controller.py", "get", "DEPLOYMENTS"): rights((DEPLOYMENTS,), "get"),
    ("control/watches.py", "list", "resource"): set(),  # see test_the_operator_holds_what_it_uses
    ("__main__.py", "request", "'GET'"): set(),  # /version, which everybody may read
    ("cluster/lease.py", "get", "LEASES"): rights((LEASES,), "get"),
    ("cluster/lease.py", "request", "'POST'"): rights((LEASES,), "create"),
    ("cluster/lease.py", "request", "'PUT'"): rights((LEASES,), "update"),
    ("cluster/events.py", "write_event", "change"): rights((EVENTS,), "patch"),
    ("cluster/events.py", "write_event", "event"): rights((EVENTS,), "create"),
    ("cluster/events.py", "write_event", "again"): rights((EVENTS,), "patch"),
}


def calls() -> Iterator[tuple[str, str, str]]:
    """Yield every call of a `kube` object in the operator: file, method, first argument as written."""
    for path in sorted(OPERATOR.rglob("*.py")):
        if path.name == "client.py" or path.parent.name == "cli":  # the door itself; the user's own rights
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr in DOOR and ast.unparse(node.func.value).endswith("kube"):
                yield str(path.relative_to(OPERATOR)), node.func.attr, ast.unparse(node.args[0])


def test_the_door_has_no_other_handles() -> None:
    public = {name for name, item in vars(Kube).items() if callable(item) and not name.startswith("_")}
    assert public == DOOR | LOCAL


def test_every_call_is_in_the_ledger_and_every_entry_is_a_call() -> None:
    assert set(calls()) == LEDGER.keys()


def test_the_operator_holds_what_it_uses() -> None:
    feed = Feed(Mock(), Mock(), Mock(), Mock(), home="home", demand_service="demand", namespaces=())
    fleets = tuple(kind for kind in feed.freshness if kind != ENDPOINT_SLICES)
    everywhere = set().union(*LEDGER.values()) | rights(fleets, "list watch")
    lease = rights((LEASES,), "get create update")
    at_home = lease | rights((ENDPOINT_SLICES,), "list watch")
    assert lease <= everywhere
    assert granted(render(), "operator") == {"*": everywhere - lease, "torpor-system": at_home}
    narrow = granted(render({"watchNamespaces": ["a"]}), "operator")
    assert narrow == {"a": everywhere - lease, "torpor-system": at_home}


async def test_the_gateway_counts_its_own_pods_where_keys_are_on_and_may() -> None:
    home = {"namespace": "torpor-system", "demand_service": "torpor-gateway-demand"}
    where = Access("http://x", ssl.create_default_context())
    without = ClusterSource(Mock(), Settings(**home), where)
    assert without.siblings is None
    source = ClusterSource(Mock(), Settings(**home, api_keys="/keys"), where)
    assert source.siblings is not None
    assert source.siblings._path == "/apis/discovery.k8s.io/v1/namespaces/torpor-system/endpointslices"
    assert source.siblings not in source.watches
    await source.close()
    await without.close()
    narrow = {"watchNamespaces": ["a"], "gateway.apiKeys.secretName": "keys"}
    read = {("discovery.k8s.io", "endpointslices", verb) for verb in ("list", "watch")}
    assert granted(render(narrow), "gateway")["torpor-system"] == read
    assert "torpor-system" not in granted(render({"watchNamespaces": ["a"]}), "gateway")
    assert granted(render(), "gateway") == granted(render({"gateway.apiKeys.secretName": "keys"}), "gateway")


async def test_the_gateway_holds_what_it_uses() -> None:
    source = ClusterSource(
        Mock(), Settings(watch_namespaces="a"), Access("http://x", ssl.create_default_context())
    )
    used: Rights = set()
    for watch in source.watches:
        parts = watch._path.strip("/").split("/")  # apis GROUP VERSION namespaces NAMESPACE RESOURCE
        assert parts[3:5] == ["namespaces", "a"]
        used |= {(parts[1], parts[5], verb) for verb in ("list", "watch")}
    await source.close()
    assert granted(render(), "gateway") == {"*": used}


def test_the_gateway_sends_nothing_but_reads() -> None:
    methods = {
        node.value
        for node in ast.walk(ast.parse((GATEWAY / "kube.py").read_text()))
        if isinstance(node, ast.Constant) and node.value in ("GET", "POST", "PUT", "PATCH", "DELETE")
    }
    attributes = {
        node.func.attr
        for node in ast.walk(ast.parse((GATEWAY / "kube.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("self._http.")
        and isinstance(node.func, ast.Attribute)
    }  # fmt: skip
    assert methods <= {"GET"}
    assert attributes <= {"get", "stream", "build_request", "send", "aclose"}
    clients = {path.name for path in GATEWAY.glob("*.py") if "import httpx" in path.read_text()}
    assert clients == {
        "kube.py",
        "cluster.py",
        "otlp.py",
    }  # the last speaks to a collector of traces, if told to
    assert "self._http." not in (GATEWAY / "cluster.py").read_text().replace("self._http.aclose", "")
