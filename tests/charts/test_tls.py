"""The chart's HTTPS: which doors are open, what everybody is told of them, and `helm test` behind them."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from torpor.api import constants
from torpor.api.names import FleetKey, url
from torpor_gateway import certificate
from torpor_gateway import settings as gateway

from tests.authority import Authority
from tests.charts.rendering import Object, Refused, container, environment, one, render
from tests.charts.test_environment import loaded, read_by_the_operator
from tests.charts.test_first_token import run
from tests.charts.test_notes import noted, notes

__all__ = ["noted"]  # a fixture

TLS: dict[str, Any] = {"gateway.tls.enabled": True, "gateway.tls.secretName": "gateway-tls"}
BOTH = TLS | {"gateway.tls.plainHTTP": True}
HTTP, HTTPS = ("http", 80, "http", "http"), ("https", 443, "https", "https")


def doors(objects: list[Object]) -> list[tuple[str, int, str, str]]:
    """Return the ports of the Service that clients use."""
    ports = one(objects, "Service", "torpor-gateway")["spec"]["ports"]
    return [(port["name"], port["port"], port["targetPort"], port["appProtocol"]) for port in ports]


@pytest.mark.parametrize(
    ("values", "wanted", "ports"),
    [
        ({}, [HTTP], {"http": 8080}),
        (TLS, [HTTPS], {"https": 8443}),
        (BOTH, [HTTP, HTTPS], {"http": 8080, "https": 8443}),
    ],
)
def test_the_doors_are_those_on_which_the_gateway_listens(
    values: dict[str, Any], wanted: list[tuple[str, int, str, str]], ports: dict[str, int]
) -> None:
    objects = render(values)
    assert doors(objects) == wanted
    declared = {port["name"]: port["containerPort"] for port in container(objects, "gateway")["ports"]}
    assert {name: port for name, port in declared.items() if name.startswith("http")} == ports
    read = loaded(objects)
    listens = {"http": read.listen, "https": read.tls_listen}
    assert {name: gateway.address(name, text)[1] for name, text in listens.items() if text} == ports
    clients = one(objects, "NetworkPolicy", "torpor-gateway")["spec"]["ingress"][0]
    assert [port["port"] for port in clients["ports"]] == list(ports)


def test_ports_are_those_of_the_api() -> None:
    assert HTTPS[1] == constants.GATEWAY_TLS_SERVICE_PORT
    assert gateway.address("x", loaded(render(TLS)).tls_listen) == ("0.0.0.0", constants.GATEWAY_TLS_PORT)
    assert gateway.address("x", loaded(render(TLS | {"listenAddress": "::"})).tls_listen)[0] == "::"


def test_the_secret_is_mounted_whole_where_the_gateway_reads_it_and_nowhere_else() -> None:
    objects = render(TLS | {"gateway.tls.minVersion": "1.3"})
    read = loaded(objects)
    assert read.tls_min_version == "1.3"
    spec = one(objects, "Deployment", "torpor-gateway")["spec"]["template"]["spec"]
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "tls")
    assert volume["secret"]["secretName"] == "gateway-tls"
    names = [certificate.CERTIFICATE, certificate.KEY]
    assert [(item["key"], item["path"]) for item in volume["secret"]["items"]] == [(n, n) for n in names]
    (mount,) = (mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "tls")
    # A subPath would never see a renewal.
    assert mount == {"name": "tls", "mountPath": read.tls_folder, "readOnly": True}
    operator = one(objects, "Deployment", "torpor-operator")["spec"]["template"]["spec"]
    assert all(volume["name"] != "tls" for volume in operator["volumes"])
    plain = one(render(), "Deployment", "torpor-gateway")["spec"]["template"]["spec"]
    assert all(volume["name"] != "tls" for volume in plain["volumes"])


def test_every_version_that_the_chart_takes_is_one_that_the_gateway_speaks() -> None:
    assert set(gateway.TLS_VERSIONS) == certificate.VERSIONS.keys()
    for version in gateway.TLS_VERSIONS:
        assert loaded(render(TLS | {"gateway.tls.minVersion": version})).tls_min_version == version


@pytest.mark.parametrize(("values", "scheme"), [({}, "http"), (TLS, "https"), (BOTH, "http")])
def test_whoever_comes_in_is_told_the_same_address(noted: Path, values: dict[str, Any], scheme: str) -> None:
    outside = {
        "gateway.ingress.enabled": True,
        "gateway.ingress.hosts": ["llm.example.com"],
        "gateway.httpRoute.enabled": True,
        "gateway.httpRoute.parentRefs": [{"name": "public"}],
    }
    objects = render(values | outside)
    read = read_by_the_operator(objects)
    address = url(FleetKey("default", "smollm2"), read.cluster_domain, tls=read.gateway_tls)
    assert address.startswith(f"{scheme}://")
    text = notes(noted, values)
    assert address in text
    assert f"{scheme}://localhost:" in text
    assert ("port 80 of the gateway is closed" in text) == (scheme == "https")

    ingress = one(objects, "Ingress")
    backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["port"] == {"name": scheme}
    protocol = ingress["metadata"]["annotations"].get("nginx.ingress.kubernetes.io/backend-protocol")
    assert protocol == ("HTTPS" if scheme == "https" else None)
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"] == "3600"
    (port,) = (door[1] for door in doors(objects) if door[0] == scheme)
    assert one(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"][0]["port"] == port
    (test,) = one(objects, "Pod")["spec"]["containers"]
    asked = {variable["name"]: variable.get("value", "") for variable in test["env"]}
    assert asked["GATEWAY"].startswith(f"{scheme}://torpor-gateway.")
    assert ("CERTIFICATE" in asked) == (scheme == "https")


def test_an_annotation_of_ones_own_wins() -> None:
    protocol = "nginx.ingress.kubernetes.io/backend-protocol"
    ingress = {"enabled": True, "hosts": ["a.example"], "annotations": {protocol: "GRPCS"}}
    found = one(render(TLS | {"gateway.ingress": ingress}), "Ingress")["metadata"]["annotations"]
    assert found[protocol] == "GRPCS"


def test_probes_and_the_demand_stream_stay_as_they_are() -> None:
    objects = render(TLS)
    spec = container(objects, "gateway")
    assert {spec[f"{kind}Probe"]["httpGet"].get("scheme", "HTTP") for kind in ("startup", "liveness")} == {
        "HTTP"
    }
    demand = one(objects, "Service", "torpor-gateway-demand")["spec"]["ports"]
    assert [port["name"] for port in demand] == ["demand"]


def test_tls_without_a_secret_is_refused_with_the_next_step() -> None:
    with pytest.raises(Refused, match=r"gateway.tls.secretName: empty; .* name it"):
        render({"gateway.tls.enabled": True})


def test_the_route_needs_a_policy_and_is_told_so(noted: Path) -> None:
    route = {"gateway.httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}
    assert "needs a BackendTLSPolicy for the Service torpor-gateway" in notes(noted, TLS | route)
    assert "BackendTLSPolicy" not in notes(noted, TLS)
    assert "BackendTLSPolicy" not in notes(noted, BOTH | route)


async def test_helms_test_trusts_the_secrets_certificate_and_no_other(tmp_path: Path) -> None:
    mounted = environment(render(TLS), "gateway")["TORPOR_TLS_FOLDER"]
    spec = one(render(TLS), "Pod")["spec"]
    (mount,) = spec["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == mounted
    assert [item["key"] for item in spec["volumes"][0]["secret"]["items"]] == [certificate.CERTIFICATE]

    authority = Authority()
    shown, other = authority.issue(), authority.issue()
    for name, issued in (("shown", shown), ("other", other)):
        (tmp_path / name).mkdir()
        for entry, text in issued.entries.items():
            (tmp_path / name / entry).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "shown" / "tls.crt", tmp_path / "shown" / "tls.key")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        event = b'data: {"choices": [{"delta": {"content": "yes"}}]}\n\ndata: [DONE]\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + event)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        # A name that the certificate is not for.
        address = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        status, output = await run(address, CERTIFICATE=str(tmp_path / "shown" / "tls.crt"))
        assert status == 0, output
        assert output.endswith(": yes\n")
        status, output = await run(address, CERTIFICATE=str(tmp_path / "other" / "tls.crt"))
    assert status == 1
    assert "CERTIFICATE_VERIFY_FAILED" in output
    assert "Traceback" not in output
