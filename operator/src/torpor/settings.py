"""The operator's settings: environment variables with the prefix TORPOR_, as the chart sets them.

They say where the operator runs and what the installation allows; nothing here changes how a fleet is scaled,
that is in the InferenceService. A bad value ends the start with a sentence that names the variable, what it
held and what it must be: a process that guesses is worse than one that does not start.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torpor.api import constants
from torpor.api.routes import BareNames
from torpor.decide.prices import Prices

LONGEST_OFFSET_SECONDS = 10 * 366 * 86_400


class SettingsError(ValueError):
    """A setting is missing or cannot be used. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the installation decides. The sentence below a field is its row in the reference."""

    namespace: str
    """Where the operator, its Lease and the gateway live."""
    release: str
    """The name from which the names of the gateway's Services and of the Lease are made."""
    watch_namespaces: tuple[str, ...]
    """Namespaces whose fleets are served; empty: all."""
    bare_names: BareNames
    """Namespaces whose models need no prefix; `*`: all, empty: none."""
    metrics_namespaces: tuple[str, ...]
    """Whose pods may scrape launchers; empty: none."""
    gateway_service: str
    """The gateway's Service for clients, of which `status.url` is made."""
    gateway_tls: bool
    """Whether the gateway speaks HTTPS alone, so that fleets' addresses begin with https."""
    gateway_demand_service: str
    """The Service whose EndpointSlices name the gateway's processes."""
    demand_token_file: Path | None
    """File with the bearer token of the demand streams, read again when it changes; empty: none is sent."""
    demand_addresses: tuple[str, ...]
    """Gateway processes given by hand (`HOST:PORT`), for a gateway outside of the cluster."""
    lease_name: str
    """The Lease by which operators agree who leads."""
    pod_name: str
    """Who this process is, in the Lease and in events."""
    launcher_image: str
    """Image that carries the launcher to engine pods. Empty: the engine image; one of the two must be set."""
    engine_image: str
    """Image of simulated engines. Empty: the launcher's."""
    image_pull_policy: str
    """When kubelets pull these two images."""
    engine_pull_secrets: tuple[str, ...]
    """Pull secrets of engine pods; they live in the fleets' namespaces."""
    cluster_domain: str
    """The cluster's DNS domain."""
    admin_host: str
    """Where metrics and probes are served."""
    admin_port: int
    """The port of that; 0: any that is free."""
    log_format: str
    """Form of the log lines on standard error."""
    log_level: str
    """Least important log lines that are written."""
    kubeconfig: str | None
    """Kubeconfig for the API server. Empty: the service account, or the usual file outside of a cluster."""
    clock_offset_seconds: int = 0
    """How far the clock that schedules are read by is ahead of the true one; for tests alone."""
    gpu_hour_prices: Prices = field(default_factory=Prices)
    """What an hour of an accelerator costs, by its name."""


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings. Raises SettingsError naming the variable, its value, the rule and the next step."""
    return read(Environment(os.environ if environment is None else environment))


def read(env: "Environment") -> Settings:
    """Ask `env` for every setting. Raises SettingsError; the reference is made from what is asked for."""
    release = env.text("RELEASE", "torpor")
    host, port = env.address("ADMIN_LISTEN", f"0.0.0.0:{constants.ADMIN_PORT}")
    engine_image = env.text("ENGINE_IMAGE", "")
    launcher_image = env.text("LAUNCHER_IMAGE", engine_image)
    if not launcher_image:
        raise SettingsError(
            "TORPOR_LAUNCHER_IMAGE is not set: it must name the image that carries the launcher; set it, or "
            "TORPOR_ENGINE_IMAGE (the chart sets both)"
        )
    token = env.text("DEMAND_TOKEN_FILE", "")
    return Settings(
        namespace=env.text("NAMESPACE", "torpor-system"),
        release=release,
        watch_namespaces=env.words("WATCH_NAMESPACES"),
        bare_names=BareNames.parse(env.given("BARE_NAMES", "*")),
        metrics_namespaces=_words(env.given("METRICS_NAMESPACES", constants.DEFAULT_METRICS_NAMESPACE)),
        gateway_service=env.text("GATEWAY_SERVICE", f"{release}-gateway"),
        gateway_tls=env.choice("GATEWAY_TLS", "false", ("true", "false")) == "true",
        gateway_demand_service=env.text("GATEWAY_DEMAND_SERVICE", f"{release}-gateway-demand"),
        demand_token_file=Path(token) if token else None,
        demand_addresses=env.words("DEMAND_ADDRESSES"),
        lease_name=env.text("LEASE_NAME", f"{release}-operator"),
        pod_name=env.text("POD_NAME", socket.gethostname()),
        launcher_image=launcher_image,
        engine_image=engine_image or launcher_image,
        image_pull_policy=env.choice(
            "IMAGE_PULL_POLICY", "IfNotPresent", ("Always", "IfNotPresent", "Never")
        ),
        engine_pull_secrets=env.words("ENGINE_PULL_SECRETS"),
        cluster_domain=env.text("CLUSTER_DOMAIN", constants.DEFAULT_CLUSTER_DOMAIN),
        admin_host=host,
        admin_port=port,
        log_format=env.choice("LOG_FORMAT", "plain", ("plain", "json")),
        log_level=env.choice("LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        kubeconfig=env.text("KUBECONFIG", "") or None,
        clock_offset_seconds=env.whole("CLOCK_OFFSET_SECONDS", 0, LONGEST_OFFSET_SECONDS),
        gpu_hour_prices=env.prices("GPU_HOUR_PRICES"),
    )


class Environment:
    """Reads TORPOR_ variables; an empty one counts as absent, as charts write them, but for `given`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str) -> str:
        """Return a variable's text without spaces around it, or the default."""
        return self._variables.get(f"TORPOR_{name}", "").strip() or default

    def given(self, name: str, default: str) -> str:
        """Return a list's text; the default is for an absent variable, and an empty one is an empty list."""
        return self._variables.get(f"TORPOR_{name}", default)

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words of a list separated by commas; none by default."""
        return _words(self.text(name, ""))

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        """Return one of the words `allowed`, however its letters were written."""
        value = self.text(name, default)
        for choice in allowed:
            if value.lower() == choice.lower():
                return choice
        raise SettingsError(f'TORPOR_{name} is "{value}": it must be one of {", ".join(allowed)}; correct it')

    def whole(self, name: str, default: int, most: int) -> int:
        """Return a whole number from -most to most."""
        value = self.text(name, str(default))
        if not re.fullmatch(r"[-+]?[0-9]{1,12}", value) or abs(int(value)) > most:
            raise SettingsError(
                f'TORPOR_{name} is "{value}": it must be a whole number from -{most} to {most}; correct it'
            )
        return int(value)

    def prices(self, name: str) -> Prices:
        """Return prices per hour from a JSON object; none by default."""
        try:
            return Prices.parse(self.text(name, ""))
        except ValueError as error:
            raise SettingsError(f"TORPOR_{name}: {error}") from None

    def address(self, name: str, default: str) -> tuple[str, int]:
        """Return host and port; an empty host is all addresses."""
        value = self.text(name, default)
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise SettingsError(
                f'TORPOR_{name} is "{value}": it must be HOST:PORT with a port of 0 to 65535; correct it'
            )
        return host.strip("[]") or "0.0.0.0", int(port)


def _words(text: str) -> tuple[str, ...]:
    """Return the distinct words of a list separated by commas, in their order."""
    parts = (part.strip() for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))
