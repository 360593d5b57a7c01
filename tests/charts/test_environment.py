"""The variables that the chart sets are those that the programs read, and mean what the chart means.

A variable that nothing reads is a value that does nothing; a misspelt one is worse, since the program runs on
its default and nobody notices.
"""

import pytest
from torpor import settings as operator
from torpor.api import constants
from torpor.api.routes import BareNames
from torpor.build.settings import BuildSettings
from torpor_gateway import otel
from torpor_gateway import settings as gateway

from tests.charts.combinations import COMBINATIONS
from tests.charts.rendering import Object, environment, of, one, render

TOKEN = "/var/run/torpor/demand/token"


def ours(part: str, objects: list[Object] | None = None) -> dict[str, str]:
    """Return the variables of a part that begin with TORPOR_."""
    found = environment(objects or render(), part)
    return {name: value for name, value in found.items() if name.startswith("TORPOR_")}


def loaded(objects: list[Object] | None = None) -> gateway.Settings:
    """Return the gateway's settings as its process would read them in the pod."""
    return gateway.Settings.load(ours("gateway", objects))


def test_the_gateway_reads_every_variable() -> None:
    readable = {f"TORPOR_{name.upper()}" for name in gateway.Settings.__dataclass_fields__}
    assert ours("gateway").keys() <= readable


def test_the_gateway_means_what_the_values_say() -> None:
    read = loaded()
    assert (read.namespace, read.watch_namespaces, read.bare_names) == ("torpor-system", "", "*")
    assert (read.demand_token_file, read.pod_name) == (TOKEN, "<metadata.name>")
    assert (read.cluster_domain, read.log_level) == (constants.DEFAULT_CLUSTER_DOMAIN, "INFO")
    assert read.max_buffered_bytes == 512 * 2**20
    assert read.grace_seconds == 1800
    assert (read.workers, read.cors_origins) == (1, "")
    objects = render(
        {
            "watchNamespaces": ["a", "b"],
            "gateway": {
                "bareNames": ["a", "c"],
                "drain": {"holdSeconds": 1, "streamSeconds": 2},
                "maxBufferedMebibytes": 1048576,
                "logLevel": "DEBUG",
                "workers": 2,
                "corsOrigins": ["https://a", "http://b:1"],
            },
            "clusterDomain": "k8s.example",
        }
    )
    read = loaded(objects)
    assert (read.watch_namespaces, read.bare_names, read.cluster_domain) == ("a,b", "a,c", "k8s.example")
    assert (read.grace_seconds, read.max_buffered_bytes, read.log_level) == (3, 2**40, "DEBUG")
    assert (read.workers, read.cors_origins) == (2, "https://a,http://b:1")


