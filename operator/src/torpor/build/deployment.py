"""The engine Deployment: the pod template, how it is replaced, and how many there are.

`replicas` is always in the manifest. Left out, the API server would default a new, sleeping fleet to one
replica and book a GPU for it.

The live template is kept as long as the user's inputs are the same: a new version of Torpor writes another
template and restarts nothing. It takes effect with the user's next change, or while the fleet has no pods
and a new template costs nothing. Kept means kept as it is, also where somebody edited it by hand.
"""

from collections.abc import Mapping
from typing import Any

from torpor.api import constants, names, uri
from torpor.api.types import InferenceService
from torpor.build import container
from torpor.build.common import Manifest, head, labels, matching
from torpor.build.revision import revision_of
from torpor.build.settings import BuildSettings

# Time for scheduling and pulling an image of several gigabytes, beside the startup budget.
PULL_MARGIN_SECONDS = 1200
REVISION_HISTORY = 3


def deployment(
    fleet: InferenceService,
    settings: BuildSettings,
    *,
    replicas: int,
    live: Mapping[str, Any] | None = None,
    in_place: bool = False,
    restarted: str = "",
) -> Manifest:
    """Return the Deployment with `replicas` engines.

    `live` is the Deployment as it is in the cluster, whose template may be kept; `in_place` replaces a
    replica by stopping it first instead of starting its successor first; `restarted` names the restart that
    was last asked for ("": none), and another one is another template.
    """
    revision = revision_of(fleet)
    manifest = head(fleet, "apps/v1", "Deployment", names.engines(fleet.metadata.name))
    manifest["metadata"]["annotations"] = {constants.ANNOTATION_REVISION: revision}
    kept = kept_template(live, revision) if live is not None and restarted_of(live) == restarted else None
    surge, unavailable = (0, 1) if in_place else (1, 0)
    manifest["spec"] = {
        "replicas": replicas,
        "selector": matching(fleet.metadata.name),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
        },
        "progressDeadlineSeconds": fleet.spec.engine.startup_seconds + PULL_MARGIN_SECONDS,
        "revisionHistoryLimit": REVISION_HISTORY,
        "template": kept if kept is not None else template(fleet, settings, revision, restarted),
    }
    return manifest


def kept_template(live: Mapping[str, Any], revision: str) -> Manifest | None:
    """Return the live template where it must stay: it has this revision, and there are pods made from it."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    found = spec.get("template") or {}
    labels_found = (found.get("metadata") or {}).get("labels") or {}
    if labels_found.get(constants.LABEL_REVISION) != revision:
        return None
    if not spec.get("replicas") and not status.get("replicas"):
        return None
    # The API server writes `creationTimestamp: null` into templates and takes it from nobody.
    metadata = {key: value for key, value in found["metadata"].items() if key != "creationTimestamp"}
    return {**found, "metadata": metadata}


def restarted_of(live: Mapping[str, Any] | None) -> str:
    """Return the restart that the template of a Deployment came with, "" where there was none."""
    template = ((live or {}).get("spec") or {}).get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(constants.ANNOTATION_RESTARTED) or "")


def template(
    fleet: InferenceService, settings: BuildSettings, revision: str, restarted: str = ""
) -> Manifest:
    """Return the pod template for the fleet's present inputs."""
    shape = fleet.spec.engine.pod_template
    annotations = {**(shape.annotations or {}), constants.ANNOTATION_FLEET_UID: fleet.metadata.uid}
    if restarted:
        annotations[constants.ANNOTATION_RESTARTED] = restarted
    return {
        "metadata": {
            "labels": {
                **(shape.labels or {}),
                **labels(fleet.metadata.name),
                constants.LABEL_REVISION: revision,
            },
            "annotations": annotations,
        },
        "spec": pod_spec(fleet, settings, revision),
    }


def pod_spec(fleet: InferenceService, settings: BuildSettings, revision: str) -> Manifest:
    """Return the pod's spec: Torpor's part, and the user's narrow part where it is given."""
    shape = fleet.spec.engine.pod_template
    grace = constants.PRESTOP_SECONDS + fleet.spec.drain_seconds + constants.GRACE_MARGIN_SECONDS
    spec: Manifest = {
        "automountServiceAccountToken": False,
        # A Service called vllm would set VLLM_PORT, which stops vLLM from starting.
        "enableServiceLinks": False,
        "initContainers": [container.launcher(settings)],
        "containers": [container.engine(fleet, settings, revision)],
        "volumes": _volumes(fleet),
        "securityContext": {
            "fsGroup": constants.ENGINE_UID,
            "fsGroupChangePolicy": "OnRootMismatch",  # else every start walks all files of a large cache
            "runAsGroup": constants.ENGINE_UID,
            "runAsNonRoot": True,
            "runAsUser": constants.ENGINE_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": grace,
    }
    secrets = [secret.name for secret in shape.image_pull_secrets or []]
    secrets += [name for name in settings.pull_secrets if name not in secrets]
    optional: Manifest = {
        "imagePullSecrets": [{"name": name} for name in secrets],
        "nodeSelector": shape.node_selector,
        "tolerations": [toleration.to_wire() for toleration in shape.tolerations or []],
        "affinity": shape.affinity.to_wire() if shape.affinity else None,
        "topologySpreadConstraints": [
            {**spread.to_wire(), "labelSelector": matching(fleet.metadata.name)}
            for spread in shape.topology_spread_constraints or []
        ],
        "priorityClassName": shape.priority_class_name,
        "runtimeClassName": shape.runtime_class_name,
    }
    return spec | {key: value for key, value in optional.items() if value}


def _volumes(fleet: InferenceService) -> list[Manifest]:
    shape, model = fleet.spec.engine.pod_template, fleet.spec.model
    cache: Manifest = {"name": "cache", "emptyDir": {}}
    if model.cache is not None:
        claim = model.cache.claim_name or names.cache_claim(fleet.metadata.name)
        cache = {"name": "cache", "persistentVolumeClaim": {"claimName": claim}}
    volumes = [
        {"name": "torpor", "emptyDir": {"sizeLimit": "16Mi"}},
        cache,
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        _tuning_volume(fleet.metadata.name),
    ]
    source = uri.parse(model.uri)
    if source.scheme == "pvc":
        claim_source = {"claimName": source.location, "readOnly": True}
        volumes.append({"name": "model", "persistentVolumeClaim": claim_source})
    for volume in shape.volumes or []:
        entry = volume.to_wire()
        volumes.append(
            {key: value for key, value in entry.items() if key not in ("mountPath", "readOnly", "subPath")}
        )
    return volumes


def _tuning_volume(name: str) -> Manifest:
    """What the launcher may tune at start. Its content changes while pods live and restarts none; a fleet
    without a ConfigMap, or without the key, starts all the same.
    """
    items = [
        {"key": constants.KEY_TUNING, "path": constants.KEY_TUNING}
    ]  # the memory is not the pods' business
    source = {"name": names.config(name), "items": items, "optional": True}
    return {"name": constants.TUNING_VOLUME, "configMap": source}
