"""What the kubelet says about a pod, and what we make of it."""

from datetime import timedelta

import pytest
from torpor.api import constants as c
from torpor.control.pods import NEXT_STEPS, read_pod

from tests.unit.control.worlds import NOW, container, pod, stamp


def ended(code, **more):
    return {"terminated": {"exitCode": code, "finishedAt": stamp(5)} | more}


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (container(waiting("ErrImagePull", "not found")), c.IMAGE_PULL_FAILED),
        (container(waiting("ImagePullBackOff")), c.IMAGE_PULL_FAILED),
        (container(waiting("InvalidImageName")), c.IMAGE_PULL_FAILED),
        (container(waiting("CreateContainerConfigError", 'secret "hf" not found')), c.CONFIG_ERROR),
        (
            container(waiting("RunContainerError", "exec: python3: executable file not found")),
            c.ENGINE_NOT_FOUND,
        ),
        (container(ended(1, reason="OOMKilled")), c.OUT_OF_MEMORY),
        (container(waiting("CrashLoopBackOff"), ended(1)), c.ENGINE_CRASHED),
        (container({"running": {}}, ended(66, message="no such model")), c.MODEL_NOT_FOUND),
        (
            container({}, ended(128, reason="StartError", message="no such file or directory")),
            c.ENGINE_NOT_FOUND,
        ),
        *((container(ended(code)), reason) for code, reason in c.EXIT_CODE_REASONS.items()),
        (
            {"initContainerStatuses": container(waiting("ErrImagePull"))["containerStatuses"]},
            c.IMAGE_PULL_FAILED,
        ),
    ],
)
def test_a_pod_that_does_not_start_has_a_reason_and_a_next_step(status, reason):
    failure = pod(status=status).failure
    assert failure is not None
    assert failure.reason == reason
    assert failure.message.endswith(NEXT_STEPS[reason])


@pytest.mark.parametrize(
    "status",
    [{}, container(), container(waiting("ContainerCreating")), container(waiting("PodInitializing")),
     container({"running": {}}), container({"running": {}}, ended(0)), {"containerStatuses": [None, "x"]}],
)  # fmt: skip
def test_a_pod_that_is_starting_has_no_failure(status):
    assert pod(status=status).failure is None


def test_a_ready_pod_has_no_failure_whatever_it_went_through():
    assert pod(ready=True, status=container({"running": {}}, ended(1))).failure is None


def test_an_unschedulable_pod_says_what_the_scheduler_said():
    found = pod(unschedulable=30)
    assert found.failure.reason == c.UNSCHEDULABLE
    assert "Insufficient nvidia.com/gpu" in found.failure.message


def test_every_reason_has_a_next_step():
    assert set(NEXT_STEPS) == set(c.POD_FAILURE_REASONS)


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("1m20s", 80), ("5m0s", 300), ("1h0m0s", 3600)])
def test_a_crash_loop_says_when_the_next_attempt_is(text, seconds):
    said = f"back-off {text} restarting failed container=engine pod=llm-0"
    failure = pod(status=container(waiting("CrashLoopBackOff", said), ended(70))).failure
    assert failure.retry_at == NOW - timedelta(seconds=5) + timedelta(seconds=seconds)


@pytest.mark.parametrize("status", [{"conditions": ["x", {}]}, {"containerStatuses": None}, {"phase": 3}])
def test_odd_content_is_absent_content(status):
    assert read_pod({"metadata": {"name": "x"}, "status": status}).ready is False
