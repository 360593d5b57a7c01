"""How things are called: children, hosts and model names, all derived and none random.

A fleet's children carry names that follow from the fleet's own, so a restarted operator finds them without
a record and a person guesses them right. The longest suffix and Kubernetes' own (`-<hash>-<hash>` on pods)
fit under 63 characters because a fleet's name has at most 45.

Standard library only: the gateway parses the same hosts and joins the same names.
"""

import functools
import re
from typing import Final, NamedTuple

from torpor.api import constants

# One DNS-1035 label: Services and environment variables refuse what starts with a digit.
FLEET_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
NAMESPACE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")


class FleetKey(NamedTuple):
    """Which fleet: the namespace and the name of its InferenceService. Sorts by namespace, then name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def engines(name: str) -> str:
    """
    Name the Deployment, the headless Service, the PodDisruptionBudget and the NetworkPolicy of fleet
    `name`.
    """
    return f"{name}-engines"


def front(name: str) -> str:
    """Name the Service of fleet `name` that leads clients to the gateway."""
    return name


def cache_claim(name: str) -> str:
    """Name the PersistentVolumeClaim that Torpor makes where `model.cache.size` is given."""
    return f"{name}-cache"


def config(name: str) -> str:
    """Name the ConfigMap of fleet `name`: its tuning and its memory."""
    return f"{name}-fleet"


def model_name(name: str, spec_model_name: str | None) -> str:
    """Return what clients put in `model`: the spec's `model.name`, else the object's own name."""
    return spec_model_name or name


def qualified(namespace: str, model: str) -> str:
    """Return `NAMESPACE/MODEL`, the name that routes under every policy."""
    return f"{namespace}/{model}"


def served_names(namespace: str, model: str) -> tuple[str, str]:
    """Return the names under which the engine serves: the bare one first, then the qualified one."""
    return model, qualified(namespace, model)


def host(key: FleetKey, cluster_domain: str = constants.DEFAULT_CLUSTER_DOMAIN) -> str:
    """Return the host under which pods of the cluster reach the fleet, whatever its state."""
    return f"{front(key.name)}.{key.namespace}.svc.{cluster_domain}"


def url(key: FleetKey, cluster_domain: str = constants.DEFAULT_CLUSTER_DOMAIN, *, tls: bool = False) -> str:
    """Return the base URL for an OpenAI client inside the cluster. `tls`: the gateway speaks HTTPS alone."""
    return f"{'https' if tls else 'http'}://{host(key, cluster_domain)}/v1"


@functools.lru_cache(maxsize=4096)  # every request asks; a client has few names for the gateway
def fleet_of_host(header: str, cluster_domain: str = constants.DEFAULT_CLUSTER_DOMAIN) -> FleetKey | None:
    """Read a Host header as `NAME.NAMESPACE[.svc[.DOMAIN]]`, a port and a final dot allowed.

    None where the host has another shape (an address, one label, a public name of three labels). A public
    name of two labels (`example.com`) has the shape of a fleet's: the caller must look the key up and go by
    the body's `model` when no such fleet exists.
    """
    text = header.strip().lower()
    if text.startswith("["):
        return None
    bare, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit()):
        return None
    labels = bare.removesuffix(".").split(".")
    if len(labels) < 2 or labels[2:] not in ([], ["svc"], ["svc", *cluster_domain.lower().split(".")]):
        return None
    name, namespace = labels[:2]
    if len(name) > constants.MAX_NAME_LENGTH or not FLEET_NAME.fullmatch(name):
        return None
    if len(namespace) > 63 or not NAMESPACE.fullmatch(namespace):
        return None
    return FleetKey(namespace, name)


def pod_selector(name: str) -> dict[str, str]:
    """Return the labels that select the engine pods of fleet `name` within its namespace."""
    return {constants.LABEL_FLEET: name, constants.LABEL_MANAGED_BY: constants.MANAGED_BY}


def selector_text(name: str) -> str:
    """Return `pod_selector` as the text of `status.selector`, for the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(pod_selector(name).items()))
