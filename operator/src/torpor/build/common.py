"""What all children share: labels, owner, and the head of a manifest."""

from typing import Any

from torpor.api import constants, names
from torpor.api.types import InferenceService

Manifest = dict[str, Any]


def labels(name: str) -> dict[str, str]:
    """Return the labels of every child of fleet `name`."""
    return {
        constants.LABEL_COMPONENT_NAME: constants.ENGINE_COMPONENT,
        constants.LABEL_INSTANCE: name,
        constants.LABEL_PART_OF: constants.PART_OF,
        **names.pod_selector(name),
    }


def head(fleet: InferenceService, api_version: str, kind: str, name: str) -> Manifest:
    """Return apiVersion, kind and metadata of a child. It goes when the fleet goes."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": fleet.metadata.namespace,
            "labels": labels(fleet.metadata.name),
            "ownerReferences": [
                {
                    "apiVersion": constants.API_VERSION,
                    "kind": constants.KIND,
                    "name": fleet.metadata.name,
                    "uid": fleet.metadata.uid,
                    "controller": True,
                }
            ],
        },
    }


def matching(name: str) -> dict[str, Any]:
    """Return the selector of the pods of fleet `name`."""
    return {"matchLabels": names.pod_selector(name)}
