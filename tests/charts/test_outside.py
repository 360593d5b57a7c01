"""The doors: Services, Ingress, HTTPRoute, monitors, and how a gateway is replaced without slamming one."""

import pytest

from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import Refused, container, environment, of, one, render


def test_clients_come_in_at_port_80() -> None:
    service = one(render(), "Service", "torpor-gateway")
    assert service["spec"]["type"] == "ClusterIP"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(80, "http")]
    ports = {port["name"]: port["containerPort"] for port in container(render(), "gateway")["ports"]}
    assert ports == {"http": 8080, "demand": 8081, "admin": 9090}


def test_the_operator_finds_every_gateway_process_even_one_that_drains() -> None:
    service = one(render(), "Service", "torpor-gateway-demand")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(8081, "demand")]


def test_each_worker_has_a_demand_port_that_the_operator_alone_may_reach() -> None:
    objects = render({"gateway.workers": 3})
    assert environment(objects, "gateway")["TORPOR_WORKERS"] == "3"
    ports = {port["name"]: port["containerPort"] for port in container(objects, "gateway")["ports"]}
    demand = {name: port for name, port in ports.items() if name.startswith("demand")}
    assert demand == {"demand": 8081, "demand-1": 8082, "demand-2": 8083}
    service = one(objects, "Service", "torpor-gateway-demand")["spec"]["ports"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in service] == [
        (name, port, name) for name, port in demand.items()
    ]
    rules = one(objects, "NetworkPolicy", "torpor-gateway")["spec"]["ingress"]
    (rule,) = [rule for rule in rules if any(port["port"] == "demand" for port in rule["ports"])]
    assert [port["port"] for port in rule["ports"]] == list(demand)


def test_workers_share_the_pods_memory_and_each_has_room_for_one_request() -> None:
    with pytest.raises(
        Refused, match=r"gateway.maxBufferedMebibytes: 64 MiB for 3 workers .* raise it or lower"
    ):
        render({"gateway.workers": 3, "gateway.maxBufferedMebibytes": 64})
    assert render({"gateway.workers": 2, "gateway.maxBufferedMebibytes": 64})


@pytest.mark.parametrize("part", ["operator", "gateway"])
def test_probes_ask_the_admin_port(part: str) -> None:
    spec = container(render(), part)
    paths = {kind: spec[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert {spec[f"{kind}Probe"]["httpGet"]["port"] for kind in paths} == {"admin"}


def test_a_rollout_of_the_gateway_never_has_fewer_pods() -> None:
    strategy = one(render(), "Deployment", "torpor-gateway")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.mark.parametrize(("hold", "stream"), [(900, 900), (0, 1), (86400, 86400)])
def test_the_kubelet_waits_longer_than_the_gateway_drains(hold: int, stream: int) -> None:
    objects = render({"gateway.drain": {"holdSeconds": hold, "streamSeconds": stream}})
    grace = one(objects, "Deployment", "torpor-gateway")["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    drain = int(environment(objects, "gateway")["TORPOR_GRACE_SECONDS"])
    assert drain == hold + stream
    assert grace == drain + 15


def test_budgets_let_nodes_drain() -> None:
    for part in ("operator", "gateway"):
        budget = one(render(), "PodDisruptionBudget", f"torpor-{part}")["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_an_ingress_takes_the_named_hosts_and_no_default_time_out() -> None:
    ingress = one(render(COMBINATIONS["ingress"]), "Ingress")
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["llm.example.com", "*.models.example.com"]
    for rule in ingress["spec"]["rules"]:
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "torpor-gateway", "port": {"name": "http"}}
    prefix = "nginx.ingress.kubernetes.io/proxy-"
    notes = {
        k.removeprefix(prefix): v
        for k, v in ingress["metadata"]["annotations"].items()
        if k.startswith(prefix)
    }
    assert notes["buffering"] == notes["request-buffering"] == "off"
    assert int(notes["read-timeout"]) >= 3600
    assert int(notes["send-timeout"]) >= 3600


def test_ingress_annotations_of_another_controller_replace_the_defaults_one_by_one() -> None:
    name = "nginx.ingress.kubernetes.io/proxy-body-size"
    ingress = one(
        render(
            COMBINATIONS["ingress"]
            | {"gateway.ingress.annotations": {"other.example/timeout": "0", name: None}}
        ),
        "Ingress",
    )
    assert ingress["metadata"]["annotations"]["other.example/timeout"] == "0"
    assert name not in ingress["metadata"]["annotations"]


def test_a_route_has_no_time_outs() -> None:
    route = one(render(COMBINATIONS["route"]), "HTTPRoute")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"]["parentRefs"] == COMBINATIONS["route"]["gateway.httpRoute"]["parentRefs"]
    assert route["spec"]["hostnames"] == ["llm.example.com"]
    (rule,) = route["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert rule["backendRefs"] == [{"name": "torpor-gateway", "port": 80}]


def test_doors_and_monitors_are_closed_by_default() -> None:
    assert not {"Ingress", "HTTPRoute", "ServiceMonitor"} & {item["kind"] for item in render()}


def test_a_monitor_finds_the_metrics_service_of_its_part_and_no_other() -> None:
    objects = render(COMBINATIONS["monitoring"])
    for part in ("operator", "gateway"):
        monitor = one(objects, "ServiceMonitor", f"torpor-{part}")
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [s for s in of(objects, "Service") if wanted <= s["metadata"]["labels"].items()]
        assert [service["metadata"]["name"] for service in found] == [f"torpor-{part}-metrics"]
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in found[0]["spec"]["ports"]}
        assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("15s", "10s")


def test_pods_spread_by_their_own_labels_where_none_are_given() -> None:
    spec = one(render(COMBINATIONS["scheduling"]), "Deployment", "torpor-gateway")["spec"]
    zone, rack = spec["template"]["spec"]["topologySpreadConstraints"]
    assert zone["labelSelector"] == spec["selector"]
    assert rack["labelSelector"] == {"matchLabels": {"own": "selector"}}
    assert spec["template"]["spec"]["priorityClassName"] == "system-cluster-critical"
