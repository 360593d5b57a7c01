"""Children are complete, valid, restricted, deterministic, and change only when they must."""

import copy
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.api import constants, names, validation
from torpor.api.types import InferenceService
from torpor.build import BuildSettings, children, revision_of

from tests.kubernetes_schema import refuse_what_kubernetes_refuses
from tests.unit.api.examples import FULL, fleet
from tests.unit.api.strategies import SPECS

GOLDEN = Path(__file__).with_name("golden.yaml")
INSTALLATION = BuildSettings(
    gateway_namespace="torpor-system",
    gateway_service="torpor-gateway",
    launcher_image="registry.example/torpor-engine:0.1.0",
    simulated_image="registry.example/torpor-engine:0.1.0",
)
UPGRADED = BuildSettings(
    gateway_namespace="torpor-system",
    gateway_service="torpor-gateway",
    launcher_image="registry.example/torpor-engine:9.9.9",
    simulated_image="registry.example/torpor-engine:9.9.9",
)
Object = dict[str, Any]


def parse(spec: Object | None = None, **metadata: Any) -> InferenceService:
    checked = validation.check(fleet(spec, **metadata))
    assert checked.valid, checked.message()
    assert checked.fleet is not None
    return checked.fleet


def build(spec: Object | None = None, replicas: int = 0, **options: Any) -> dict[str, Object]:
    manifests = children(parse(spec), options.pop("installation", INSTALLATION), replicas, **options)
    return {manifest["kind"] + "/" + manifest["metadata"]["name"]: manifest for manifest in manifests}


def pod(spec: Object | None = None) -> Object:
    found: Object = build(spec)["Deployment/smol-engines"]["spec"]["template"]
    return found


def engine(spec: Object | None = None) -> Object:
    found: Object = pod(spec)["spec"]["containers"][0]
    return found


def env(spec: Object | None = None) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in engine(spec)["env"]}


@functools.cache
def kubernetes_accepts(text: str) -> None:
    """Check one manifest against Kubernetes' own schema. Most children are alike: each is checked once."""
    refuse_what_kubernetes_refuses(json.loads(text), "1.37")


def test_the_whole_set_is_as_committed() -> None:
    """To accept a change, read the difference and write the file anew from `render`."""
    assert yaml.safe_load_all(GOLDEN.read_text()) is not None
    assert list(yaml.safe_load_all(GOLDEN.read_text())) == children(parse(FULL), INSTALLATION, 2)


