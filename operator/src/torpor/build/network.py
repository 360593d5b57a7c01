"""How requests reach a fleet, and who else may not.

Two Services. `NAME` is an alias of the gateway's Service: no address to maintain, and it answers while the
operator is down and while the fleet sleeps. `NAME-engines` is headless with a selector; Kubernetes keeps
its EndpointSlices, and the gateway reads them, ready endpoints or not.

The NetworkPolicy lets the gateway's pods reach the engines and nobody else; launchers can also be scraped
from the namespaces that the installation names. A CNI without policies ignores it. The kubelet's probes
come from the node, which CNIs let through.
"""

from torpor.api import constants, names
from torpor.api.types import InferenceService
from torpor.build.common import Manifest, head, matching
from torpor.build.settings import BuildSettings


def front_service(fleet: InferenceService, settings: BuildSettings) -> Manifest:
    """Return the Service under the fleet's own name, an alias of the gateway's."""
    port = constants.GATEWAY_TLS_SERVICE_PORT if settings.gateway_tls else constants.GATEWAY_SERVICE_PORT
    host = f"{settings.gateway_service}.{settings.gateway_namespace}.svc.{settings.cluster_domain}"
    manifest = head(fleet, "v1", "Service", names.front(fleet.metadata.name))
    manifest["spec"] = {
        "type": "ExternalName",
        "externalName": host,
        "ports": [
            {
                "name": "https" if settings.gateway_tls else "http",
                "port": port,
                "protocol": "TCP",
                "targetPort": port,
            }
        ],
    }
    return manifest


def engine_service(fleet: InferenceService) -> Manifest:
    """Return the headless Service whose EndpointSlices list the engines."""
    manifest = head(fleet, "v1", "Service", names.engines(fleet.metadata.name))
    manifest["spec"] = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": names.pod_selector(fleet.metadata.name),
        "publishNotReadyAddresses": False,
        "ports": [
            _service_port(constants.ENGINE_PORT_NAME, constants.ENGINE_PORT),
            _service_port(constants.LAUNCHER_PORT_NAME, constants.LAUNCHER_PORT),
        ],
    }
    return manifest


def disruption_budget(fleet: InferenceService) -> Manifest:
    """
    Return the PodDisruptionBudget: evictions go one by one, and a replica that is not ready never blocks a
    drain.
    """
    manifest = head(fleet, "policy/v1", "PodDisruptionBudget", names.engines(fleet.metadata.name))
    manifest["spec"] = {
        "maxUnavailable": 1,
        "selector": matching(fleet.metadata.name),
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return manifest


def network_policy(fleet: InferenceService, settings: BuildSettings) -> Manifest:
    """Return the NetworkPolicy of the engine pods."""
    gateway = {
        "namespaceSelector": {"matchLabels": {constants.LABEL_NAMESPACE_NAME: settings.gateway_namespace}},
        "podSelector": {"matchLabels": dict(settings.gateway_labels)},
    }
    rules = [
        {
            "from": [gateway],
            "ports": [_policy_port(constants.ENGINE_PORT), _policy_port(constants.LAUNCHER_PORT)],
        }
    ]
    scrapers = [
        {"namespaceSelector": {"matchLabels": {constants.LABEL_NAMESPACE_NAME: namespace}}}
        for namespace in settings.metrics_namespaces
    ]
    if scrapers:  # a rule from nobody in particular would let everybody in
        rules.append({"from": scrapers, "ports": [_policy_port(constants.LAUNCHER_PORT)]})
    manifest = head(fleet, "networking.k8s.io/v1", "NetworkPolicy", names.engines(fleet.metadata.name))
    manifest["spec"] = {
        "podSelector": matching(fleet.metadata.name),
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return manifest


def _service_port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "protocol": "TCP", "targetPort": name}


def _policy_port(port: int) -> Manifest:
    return {"port": port, "protocol": "TCP"}
