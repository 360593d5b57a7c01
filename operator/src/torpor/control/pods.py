"""Reading pods: is it ready, is it going, and if it does not start, why not.

The kubelet says what happens to a container in words of its own, some of them for machines, most of them not.
The table here turns them into the reasons of this product and into sentences that name what to change. A
reason stays while the kubelet tries again (a container that was just restarted is not healthy because it
runs), so conditions do not flap with each attempt.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from torpor.api import accelerators, constants
from torpor.cluster.resources import Object

IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
}
CONFIG_REASONS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PostStartHookError",
}

NEXT_STEPS: Mapping[str, str] = {
    constants.IMAGE_PULL_FAILED: "check spec.engine.image and spec.engine.podTemplate.imagePullSecrets",
    constants.UNSCHEDULABLE: "add a node that has spec.engine.resources, or change spec.engine.podTemplate",
    constants.PODS_REFUSED: "raise the namespace's quota, or change what refuses the pod",
    constants.ENGINE_CRASHED: "read the engine's log (kubectl logs --previous) and check spec.engine.args",
    constants.STARTUP_TIMED_OUT: "raise spec.engine.startupSeconds, or shorten it with spec.model.cache",
    constants.MODEL_NOT_FOUND: "check spec.model.uri and spec.model.revision",
    constants.MODEL_ACCESS_DENIED: "check spec.model.tokenSecretRef and the token's rights",
    constants.INVALID_ENGINE_ARGS: "check spec.engine.args against the engine's version",
    constants.OUT_OF_MEMORY: "raise spec.engine.resources or choose a smaller model or context length",
    constants.CACHE_NOT_WRITABLE: "check the volume of spec.model.cache and its permissions",
    constants.ENGINE_NOT_FOUND: "check that spec.engine.image holds the engine and python3",
    constants.CONFIG_ERROR: "check the Secrets, ConfigMaps and volumes that spec refers to",
    constants.WARMUP_FAILED: "read the engine's log (kubectl logs --previous)",
}

_BACK_OFF = re.compile(r"back-off (?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod does not become ready. `retry_at`: when the kubelet tries again, where it can be told."""

    reason: str
    message: str
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """One engine pod, as far as decisions and conditions need it. Times are those of the API server. gpus:
    accelerators that it books.
    """

    name: str
    uid: str
    revision: str
    created: datetime | None
    ready: bool
    ready_since: datetime | None
    terminating: bool
    holds_room: bool
    unschedulable_since: datetime | None
    failure: Failure | None
    deletion_cost: str | None = None
    gpus: int = 0
    restarted: str = ""

    def age(self, now: datetime) -> float:
        """Seconds since it was created, at least 0."""
        return max(0.0, (now - self.created).total_seconds()) if self.created else 0.0


def read_pod(item: Object) -> Pod:
    """Read one pod. Never raises on odd content: what cannot be read is absent."""
    metadata, status = item["metadata"], item.get("status") or {}
    annotations = metadata.get("annotations") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or () if isinstance(c, Mapping)}
    ready = conditions.get("Ready", {})
    scheduled = conditions.get("PodScheduled", {})
    unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    is_ready = ready.get("status") == "True"
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        revision=(metadata.get("labels") or {}).get(constants.LABEL_REVISION, ""),
        created=parse_time(metadata.get("creationTimestamp")),
        ready=is_ready,
        ready_since=parse_time(ready.get("lastTransitionTime")) if is_ready else None,
        terminating=bool(metadata.get("deletionTimestamp")) or status.get("phase") in ("Failed", "Succeeded"),
        holds_room=scheduled.get("status") == "True" and status.get("phase") not in ("Failed", "Succeeded"),
        unschedulable_since=parse_time(scheduled.get("lastTransitionTime")) if unschedulable else None,
        failure=None if is_ready else _failure(metadata, status, scheduled if unschedulable else None),
        deletion_cost=annotations.get(constants.ANNOTATION_DELETION_COST),
        restarted=annotations.get(constants.ANNOTATION_RESTARTED, ""),
        gpus=_gpus(item.get("spec") or {}),
    )


def _gpus(spec: Mapping[str, Any]) -> int:
    resources = [container.get("resources") or {} for container in spec.get("containers") or ()]
    return sum(accelerators.count(booked.get("limits")) for booked in resources)


def _failure(
    metadata: Mapping[str, Any], status: Mapping[str, Any], unschedulable: Mapping[str, Any] | None
) -> Failure | None:
    if unschedulable is not None:
        return failure(constants.UNSCHEDULABLE, str(unschedulable.get("message") or "no node fits"))
    for container in _containers(status):
        found = _container_failure(container, parse_time(metadata.get("creationTimestamp")))
        if found is not None:
            return found
    return None


def _containers(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(group) or ():
            if isinstance(container, Mapping):
                yield container


def _container_failure(container: Mapping[str, Any], created: datetime | None) -> Failure | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    why, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    what = f"container {container.get('name')}"
    if why in IMAGE_REASONS:
        text = f'{what}: image "{container.get("image")}" cannot be pulled ({said or why})'
        return failure(constants.IMAGE_PULL_FAILED, text)
    if why in CONFIG_REASONS:
        return failure(_start_reason(said), f"{what} cannot be made ({said or why})")
    ended = state.get("terminated") or last.get("terminated")
    if not ended or ended.get("exitCode") == 0:
        return None
    retry = _retry_at(said, parse_time(ended.get("finishedAt"))) if why == "CrashLoopBackOff" else None
    return _exit_failure(what, ended, retry)


def _start_reason(said: str) -> str:
    missing = "executable file not found" in said or "no such file or directory" in said
    return constants.ENGINE_NOT_FOUND if missing else constants.CONFIG_ERROR


def _exit_failure(what: str, ended: Mapping[str, Any], retry: datetime | None) -> Failure:
    code, said = int(ended.get("exitCode") or 0), str(ended.get("message") or "").strip()
    if ended.get("reason") == "OOMKilled":
        reason, text = constants.OUT_OF_MEMORY, f"{what} was killed because it exceeded its memory limit"
    elif code in constants.EXIT_CODE_REASONS:
        reason, text = constants.EXIT_CODE_REASONS[code], said or f"{what} ended with exit code {code}"
    elif ended.get("reason") == "StartError":
        reason, text = _start_reason(said), f"{what} cannot start ({said})"
    else:
        reason = constants.ENGINE_CRASHED
        text = f"{what} ended with exit code {code}" + (f": {said}" if said else "")
    return failure(reason, text, retry)


def failure(reason: str, text: str, retry_at: datetime | None = None) -> Failure:
    """Join what happened with what to do about it."""
    step = NEXT_STEPS.get(reason)
    text = " ".join(text.split())[:900]
    return Failure(reason, f"{text}; {step}" if step else text, retry_at)


def _retry_at(said: str, ended: datetime | None) -> datetime | None:
    found = _BACK_OFF.match(said)
    if found is None or ended is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ended + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def parse_time(text: object) -> datetime | None:
    """Read an RFC 3339 time as the API server writes it; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
