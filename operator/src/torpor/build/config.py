"""The fleet's ConfigMap: what outlives a leader, and what a launcher reads when it starts an engine.

One object of text per fleet, because it has to outlive the operator's processes, has to reach a pod without
being part of its template, and goes when the fleet goes. Its texts are made elsewhere; this is its shape.

It is the one child that a fleet can do without: a leader without its memory is careful, an engine without
its tuning runs with its own defaults. So nothing waits for it.
"""

from collections.abc import Mapping

from torpor.api import names
from torpor.api.types import InferenceService
from torpor.build.common import Manifest, head


def fleet_config(fleet: InferenceService, data: Mapping[str, str]) -> Manifest:
    """Return the ConfigMap with the texts `data` by key; no key means that the fleet has none."""
    manifest = head(fleet, "v1", "ConfigMap", names.config(fleet.metadata.name))
    manifest["data"] = dict(sorted(data.items()))
    return manifest
