"""Is a child as it should be? Asked at every look, answered without a request.

Server-side apply would answer too, at the price of five writes per look. Instead each child carries a hash of
what was last applied to it: another hash means that the manifest changed (also where it lost a field, which
no comparison of values would notice). With the same hash, every value of the manifest must still be found in
the live object; where one is not, somebody changed it, and it is applied again.

A pod template counts in the hash by its revision and its restart alone: the same revision may be written in
two ways (as the operator would make it, and as it lives in the cluster), and going from one to the other is
no change.

The API server rewrites some values (quantities, defaults inside lists), which looks like somebody's change
for ever. So what an apply left behind is remembered: an object that has not changed since our own last apply
is as good as we can make it.

The number of replicas is no part of any of this: it changes all the time, and `plan` compares it by itself.
"""

import hashlib
import json
from typing import Any

from torpor.api import constants
from torpor.cluster.resources import DEPLOYMENTS, Object


def stamped(manifest: Object) -> Object:
    """Return the manifest with the hash of itself as an annotation."""
    metadata = manifest["metadata"]
    annotations = (metadata.get("annotations") or {}) | {constants.ANNOTATION_APPLIED: _hash(manifest)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def drifted(manifest: Object, live: Object, left_behind: str | None) -> bool:
    """Whether the stamped `manifest` must be applied to `live`. `left_behind`: `fingerprint` after our last
    apply.
    """
    annotations = live["metadata"].get("annotations") or {}
    wanted = manifest["metadata"]["annotations"][constants.ANNOTATION_APPLIED]
    if annotations.get(constants.ANNOTATION_APPLIED) != wanted:
        return True
    return not _within(_unnumbered(manifest), live) and fingerprint(live) != left_behind


def fingerprint(live: Object) -> str:
    """Name the state of an object, leaving out what changes by itself: status, versions, book-keeping."""
    metadata = {key: live["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")}
    rest = {key: value for key, value in _unnumbered(live).items() if key not in ("metadata", "status")}
    return _digest(rest | {"metadata": metadata})


def replicas_of(deployment: Object) -> int:
    """Return the number of pods that a Deployment asks for."""
    return int((deployment.get("spec") or {}).get("replicas") or 0)


def _hash(manifest: Object) -> str:
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
    wanted = _unnumbered(manifest) | {"metadata": metadata}
    if manifest.get("kind") == DEPLOYMENTS.kind:
        metadata = manifest["spec"]["template"]["metadata"]
        revision = metadata["labels"].get(constants.LABEL_REVISION)
        if restarted := (metadata.get("annotations") or {}).get(constants.ANNOTATION_RESTARTED):
            revision = f"{revision} {restarted}"
        wanted["spec"] = wanted["spec"] | {"template": revision}
    return _digest(wanted)[:16]


def _unnumbered(item: Object) -> Object:
    """The object without a Deployment's number of replicas."""
    if item.get("kind") != DEPLOYMENTS.kind:
        return item
    return item | {"spec": {key: value for key, value in item["spec"].items() if key != "replicas"}}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _within(wanted: Any, live: Any) -> bool:
    """Whether all of `wanted` is in `live`: maps may have more keys, lists must match item by item."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(
            _within(value, live.get(key)) for key, value in wanted.items() if value not in (None, {}, [])
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(_within(mine, theirs) for mine, theirs in zip(wanted, live, strict=True))
        )
    return bool(wanted == live)
