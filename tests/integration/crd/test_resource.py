"""The resource as users and other controllers meet it: explain, columns, scale, wait, defaults, pruning."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torpor.api import conditions, constants, names, validation
from torpor.build import children

from tests.integration.kube import Kube, refusal, until
from tests.unit.api.examples import FULL, PLACEMENT, fleet
from tests.unit.api.strategies import SPECS
from tests.unit.build.test_children import INSTALLATION

NOW = "2026-11-21T12:00:00Z"


def create(kube: Kube, namespace: str, spec: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = kube.create(fleet(spec, namespace=namespace, uid=""))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def write_status(kube: Kube, live: dict[str, Any], **status: Any) -> None:
    path = kube.path(live) + "/status"
    answer = kube.merge(path, {"status": status})
    assert answer.status_code == 200, answer.text


def ready(status: conditions.Truth, reason: str, message: str = "") -> list[dict[str, Any]]:
    return [
        {
            "type": constants.READY,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": NOW,
        },
        {
            "type": constants.AWAKE,
            "status": "False",
            "reason": constants.NO_REPLICAS,
            "message": "",
            "lastTransitionTime": NOW,
        },
    ]


def test_defaults_are_filled_in(kube: Kube, namespace: str) -> None:
    spec = create(kube, namespace)["spec"]
    assert spec["scaling"]["maxReplicas"] == 1
    assert spec["scaling"]["signals"] == {
        "queueDepth": {},  # absent means something: see the field's description
        "kvCacheUtilization": {"targetPercent": 80},
    }
    assert spec["traffic"]["coldStart"]["response"] == "KeepAlive"
    assert spec["engine"]["startupSeconds"] == 1800
    assert spec["drainSeconds"] == 600
    assert "replicas" not in spec["scaling"]
    assert "idleSeconds" not in spec["scaling"]


def test_unknown_fields_are_pruned_and_strict_clients_are_told(kube: Kube, namespace: str) -> None:
    manifest = fleet({"scaling": {"maxReplica": 3}}, namespace=namespace, uid="")
    strict = kube.http.post(
        kube.path(manifest, named=False), params={"dryRun": "All", "fieldValidation": "Strict"}, json=manifest
    )
    assert strict.status_code == 400
    assert 'unknown field "spec.scaling.maxReplica"' in strict.json()["message"]
    assert "maxReplica" not in create(kube, namespace, {"scaling": {"maxReplica": 3}})["spec"]["scaling"]


def test_explain_reads_as_documentation(kube: Kube) -> None:
    explain = ("explain", "isvc.spec", "--recursive")
    # The server publishes the schema for explain a moment after it serves the objects.
    tree = until(lambda: kube.kubectl(*explain, check=False).stdout, "kubectl explain knows isvc")
    for field in (
        "minReplicas",
        "unaryHoldSeconds",
        "targetPercent",
        "topologySpreadConstraints",
        "claimName",
    ):
        assert re.search(rf"^\s+{field}\s+<", tree, re.MULTILINE), field
    assert "enum: Hold, KeepAlive, Reject" in tree
    assert "-required-" in tree
    page = " ".join(kube.kubectl("explain", "isvc.spec.scaling.replicas").stdout.split())
    assert "Remove it to hand back" in page
    assert "Empty" not in kube.kubectl("explain", "isvc", "--recursive").stdout


def test_columns(kube: Kube, namespace: str) -> None:
    live = create(kube, namespace)
    write_status(
        kube,
        live,
        readyReplicas=0,
        desiredReplicas=2,
        replicas=1,
        conditions=ready("True", constants.WAKING, "on its way"),
    )
    header, row = kube.kubectl("get", "isvc", "-n", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "MODEL", "READY", "DESIRED", "AWAKE", "WHY", "AGE"]
    cells = row.split()
    assert cells[:6] == ["smol", "hf://HuggingFaceTB/SmolLM2-135M-Instruct", "0", "2", "False", "Waking"]
    wide = kube.kubectl("get", "tisvc", "-n", namespace, "-o", "wide").stdout
    assert "on its way" in wide
    assert "PODS" in wide
    assert "smol" in kube.kubectl("get", "torpor", "-n", namespace).stdout


def test_kubectl_scale_sets_and_a_patch_hands_back(kube: Kube, namespace: str) -> None:
    live = create(kube, namespace)
    kube.kubectl("scale", "isvc/smol", "-n", namespace, "--replicas=3")
    found = kube.http.get(kube.path(live)).json()
    assert found["spec"]["scaling"]["replicas"] == 3
    assert found["metadata"]["generation"] == live["metadata"]["generation"] + 1
    kube.kubectl(
        "patch", "isvc/smol", "-n", namespace, "--type=merge", "-p", '{"spec":{"scaling":{"replicas":null}}}'
    )
    assert "replicas" not in kube.http.get(kube.path(live)).json()["spec"]["scaling"]


def test_the_scale_subresource_as_an_autoscaler_uses_it(kube: Kube, namespace: str) -> None:
    live = create(kube, namespace, {"scaling": {"replicas": 1, "maxReplicas": 4}})
    write_status(kube, live, replicas=1, selector=names.selector_text("smol"))
    path = kube.path(live) + "/scale"
    scale = kube.http.get(path).json()
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 1, "selector": names.selector_text("smol")}
    scale["spec"]["replicas"] = 4
    answer = kube.http.put(path, json=scale)
    assert answer.status_code == 200, answer.text
    assert kube.http.get(kube.path(live)).json()["spec"]["scaling"]["replicas"] == 4
    stale = kube.http.put(path, json=scale | {"spec": {"replicas": 2}})
    assert stale.status_code == 409, "a writer that saw an older number must not win"
    assert kube.merge(path, {"spec": {"replicas": 2**31}}).status_code >= 400
    assert "1000" in kube.merge(path, {"spec": {"replicas": 1001}}).text


def test_getting_scale_needs_the_field_once(kube: Kube, namespace: str) -> None:
    """
    Kubernetes reads the path and finds nothing: documented, and the reason to set the field before an HPA.
    """
    live = create(kube, namespace)
    assert kube.http.get(kube.path(live) + "/scale").status_code >= 400
    assert kube.merge(kube.path(live) + "/scale", {"spec": {"replicas": 0}}).status_code == 200
    assert kube.http.get(kube.path(live) + "/scale").json()["spec"].get("replicas", 0) == 0


def test_wait_sees_the_condition(kube: Kube, namespace: str) -> None:
    live = create(kube, namespace)
    waiting = ("wait", "isvc/smol", "-n", namespace, "--for=condition=Ready")
    assert kube.kubectl(*waiting, "--timeout=1s", check=False).returncode != 0
    write_status(kube, live, observedGeneration=1, conditions=ready("True", constants.ASLEEP))
    kube.kubectl(*waiting, "--timeout=50s")


def test_status_takes_what_the_helpers_write_and_spec_writes_do_not_touch_it(
    kube: Kube, namespace: str
) -> None:
    live = create(kube, namespace)
    status = {
        "observedGeneration": 1,
        "conditions": ready("False", constants.WAKE_FAILED, "ImagePullFailed: no such image"),
        "decision": {
            "desiredReplicas": 1,
            "reason": "Wake",
            "message": "2 requests are held",
            "time": NOW,
            "signals": [
                {"name": "queueDepth", "value": "3.50", "target": "4", "ageSeconds": 1, "rawReplicas": 1}
            ],
            "clamps": [{"name": "max", "from": 3, "to": 1, "message": "maxReplicas is 1"}],
        },
        "coldStart": {
            "lastSeconds": "12.5",
            "p95Seconds": "20",
            "phases": [{"name": "download", "seconds": "3.1"}],
        },
    }
    write_status(kube, live, **status)
    found = kube.http.get(kube.path(live)).json()
    assert found["status"] == status, (
        "a field that the schema lacks would be pruned and written again for ever"
    )
    assert validation.check(found).valid
    assert (
        kube.merge(kube.path(live), {"status": {"replicas": 9}, "spec": {"drainSeconds": 7}}).status_code
        == 200
    )
    assert kube.http.get(kube.path(live)).json()["status"] == status


def test_status_is_bounded(kube: Kube, namespace: str) -> None:
    live = create(kube, namespace)
    answer = kube.merge(kube.path(live) + "/status", {"status": {"conditions": ready("True", "not a word")}})
    assert "reason" in refusal(answer)[0]


@pytest.mark.parametrize(
    "spec", [{}, FULL, PLACEMENT, {"engine": {"type": "Simulated"}}, {"model": {"uri": "pvc://claim/x"}}]
)
def test_the_api_server_accepts_every_child(kube: Kube, namespace: str, spec: dict[str, Any]) -> None:
    live = create(kube, namespace, spec)
    parsed = validation.check(live).fleet
    assert parsed is not None
    for replicas in (0, 2):
        for manifest in children(parsed, INSTALLATION, replicas):
            answer = kube.apply(manifest, dry_run=True)
            assert answer.status_code in (200, 201), answer.text
            assert not answer.headers.get("Warning"), answer.headers["Warning"]


@given(spec=SPECS, replicas=st.integers(0, 1000), in_place=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_validation_lets_through_makes_a_deployment_that_the_api_server_accepts(
    kube: Kube, namespace: str, spec: dict[str, Any], replicas: int, in_place: bool
) -> None:
    parsed = validation.check(fleet(spec, namespace=namespace)).fleet
    assert parsed is not None
    for manifest in children(parsed, INSTALLATION, replicas, in_place=in_place)[-2:]:
        answer = kube.apply(manifest, dry_run=True)
        assert answer.status_code == 201, answer.text


def test_a_kept_template_is_accepted_and_starts_no_rollout(kube: Kube, namespace: str) -> None:
    parsed = validation.check(create(kube, namespace, FULL)).fleet
    assert parsed is not None
    first = kube.apply(children(parsed, INSTALLATION, 2)[-1]).json()
    upgraded = children(parsed, INSTALLATION.__class__(**_other_image()), 3, first)[-1]
    second = kube.apply(upgraded).json()
    assert second["spec"]["replicas"] == 3
    assert second["spec"]["template"] == first["spec"]["template"]


def _other_image() -> dict[str, str]:
    return {
        "gateway_namespace": INSTALLATION.gateway_namespace,
        "gateway_service": INSTALLATION.gateway_service,
        "launcher_image": "registry.example/torpor-engine:9.9.9",
        "simulated_image": "registry.example/torpor-engine:9.9.9",
    }


def test_the_pods_pass_the_restricted_profile(kube: Kube, namespace: str) -> None:
    """Pod Security admission judges a Deployment's template with warnings, and pods with refusals."""
    kube.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted",
                 "pod-security.kubernetes.io/warn=restricted", "--overwrite")  # fmt: skip
    parsed = validation.check(create(kube, namespace, FULL)).fleet
    assert parsed is not None
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert kube.http.post(f"/api/v1/namespaces/{namespace}/serviceaccounts", json=account).status_code == 201
    deployment = children(parsed, INSTALLATION, 1)[-1]
    answer = kube.apply(deployment, dry_run=True)
    assert not answer.headers.get("Warning"), answer.headers["Warning"]
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"] | {"name": "probe"},
        "spec": template["spec"],
    }
    for name in ("priorityClassName", "runtimeClassName"):
        pod["spec"].pop(name, None)  # these must exist for a pod, and do not here
    made = kube.http.post(f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json=pod)
    assert made.status_code == 201, made.text
