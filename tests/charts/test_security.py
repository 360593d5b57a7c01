"""Every pod of the chart meets the "restricted" pod security standard, under every combination of values.

The assertion is written out here and not taken from the templates' helpers, so a helper that loses a field is
caught. Beyond the standard: read-only root, a fixed user, no service-account token where none is used.
"""

import ast

import pytest

from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import CHART, Object, one, pods, render

RESTRICTED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Object) -> list[str]:
    """Return what the restricted standard, and this project beyond it, objects to in a pod."""
    spec = pod["spec"]
    found = [
        f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(field)
    ]
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        found += [f"volume {volume['name']}: {kind}" for kind in kinds - RESTRICTED_VOLUMES]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        found += [
            f"{container['name']}: {what}" for what in _container(spec.get("securityContext", {}), container)
        ]
    return found


def _container(shared: Object, container: Object) -> list[str]:
    own = container.get("securityContext", {})
    merged = shared | own
    rules = {
        "may run as root": merged.get("runAsNonRoot") is True and merged.get("runAsUser") != 0,
        "no seccomp profile": merged.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "privilege escalation": own.get("allowPrivilegeEscalation") is False,
        "privileged": not own.get("privileged"),
        "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "writable root": own.get("readOnlyRootFilesystem") is True,
        "host port": all("hostPort" not in port for port in container.get("ports", [])),
        "no memory limit": "memory" in container.get("resources", {}).get("limits", {}),
    }
    return [what for what, met in rules.items() if not met]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_pod_is_restricted(name: str) -> None:
    found = {pod_name: violations(pod) for pod_name, pod in pods(render(COMBINATIONS[name]))}
    assert len(found) >= 2
    assert not any(found.values()), found


def test_the_assertion_sees_what_it_should() -> None:
    pod = next(pod for pod_name, pod in pods(render()) if pod_name == "Deployment/torpor-gateway")
    assert violations(pod) == []
    pod["spec"]["hostNetwork"] = True
    pod["spec"]["volumes"].append({"name": "disk", "hostPath": {"path": "/"}})
    pod["spec"]["securityContext"] = {}
    container = pod["spec"]["containers"][0]
    container["securityContext"] = {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}
    container["resources"] = {}
    assert len(violations(pod)) == 8


def test_pods_run_as_a_user_that_no_image_knows_unless_the_cluster_chooses_one() -> None:
    for _, pod in pods(render()):
        assert pod["spec"]["securityContext"]["runAsUser"] == 65532
        assert pod["spec"]["securityContext"]["runAsGroup"] == 65532
    for pod_name, pod in pods(render(COMBINATIONS["OpenShift"])):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(pod["spec"]["securityContext"]), pod_name


def test_only_the_pods_that_talk_to_kubernetes_get_a_token() -> None:
    objects = render()
    tokens = {pod_name: pod["spec"]["automountServiceAccountToken"] for pod_name, pod in pods(objects)}
    assert tokens == {
        "Deployment/torpor-operator": True,
        "Deployment/torpor-gateway": True,
        "Pod/torpor-test": False,
    }
    for part in ("operator", "gateway"):
        assert one(objects, "ServiceAccount", f"torpor-{part}")["automountServiceAccountToken"] is False


def test_every_writable_path_is_a_volume_and_the_demand_token_is_read_only() -> None:
    for part in ("operator", "gateway"):
        spec = one(render(), "Deployment", f"torpor-{part}")["spec"]["template"]["spec"]
        mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
        assert set(mounts) == {"/tmp", "/var/run/torpor/demand"}
        assert mounts["/var/run/torpor/demand"]["readOnly"] is True


def test_the_demand_port_is_open_to_the_operator_alone() -> None:
    policy = one(render(), "NetworkPolicy", "torpor-gateway")
    rules = [rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == "demand"]
    operator = one(render(), "Deployment", "torpor-operator")["spec"]["selector"]["matchLabels"]
    assert [rule["from"] for rule in rules] == [[{"podSelector": {"matchLabels": operator}}]]
    # No rule without ports: it would open them all.
    assert all(rule["ports"] for rule in policy["spec"]["ingress"])


def test_the_operator_takes_nothing_but_scrapes() -> None:
    policy = one(render(), "NetworkPolicy", "torpor-operator")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert [rule["ports"] for rule in policy["spec"]["ingress"]] == [[{"port": "admin", "protocol": "TCP"}]]


def test_peers_narrow_clients_and_scrapers() -> None:
    objects = render(COMBINATIONS["monitoring"])
    gateway = {
        r["ports"][0]["port"]: r["from"]
        for r in one(objects, "NetworkPolicy", "torpor-gateway")["spec"]["ingress"]
    }
    assert gateway["http"] == [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]
    assert gateway["admin"] == COMBINATIONS["monitoring"]["gateway.networkPolicy.metricsFrom"]


def test_each_rendering_makes_a_long_token_of_its_own_and_none_where_one_is_given() -> None:
    first = one(render(), "Secret")["data"]["token"]
    second = one(render(release="torpor", namespace="other"), "Secret")["data"]["token"]
    assert first != second
    assert len(first) == 64  # 48 characters in base64
    objects = render(COMBINATIONS["token of others"])
    assert not [item for item in objects if item["kind"] == "Secret"]
    for part in ("operator", "gateway"):
        volumes = one(objects, "Deployment", f"torpor-{part}")["spec"]["template"]["spec"]["volumes"]
        secret = next(volume["secret"] for volume in volumes if "secret" in volume)
        assert secret == {"secretName": "mine", "items": [{"key": "demand.token", "path": "token"}]}


def test_the_script_of_helm_test_needs_the_standard_library_alone() -> None:
    (container,) = one(render(), "Pod", "torpor-test")["spec"]["containers"]
    assert container["command"][:2] == ["python3", "-c"]
    assert container["command"][2].strip() == (CHART / "files" / "first_token.py").read_text().strip()
    tree = ast.parse(container["command"][2])
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"http", "json", "os", "ssl", "sys", "time", "urllib"}