def test_keys_are_read_where_the_secret_is_mounted_and_shared_by_the_pods_of_the_demand_service() -> None:
    assert "TORPOR_API_KEYS" not in ours("gateway")
    objects = render({"gateway.apiKeys.secretName": "keys", "test.apiKey.secretName": "test-key"})
    read = loaded(objects)
    spec = one(objects, "Deployment", "torpor-gateway")["spec"]["template"]["spec"]
    (volume,) = (v for v in spec["volumes"] if v["name"] == "api-keys")
    assert volume["secret"] == {"secretName": "keys"}
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "api-keys")
    # A subPath would never see a change of the Secret.
    assert mount == {"name": "api-keys", "mountPath": read.api_keys, "readOnly": True}
    assert one(objects, "Service", read.demand_service)["spec"]["publishNotReadyAddresses"]
    operator = one(objects, "Deployment", "torpor-operator")["spec"]["template"]["spec"]
    assert all(volume["name"] != "api-keys" for volume in operator["volumes"])
    (container,) = one(objects, "Pod")["spec"]["containers"]
    (key,) = (variable for variable in container["env"] if variable["name"] == "API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "test-key", "key": "key"}}


def test_the_access_log_and_traces_are_off_until_they_are_asked_for() -> None:
    assert loaded().access_log == ""
    assert otel.read(environment(render(), "gateway")) is None
    tracing = {"endpoint": "http://collector:4318", "sampler": "traceidratio", "samplerArg": "0.5"}
    objects = render({"gateway": {"accessLog": True, "tracing": tracing}})
    assert loaded(objects).access_log == "-"
    read = otel.read(environment(objects, "gateway"))
    assert read is not None
    assert read.url == "http://collector:4318/v1/traces"
    assert read.sampler == otel.Sampler(by_parent=False, bound=2**63)


@pytest.mark.parametrize("value", ["0", "1", "0.25", ".5"])
def test_a_share_that_the_chart_takes_is_one_that_the_gateway_takes(value: str) -> None:
    tracing = {"endpoint": "http://c:4318", "sampler": "traceidratio", "samplerArg": value}
    read = otel.read(environment(render({"gateway": {"tracing": tracing}}), "gateway"))
    assert read is not None
    assert read.sampler.bound == round(float(value) * 2**64)


def read_by_the_operator(objects: list[Object]) -> operator.Settings:
    """Return the operator's settings as its process would read them in the pod."""
    return operator.from_environment(ours("operator", objects))


def test_the_operator_reads_every_variable() -> None:
    asked: set[str] = set()

    class Asked(dict[str, str]):
        def get(self, key: str, default: str = "") -> str:  # type: ignore[override]
            asked.add(key)
            return super().get(key, default)

    operator.from_environment(Asked(ours("operator")))
    assert ours("operator").keys() <= asked
    # What suits every installation by default is left to extraEnv; a new setting must be put on one side.
    by_extra_env = {"TORPOR_CLOCK_OFFSET_SECONDS", "TORPOR_DEMAND_ADDRESSES", "TORPOR_KUBECONFIG"}
    assert asked - ours("operator").keys() == by_extra_env


def test_the_operator_means_what_the_values_say() -> None:
    read = read_by_the_operator(render())
    assert (read.namespace, read.release, read.watch_namespaces) == ("torpor-system", "torpor", ())
    assert (read.lease_name, read.pod_name) == ("torpor-operator", "<metadata.name>")
    assert (str(read.demand_token_file), read.log_format, read.log_level) == (TOKEN, "json", "info")
    assert read.launcher_image == read.engine_image == "torpor/engine:0.1.0"
    assert read.metrics_namespaces == ("monitoring",)
    objects = render(
        {
            "watchNamespaces": ["a", "b"],
            "clusterDomain": "k8s.example",
            "operator": {"logFormat": "plain", "logLevel": "ERROR"},
            "engine": {
                "image": {"tag": "7", "pullPolicy": "Never"},
                "imagePullSecrets": ["x", "y"],
                "metricsNamespaces": ["p", "q"],
            },
            "gpuHourPrices": {"H100": "2.50", "NVIDIA-L4": 0.7, "amd.com/gpu": 3, "*": "1"},
        }
    )
    read = read_by_the_operator(objects)
    assert (read.watch_namespaces, read.cluster_domain) == (("a", "b"), "k8s.example")
    assert (read.log_format, read.log_level) == ("plain", "error")
    assert (read.launcher_image, read.image_pull_policy) == ("torpor/engine:7", "Never")
    assert (read.engine_pull_secrets, read.metrics_namespaces) == (("x", "y"), ("p", "q"))
    prices = {"h100": "2.50", "nvidial4": "0.7", "amd.com/gpu": "3", "*": "1"}
    assert read.gpu_hour_prices.by_name == prices
    assert read_by_the_operator(render()).gpu_hour_prices.by_name == {}
    assert read_by_the_operator(render({"engine.metricsNamespaces": []})).metrics_namespaces == ()


@pytest.mark.parametrize("names", [["*"], ["a", "b"], []])
def test_both_parts_mean_the_same_namespaces_by_bare_names(names: list[str]) -> None:
    objects = render({"gateway.bareNames": names})
    wanted = BareNames(everywhere="*" in names, namespaces=frozenset(names) - {"*"})
    assert BareNames.parse(loaded(objects).bare_names) == wanted
    assert read_by_the_operator(objects).bare_names == wanted


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_every_log_level_is_one_that_the_programs_know(level: str) -> None:
    objects = render({"operator.logLevel": level, "gateway.logLevel": level})
    assert loaded(objects).log_level == level
    assert read_by_the_operator(objects).log_level.upper() == level


def test_engines_let_the_gateways_pods_in() -> None:
    settings = BuildSettings("torpor-system", "torpor-gateway", "image", "image")
    for name in ("defaults", "labels that would break selectors"):
        pod = one(render(COMBINATIONS[name]), "Deployment", "torpor-gateway")["spec"]["template"]
        assert dict(settings.gateway_labels).items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize(("name", "host"), [("defaults", "0.0.0.0"), ("IPv6", "::")])
def test_servers_listen_on_the_containers_ports(name: str, host: str) -> None:
    objects = render(COMBINATIONS[name])
    read = loaded(objects)
    wanted = {"listen": "http", "demand_listen": "demand", "admin_listen": "admin"}
    (container,) = one(objects, "Deployment", "torpor-gateway")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for field, port in wanted.items():
        assert gateway.address(field, getattr(read, field)) == (host, ports[port])
    both = read_by_the_operator(objects)
    assert (both.admin_host, both.admin_port) == (host, constants.ADMIN_PORT)


def test_ports_are_those_that_the_other_parts_dial() -> None:
    objects = render()
    service = one(objects, "Service", "torpor-gateway")["spec"]["ports"][0]
    assert service["port"] == constants.GATEWAY_SERVICE_PORT
    demand = one(objects, "Service", "torpor-gateway-demand")["spec"]["ports"][0]
    assert demand["port"] == constants.GATEWAY_DEMAND_PORT


def test_the_memory_limit_covers_what_may_be_buffered() -> None:
    (container,) = one(render(), "Deployment", "torpor-gateway")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert loaded().max_buffered_bytes <= 2**30 // 2


def test_the_token_is_read_where_it_is_mounted() -> None:
    for part in ("operator", "gateway"):
        assert environment(render(), part)["TORPOR_DEMAND_TOKEN_FILE"] == TOKEN
        spec = one(render(), "Deployment", f"torpor-{part}")["spec"]["template"]["spec"]
        (volume,) = (v for v in spec["volumes"] if v["name"] == "demand-token")
        assert volume["secret"]["items"] == [{"key": "token", "path": "token"}]
        assert volume["secret"]["secretName"] == one(render(), "Secret")["metadata"]["name"]


def test_the_operator_knows_the_names_of_the_chart() -> None:
    objects = render({"fullnameOverride": "night"})
    read = environment(objects, "operator", "night")
    assert one(objects, "Service", read["TORPOR_GATEWAY_SERVICE"])
    assert one(objects, "Service", read["TORPOR_GATEWAY_DEMAND_SERVICE"])["spec"]["publishNotReadyAddresses"]
    leases = [r for role in of(objects, "Role") for r in role["rules"] if "resourceNames" in r]
    assert [rule["resourceNames"] for rule in leases] == [[read["TORPOR_LEASE_NAME"]]]
    assert read["TORPOR_RELEASE"] == "night"
    assert read["TORPOR_NAMESPACE"] == "torpor-system"