@given(spec=SPECS, replicas=st.integers(0, 1000), in_place=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_spec_gives_manifests_that_kubernetes_accepts(
    spec: Object, replicas: int, in_place: bool
) -> None:
    first = children(parse(spec), INSTALLATION, replicas, in_place=in_place)
    for manifest in first:
        kubernetes_accepts(json.dumps(manifest))
        assert manifest["metadata"]["ownerReferences"][0]["controller"] is True
        assert manifest["metadata"]["labels"][constants.LABEL_FLEET] == "smol"
    assert children(parse(copy.deepcopy(spec)), INSTALLATION, replicas, in_place=in_place) == first


@given(spec=SPECS)
@settings(max_examples=60, deadline=None)
def test_any_spec_gives_a_consistent_pod(spec: Object) -> None:
    template = pod(spec)
    body = template["spec"]
    volumes = [volume["name"] for volume in body["volumes"]]
    containers = body["initContainers"] + body["containers"]
    mounts = [mount["name"] for container in containers for mount in container["volumeMounts"]]
    assert len(set(volumes)) == len(volumes)
    assert set(mounts) == set(volumes)
    paths = [mount["mountPath"] for mount in body["containers"][0]["volumeMounts"]]
    assert len(set(paths)) == len(paths)
    variables = [entry["name"] for entry in body["containers"][0]["env"]]
    assert len(set(variables)) == len(variables)
    selector = build(spec)["Deployment/smol-engines"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize(
    "spec", [{}, FULL, {"engine": {"type": "Simulated"}}], ids=["least", "full", "simulated"]
)
def test_pods_meet_the_restricted_profile(spec: Object) -> None:
    body = pod(spec)["spec"]
    assert body["automountServiceAccountToken"] is False
    assert body["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & body.keys()
    assert body["securityContext"]["runAsNonRoot"] is True
    for container in body["initContainers"] + body["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsUser"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all("hostPath" not in volume for volume in body["volumes"])


def test_the_deployment_always_says_how_many() -> None:
    assert build(replicas=0)["Deployment/smol-engines"]["spec"]["replicas"] == 0
    assert build(replicas=7)["Deployment/smol-engines"]["spec"]["replicas"] == 7


def test_the_deployment_comes_last() -> None:
    assert children(parse(FULL), INSTALLATION, 1)[-1]["kind"] == "Deployment"


def test_surge_and_in_place() -> None:
    surge = build()["Deployment/smol-engines"]["spec"]["strategy"]["rollingUpdate"]
    in_place = build(in_place=True)["Deployment/smol-engines"]["spec"]["strategy"]["rollingUpdate"]
    assert surge == {"maxSurge": 1, "maxUnavailable": 0}
    assert in_place == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_drain_fits_into_the_grace_period() -> None:
    body = pod({"drainSeconds": 100})["spec"]
    sleep = body["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert body["terminationGracePeriodSeconds"] == sleep + 100 + 15
    assert env({"drainSeconds": 100})["TORPOR_DRAIN_SECONDS"] == "100"


def test_the_probes_allow_the_whole_startup_budget_and_kill_failures_quickly() -> None:
    container = engine({"engine": {"startupSeconds": 77}})
    probe = container["startupProbe"]
    assert 77 < probe["periodSeconds"] * probe["failureThreshold"] < 77 + 60
    assert probe["terminationGracePeriodSeconds"] == 30
    assert {
        container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")
    } == {"launcher"}
    deadline = build({"engine": {"startupSeconds": 77}})["Deployment/smol-engines"]["spec"][
        "progressDeadlineSeconds"
    ]
    assert deadline > 77 + 60


def test_what_the_launcher_is_told() -> None:
    told = env(FULL)
    assert told["TORPOR_MODEL_NAMES"] == "smollm2,team/smollm2"
    assert told["TORPOR_FLEET_NAMESPACE"] == "team"
    assert told["TORPOR_FLEET_UID"] == "0d5f2c6e-1111-4222-8333-444455556666"
    assert told["TORPOR_REVISION"] == revision_of(parse(FULL))
    assert told["HF_TOKEN"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
    assert told["TORPOR_POD_NAME"] == {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    assert engine(FULL)["args"] == FULL["engine"]["args"]
    assert engine(FULL)["command"] == ["python3", "/torpor/torpor-engine.pyz", "run", "--"]


def test_every_writable_place_is_on_a_volume() -> None:
    told = env()
    for variable in (
        "HOME",
        "XDG_CACHE_HOME",
        "HF_HOME",
        "VLLM_CACHE_ROOT",
        "TRITON_CACHE_DIR",
        "TORCHINDUCTOR_CACHE_DIR",
    ):
        assert told[variable].startswith("/cache/")
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in engine()["volumeMounts"]}
    assert mounts == {"/torpor": True, "/cache": False, "/tmp": False, "/dev/shm": False, "/etc/torpor": True}
    shm = next(volume for volume in pod()["spec"]["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory"}


def test_the_tuning_reaches_the_pod_by_a_volume_and_never_by_the_template() -> None:
    bare, told = build(replicas=1), build(replicas=1, data={"tuning.json": "{}", "memory.json": "{}"})
    config = told.pop("ConfigMap/smol-fleet")
    assert told == bare, "what is kept changes no other child"
    assert config["data"] == {"memory.json": "{}", "tuning.json": "{}"}
    kubernetes_accepts(json.dumps(config))
    volume = next(it for it in pod()["spec"]["volumes"] if it["name"] == "torpor-tuning")["configMap"]
    assert (volume["name"], volume["optional"]) == (config["metadata"]["name"], True)
    assert [item["key"] for item in volume["items"]] == ["tuning.json"], "pods see no other key"


def test_an_operator_that_brings_the_volume_restarts_no_engine() -> None:
    """Pods that an earlier version made have no such volume, and their template stays until they go."""
    live = build(replicas=1)["Deployment/smol-engines"]
    body = live["spec"]["template"]["spec"]
    body["volumes"] = [it for it in body["volumes"] if it["name"] != "torpor-tuning"]
    mounts = body["containers"][0]["volumeMounts"]
    body["containers"][0]["volumeMounts"] = [it for it in mounts if it["name"] != "torpor-tuning"]
    again = build(replicas=1, live=copy.deepcopy(live))["Deployment/smol-engines"]
    assert again["spec"]["template"] == live["spec"]["template"]
    asleep = copy.deepcopy(live) | {"spec": live["spec"] | {"replicas": 0}}
    woken = build(replicas=1, live=asleep)["Deployment/smol-engines"]
    assert woken["spec"]["template"] == pod()


def test_a_users_variable_wins_over_a_cache_default() -> None:
    assert env({"engine": {"env": [{"name": "HF_HOME", "value": "/data/hf"}]}})["HF_HOME"] == "/data/hf"


def test_gpu_limits_stay_as_written() -> None:
    limits = {"nvidia.com/gpu": 1, "memory": "32Gi"}
    assert engine({"engine": {"resources": {"limits": limits}}})["resources"] == {"limits": limits}


@pytest.mark.parametrize(
    ("cache", "volume", "claim"),
    [
        (None, {"emptyDir": {}}, False),
        ({"claimName": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}, False),
        ({"size": "1Gi"}, {"persistentVolumeClaim": {"claimName": "smol-cache"}}, True),
    ],
)
def test_the_cache_volume(cache: Object | None, volume: Object, claim: bool) -> None:
    spec = {"model": {"uri": "hf://a/b"} | ({"cache": cache} if cache else {})}
    found = next(it for it in pod(spec)["spec"]["volumes"] if it["name"] == "cache")
    assert found == {"name": "cache"} | volume
    assert ("PersistentVolumeClaim/smol-cache" in build(spec)) is claim


def test_a_model_on_a_claim_is_mounted_read_only() -> None:
    spec = {"model": {"uri": "pvc://models/smollm2"}}
    volume = next(it for it in pod(spec)["spec"]["volumes"] if it["name"] == "model")
    assert volume["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    mount = next(it for it in engine(spec)["volumeMounts"] if it["name"] == "model")
    assert (mount["mountPath"], mount["readOnly"]) == ("/models/models", True)


@pytest.mark.parametrize(
    ("asked", "image"),
    [
        ({}, constants.DEFAULT_VLLM_IMAGE),
        ({"type": "Simulated"}, INSTALLATION.simulated_image),
        ({"type": "Simulated", "image": "mine:1"}, "mine:1"),
        ({"image": "mine:1"}, "mine:1"),
    ],
)
def test_the_engines_image(asked: Object, image: str) -> None:
    assert engine({"engine": asked})["image"] == image


def test_a_simulated_fleet_goes_through_the_same_manifest() -> None:
    simulated, real = pod({"engine": {"type": "Simulated", "image": "x"}}), pod({"engine": {"image": "x"}})
    told = {entry["name"]: entry for entry in simulated["spec"]["containers"][0]["env"]}
    assert told["TORPOR_ENGINE_TYPE"]["value"] == "Simulated"
    for template in (simulated, real):
        template["metadata"]["labels"].pop(constants.LABEL_REVISION)
        template["spec"]["containers"][0].pop("env")
    assert simulated == real


def test_who_may_reach_the_engines() -> None:
    policy = build()["NetworkPolicy/smol-engines"]["spec"]
    gateway, monitoring = policy["ingress"]
    (peer,) = gateway["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "torpor-system"}
    assert peer["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "gateway",
        "app.kubernetes.io/part-of": "torpor",
    }
    assert [port["port"] for port in gateway["ports"]] == [8000, 8001]
    assert [port["port"] for port in monitoring["ports"]] == [8001]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"]["matchLabels"] == names.pod_selector("smol")


@pytest.mark.parametrize("namespaces", [(), ("prometheus", "tracing")])
def test_launchers_are_scraped_from_the_named_namespaces_alone(namespaces: tuple[str, ...]) -> None:
    installation = dataclasses.replace(INSTALLATION, metrics_namespaces=namespaces)
    gateway, *others = build(installation=installation)["NetworkPolicy/smol-engines"]["spec"]["ingress"]
    assert gateway == build()["NetworkPolicy/smol-engines"]["spec"]["ingress"][0]
    peers = [peer["namespaceSelector"]["matchLabels"] for rule in others for peer in rule["from"]]
    assert peers == [{"kubernetes.io/metadata.name": namespace} for namespace in namespaces]
    assert all(rule["from"] for rule in others), "a rule without peers lets everybody in"


def test_behind_a_gateway_that_speaks_https_alone_the_fleets_service_names_its_port() -> None:
    secure = build(installation=dataclasses.replace(INSTALLATION, gateway_tls=True))
    (port,) = secure["Service/smol"]["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("https", 443, 443)
    before = build()
    assert secure["Service/smol"]["spec"]["externalName"] == before["Service/smol"]["spec"]["externalName"]
    others = secure.keys() - {"Service/smol"}
    assert all(secure[name] == before[name] for name in others), "no engine restarts for it"


def test_the_services_lead_to_the_gateway_and_list_the_engines() -> None:
    found = build()
    assert found["Service/smol"]["spec"]["externalName"] == "torpor-gateway.torpor-system.svc.cluster.local"
    assert found["Service/smol"]["spec"]["ports"][0]["port"] == 80
    headless = found["Service/smol-engines"]["spec"]
    assert headless["clusterIP"] == "None"
    assert [(port["name"], port["port"]) for port in headless["ports"]] == [
        ("engine", 8000),
        ("launcher", 8001),
    ]
    assert found["Service/smol-engines"]["metadata"]["labels"][constants.LABEL_FLEET] == "smol"


def test_evictions_go_one_by_one_and_never_wait_for_what_is_not_ready() -> None:
    budget = build()["PodDisruptionBudget/smol-engines"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
