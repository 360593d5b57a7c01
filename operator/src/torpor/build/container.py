"""The two containers of an engine pod: `launcher`, which copies the launcher in, and `engine`, which runs it.

The engine's image is the user's and knows nothing of Torpor. An init container leaves one file in an empty
directory; the engine's container starts that file with the image's own Python. Security is the same for any
image: no root, no capabilities, a read-only root. Whatever writes (home, caches, temporary files) is
pointed at volumes.

Probes ask the launcher, never the engine: its answer is a cached view and does not queue behind users'
requests. The startup probe gives up a little after the launcher would, so that the launcher's reason is
what people see; and it ends the pod quickly, because a replica that never served has nothing to drain.
"""

from typing import Any

from torpor.api import constants, names, uri
from torpor.api.engine import EnvVar
from torpor.api.types import InferenceService
from torpor.build.common import Manifest
from torpor.build.settings import BuildSettings

STARTUP_MARGIN_SECONDS = 10
FAILED_GRACE_SECONDS = 30

# Directories below the cache volume. The launcher makes them and sets the same where an image unsets them.
CACHE_ENV = {
    "HOME": "home",
    "XDG_CACHE_HOME": "xdg",
    "HF_HOME": "huggingface",
    "VLLM_CACHE_ROOT": "vllm",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
}


def security() -> Manifest:
    """Return the security context of every container: Kubernetes' restricted profile and a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsGroup": constants.ENGINE_UID,
        "runAsNonRoot": True,
        "runAsUser": constants.ENGINE_UID,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def launcher(settings: BuildSettings) -> Manifest:
    """Return the init container that brings the launcher."""
    return {
        "name": constants.LAUNCHER_CONTAINER,
        "image": settings.launcher_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["cp", constants.LAUNCHER_SOURCE, f"{constants.LAUNCHER_DIR}/"],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "torpor", "mountPath": constants.LAUNCHER_DIR}],
    }


def engine(fleet: InferenceService, settings: BuildSettings, revision: str) -> Manifest:
    """Return the container that runs the launcher and, below it, the engine."""
    spec = fleet.spec.engine
    container: Manifest = {
        "name": constants.ENGINE_CONTAINER,
        "image": image(fleet, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python3", constants.LAUNCHER_PATH, "run", "--"],
        "args": list(spec.args),
        "env": environment(fleet, revision),
        "ports": [
            {"name": constants.ENGINE_PORT_NAME, "containerPort": constants.ENGINE_PORT, "protocol": "TCP"},
            {
                "name": constants.LAUNCHER_PORT_NAME,
                "containerPort": constants.LAUNCHER_PORT,
                "protocol": "TCP",
            },
        ],
        "resources": spec.resources.to_wire(),
        "securityContext": security(),
        "startupProbe": _probe(
            "/readyz", period=1, timeout=2, failures=spec.startup_seconds + STARTUP_MARGIN_SECONDS
        )
        | {"terminationGracePeriodSeconds": FAILED_GRACE_SECONDS},
        "readinessProbe": _probe("/readyz", period=1, timeout=2, failures=3),
        "livenessProbe": _probe("/healthz", period=5, timeout=3, failures=6)
        | {"terminationGracePeriodSeconds": FAILED_GRACE_SECONDS},
        "lifecycle": {"preStop": {"sleep": {"seconds": constants.PRESTOP_SECONDS}}},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(fleet),
    }
    return container


def image(fleet: InferenceService, settings: BuildSettings) -> str:
    """Return the engine's image: the user's, else the default of the engine's type."""
    if fleet.spec.engine.image:
        return fleet.spec.engine.image
    simulated = fleet.spec.engine.type == constants.ENGINE_TYPE_SIMULATED
    return settings.simulated_image if simulated else constants.DEFAULT_VLLM_IMAGE


def environment(fleet: InferenceService, revision: str) -> list[Manifest]:
    """Return the variables in a fixed order: Torpor's, the caches', the token, the user's.

    A user's variable replaces one of the caches' or the token of the same name; Torpor's own cannot be named.
    """
    spec, model = fleet.spec, fleet.spec.model
    ours = {
        "TORPOR_FLEET_NAMESPACE": fleet.metadata.namespace,
        "TORPOR_FLEET_NAME": fleet.metadata.name,
        "TORPOR_FLEET_UID": fleet.metadata.uid,
        "TORPOR_REVISION": revision,
        "TORPOR_ENGINE_TYPE": spec.engine.type,
        "TORPOR_MODEL_URI": model.uri,
        "TORPOR_MODEL_REVISION": model.revision,
        "TORPOR_MODEL_NAMES": ",".join(names.served_names(fleet.metadata.namespace, fleet.model_name)),
        "TORPOR_DRAIN_SECONDS": str(spec.drain_seconds),
        "TORPOR_STARTUP_SECONDS": str(spec.engine.startup_seconds),
        "TORPOR_CACHE_DIR": constants.CACHE_DIR,
        "TORPOR_ENGINE_PORT": str(constants.ENGINE_PORT),
        "TORPOR_LAUNCHER_PORT": str(constants.LAUNCHER_PORT),
        "USER": "torpor",
    } | {name: f"{constants.CACHE_DIR}/{folder}" for name, folder in CACHE_ENV.items()}
    entries: dict[str, Manifest] = {name: {"name": name, "value": value} for name, value in ours.items()}
    entries["TORPOR_POD_NAME"] = {
        "name": "TORPOR_POD_NAME",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
    }
    if model.token_secret_ref is not None:
        reference = {"name": model.token_secret_ref.name, "key": model.token_secret_ref.key}
        entries["HF_TOKEN"] = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}
    for variable in spec.engine.env:
        entries[variable.name] = _variable(variable)
    return list(entries.values())


def _variable(variable: EnvVar) -> Manifest:
    entry = variable.to_wire()
    source = entry.get("valueFrom", {})
    if "fieldRef" in source:
        source["fieldRef"] = {"apiVersion": "v1", **source["fieldRef"]}
    if "valueFrom" not in entry:
        entry.setdefault("value", "")
    return entry


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": constants.LAUNCHER_PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
        "successThreshold": 1,
    }


def _mounts(fleet: InferenceService) -> list[Manifest]:
    mounts: list[dict[str, Any]] = [
        {"name": "torpor", "mountPath": constants.LAUNCHER_DIR, "readOnly": True},
        {"name": "cache", "mountPath": constants.CACHE_DIR},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own volume
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - tensor-parallel workers talk through it
        {"name": constants.TUNING_VOLUME, "mountPath": constants.TUNING_DIR, "readOnly": True},
    ]
    source = uri.parse(fleet.spec.model.uri)
    if source.scheme == "pvc":
        mounts.append({"name": "model", "mountPath": source.mount, "readOnly": True})
    for volume in fleet.spec.engine.pod_template.volumes or []:
        mount = {"name": volume.name, "mountPath": volume.mount_path, "readOnly": volume.read_only}
        mounts.append(mount | ({"subPath": volume.sub_path} if volume.sub_path else {}))
    return mounts
