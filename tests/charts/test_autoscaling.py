"""The gateway's HorizontalPodAutoscaler: it alone owns the number, and what it takes away still drains."""

from pathlib import Path
from typing import Any

import pytest

from tests.charts.rendering import Refused, of, one, render
from tests.charts.test_notes import noted, notes

__all__ = ["noted"]  # a fixture

ON: dict[str, Any] = {"gateway.autoscaling.enabled": True}


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert not of(render(), "HorizontalPodAutoscaler")
    assert one(render(), "Deployment", "torpor-gateway")["spec"]["replicas"] == 2


def test_it_scales_the_gateway_by_processor_time() -> None:
    values = {"minReplicas": 3, "maxReplicas": 30, "targetCPUUtilizationPercentage": 85, "enabled": True}
    objects = render({"gateway.autoscaling": values})
    spec = one(objects, "HorizontalPodAutoscaler", "torpor-gateway")["spec"]
    target = spec["scaleTargetRef"]
    deployment = one(objects, target["kind"], target["name"])
    assert deployment["apiVersion"] == target["apiVersion"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 30)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 85}}


def test_it_alone_owns_the_number_of_pods() -> None:
    objects = render(ON | {"gateway.replicaCount": 7})
    assert "replicas" not in one(objects, "Deployment", "torpor-gateway")["spec"]
    assert one(objects, "Deployment", "torpor-operator")["spec"]["replicas"] == 2


def test_pods_go_one_at_a_time_and_not_at_once_and_drain_as_ever() -> None:
    objects = render(ON)
    down = one(objects, "HorizontalPodAutoscaler")["spec"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] == 300
    assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    pod = one(objects, "Deployment", "torpor-gateway")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 900 + 900 + 15
    budget = one(objects, "PodDisruptionBudget", "torpor-gateway")["spec"]
    assert budget["maxUnavailable"] == 1, "a number that leaves room with any number of pods"


def test_a_behaviour_of_ones_own_is_merged_and_none_is_kubernetes_own() -> None:
    up = {"scaleUp": {"stabilizationWindowSeconds": 60}}
    found = one(render(ON | {"gateway.autoscaling.behavior": up}), "HorizontalPodAutoscaler")["spec"]
    assert found["behavior"].keys() == {"scaleUp", "scaleDown"}
    bare = one(render(ON | {"gateway.autoscaling.behavior": {"scaleDown": None}}), "HorizontalPodAutoscaler")
    assert "behavior" not in bare["spec"]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (
            {"gateway.autoscaling.minReplicas": 5, "gateway.autoscaling.maxReplicas": 4},
            r"gateway.autoscaling.maxReplicas: 4 is less than gateway.autoscaling.minReplicas, 5; raise",
        ),
        (
            {"gateway.resources.requests.cpu": None},
            r"gateway.resources.requests.cpu: not set; .* would never act; set it to",
        ),
    ],
)
def test_what_could_never_work_is_refused(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(Refused, match=rule):
        render(ON | values)
    render(values)  # without an autoscaler it matters to nobody


def test_one_pod_is_named_as_a_risk_by_the_value_that_counts(noted: Path) -> None:
    one_pod = {"gateway.autoscaling.minReplicas": 1, "gateway.replicaCount": 2}
    assert "gateway.autoscaling.minReplicas is 1" in notes(noted, ON | one_pod)
    assert "is 1;" not in notes(noted, one_pod)
    assert "is 1;" not in notes(noted, ON | {"gateway.replicaCount": 1})
