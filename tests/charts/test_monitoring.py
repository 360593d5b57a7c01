"""What the chart brings for monitoring: dashboards where a sidecar finds them, monitors of every part."""

import pytest
from torpor.api import constants

from tests.charts.rendering import CHART, of, one, render

LARGEST = 1024 * 1024  # bytes of a ConfigMap, all of it
MONITORS = {"serviceMonitor.enabled": True, "podMonitor.enabled": True}


def test_nothing_of_it_is_there_unless_it_is_asked_for():
    objects = render()
    for kind in ("ConfigMap", "ServiceMonitor", "PodMonitor"):
        assert not of(objects, kind)


def test_every_dashboard_lies_unchanged_where_the_sidecar_looks():
    found = of(render({"dashboards.enabled": True}), "ConfigMap")
    held = {name: text for item in found for name, text in item["data"].items()}
    files = sorted((CHART / "files" / "dashboards").glob("*.json"))
    assert len(files) == 4
    assert held == {path.name: path.read_text() for path in files}
    for item in found:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "Torpor"}
        assert sum(map(len, item["data"].values())) < LARGEST


def test_label_and_folder_are_the_users_choice():
    values = {
        "dashboards": {
            "enabled": True,
            "labels": {"boards": "yes", "grafana_dashboard": None},
            "annotations": {},
        }
    }
    for item in of(render(values), "ConfigMap"):
        assert item["metadata"]["labels"]["boards"] == "yes"
        assert "grafana_dashboard" not in item["metadata"]["labels"]


@pytest.mark.parametrize(
    ("watched", "namespaces"), [([], {"any": True}), (["a", "b"], {"matchNames": ["a", "b"]})]
)
def test_engines_are_read_by_their_fleet_in_the_namespaces_that_are_served(watched, namespaces):
    spec = one(render({**MONITORS, "watchNamespaces": watched}), "PodMonitor")["spec"]
    assert spec["namespaceSelector"] == namespaces
    assert spec["selector"]["matchLabels"] == {constants.LABEL_MANAGED_BY: constants.MANAGED_BY}
    assert spec["selector"]["matchExpressions"] == [{"key": constants.LABEL_FLEET, "operator": "Exists"}]
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == constants.LAUNCHER_PORT_NAME
    assert endpoint["honorLabels"] is True
    label = constants.LABEL_FLEET.replace(".", "_").replace("/", "_")
    assert endpoint["relabelings"] == [
        {"sourceLabels": [f"__meta_kubernetes_pod_label_{label}"], "targetLabel": "name"}
    ]
