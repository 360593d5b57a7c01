"""What an installation decides about the children of every fleet.

These values come from the chart and are the same for all fleets. A change of them restarts no engine: the
live pod template is kept until a user's input changes (see `children`).
"""

from dataclasses import dataclass

from torpor.api import constants


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Inputs of the installation.

    gateway_namespace, gateway_service: where the gateway's Service is; gateway_tls: it speaks HTTPS alone;
    gateway_labels: labels of its pods.
    launcher_image: brings the launcher in; simulated_image: engine of fleets of type Simulated without an
    image. pull_secrets: added to those of every fleet. metrics_namespaces: whose pods may scrape launchers;
    empty: none may.
    """

    gateway_namespace: str
    gateway_service: str
    launcher_image: str
    simulated_image: str
    cluster_domain: str = constants.DEFAULT_CLUSTER_DOMAIN
    image_pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    gateway_labels: tuple[tuple[str, str], ...] = (
        (constants.LABEL_COMPONENT_NAME, constants.GATEWAY_COMPONENT),
        (constants.LABEL_PART_OF, constants.PART_OF),
    )
    metrics_namespaces: tuple[str, ...] = (constants.DEFAULT_METRICS_NAMESPACE,)
    gateway_tls: bool = False
