"""From an InferenceService to the complete manifests of its children, as plain data.

`children` is the one entry: the same arguments give the same manifests, always all of them and always
whole, so the caller compares and applies and never merges. Nothing here reads a clock, a cluster or a
random number, and nothing decides: the number of replicas and the shape of a rollout come in as arguments.
"""

from torpor.build.children import children
from torpor.build.config import fleet_config
from torpor.build.revision import revision_of
from torpor.build.settings import BuildSettings

__all__ = ["BuildSettings", "children", "fleet_config", "revision_of"]
