"""The revision: a short name for what a user wants the pods to be.

Two specs with the same revision need no new pods. It covers the user's own inputs and nothing else: no
default (a later version may add fields or change defaults), no image of the installation, no measurement.
So an upgrade of Torpor restarts no engine. Scaling, traffic and rollout are not part of the pods; the
cache's size is not either, since a claim grows under running pods.
"""

import hashlib
import json
from typing import Any

from torpor.api.types import InferenceService

_LENGTH = 10


def revision_of(fleet: InferenceService) -> str:
    """Return 10 hexadecimal digits: SHA-256 of the inputs in canonical JSON."""
    spec = fleet.spec
    model = _essence(spec.model.model_dump(by_alias=True, exclude_defaults=True))
    model["name"] = fleet.model_name
    cache = model.pop("cache", None)
    if cache is not None:
        model["cache"] = cache.get("claimName", True)
    inputs = {
        "namespace": fleet.metadata.namespace,
        "name": fleet.metadata.name,
        "model": model,
        "engine": _essence(spec.engine.model_dump(by_alias=True, exclude_defaults=True)),
        "drainSeconds": spec.drain_seconds,
    }
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _essence(value: Any) -> Any:
    """Drop what says nothing: absent values and empty objects and lists, at every level."""
    if isinstance(value, dict):
        kept = {key: _essence(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, {}, [])}
    return [_essence(item) for item in value] if isinstance(value, list) else value
