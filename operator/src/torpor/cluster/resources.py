"""Which kinds of objects the operator touches, and where the API server keeps them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

from torpor.api import constants

Object: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON. Reading through generated models would take ten times as long."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object: its API version, kind and plural."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group, "" for the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of a collection (`namespace` None: of all), an object or its subresource."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = [root]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part is not None]
        return "/".join(parts)


FLEETS = Resource(constants.API_VERSION, constants.KIND, constants.PLURAL)
DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments")
PODS = Resource("v1", "Pod", "pods")
SERVICES = Resource("v1", "Service", "services")
CLAIMS = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIG_MAPS = Resource("v1", "ConfigMap", "configmaps")
BUDGETS = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
POLICIES = Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
ENDPOINT_SLICES = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases")
EVENTS = Resource("v1", "Event", "events")

CHILDREN = (DEPLOYMENTS, SERVICES, CLAIMS, BUDGETS, POLICIES, CONFIG_MAPS)
"""What a fleet owns. All of it is watched, so that a change by somebody else is repaired."""

_BY_KIND = {(r.api_version, r.kind): r for r in (FLEETS, PODS, ENDPOINT_SLICES, LEASES, EVENTS, *CHILDREN)}


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """Return the resource of a manifest. Raises KeyError for a kind that the operator does not know."""
    return _BY_KIND[manifest["apiVersion"], manifest["kind"]]
