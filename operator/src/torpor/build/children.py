"""All children of a fleet, in one list and one order.

The Deployment comes last: a fleet whose creation is interrupted lacks pods, never protection.
"""

from collections.abc import Mapping
from typing import Any

from torpor.api import names
from torpor.api.types import InferenceService
from torpor.build.common import Manifest, head
from torpor.build.config import fleet_config
from torpor.build.deployment import deployment
from torpor.build.network import disruption_budget, engine_service, front_service, network_policy
from torpor.build.settings import BuildSettings


def children(
    fleet: InferenceService,
    settings: BuildSettings,
    replicas: int,
    live: Mapping[str, Any] | None = None,
    *,
    in_place: bool = False,
    restarted: str = "",
    data: Mapping[str, str] | None = None,
) -> list[Manifest]:
    """Return the complete manifests of every child, for server-side apply.

    `fleet` must be valid (`validation.check`) and have a uid. `replicas` is the decided number. `live` is
    the engine Deployment as the cluster has it, None where there is none: its pod template is kept while
    the user's inputs are the same. `in_place`: replace by stopping first. `restarted`: the restart that was
    asked for last. `data`: texts of the fleet's
    ConfigMap by key; None: it is no concern of this look.
    """
    manifests = [
        front_service(fleet, settings),
        engine_service(fleet),
        disruption_budget(fleet),
        network_policy(fleet, settings),
    ]
    claim = cache_claim(fleet)
    if claim is not None:
        manifests.append(claim)
    if data is not None:
        manifests.append(fleet_config(fleet, data))
    manifests.append(
        deployment(fleet, settings, replicas=replicas, live=live, in_place=in_place, restarted=restarted)
    )
    return manifests


def cache_claim(fleet: InferenceService) -> Manifest | None:
    """Return the claim for the model cache where Torpor is to make one, else None."""
    cache = fleet.spec.model.cache
    if cache is None or cache.size is None:
        return None
    manifest = head(fleet, "v1", "PersistentVolumeClaim", names.cache_claim(fleet.metadata.name))
    manifest["spec"] = {
        "accessModes": [cache.access_mode],
        "resources": {"requests": {"storage": cache.size}},
    }
    if cache.storage_class_name is not None:
        manifest["spec"]["storageClassName"] = cache.storage_class_name
    return manifest
