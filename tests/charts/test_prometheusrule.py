"""The chart's PrometheusRule is the rules file and what values change of it; and what is scraped is there.

A monitor that selects nothing is as silent as a rule on a metric that nobody serves, so the monitors are held
against the Services as rendered and against an engine pod as the operator builds it.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from torpor.api import constants
from torpor.api.types import InferenceService
from torpor.build import BuildSettings, children

from charts.monitoring import rules
from e2e.cluster.prometheus import promtool
from tests.charts.rendering import ROOT, Object, Refused, of, one, pods, render

ON = {"prometheusRule.enabled": True}
MONITORED = {"serviceMonitor.enabled": True, "podMonitor.enabled": True}


def groups(**values: Any) -> list[Object]:
    """Return the groups of the PrometheusRule under these of its values."""
    given = {f"prometheusRule.{key}": value for key, value in values.items()}
    found = one(render(ON | given), "PrometheusRule")["spec"]["groups"]
    assert isinstance(found, list)
    return found


def alerts(**values: Any) -> dict[str, Object]:
    """Return its alerts by name."""
    return {rule["alert"]: rule for group in groups(**values) for rule in group["rules"] if "alert" in rule}


def test_it_is_there_when_it_is_asked_for_and_holds_the_rules_unchanged() -> None:
    assert not of(render(), "PrometheusRule")
    assert groups() == rules.as_file()["groups"]
    labels = {"release": "prometheus"}
    rule = one(render(ON | {"prometheusRule.labels": labels}), "PrometheusRule")
    assert rule["metadata"]["labels"].items() >= labels.items()


def test_an_alert_can_be_left_out_and_a_name_that_is_none_is_refused() -> None:
    assert set(alerts()) - set(alerts(disabledAlerts=["TorporNoLeader", "TorporDrainCut"])) == {
        "TorporNoLeader",
        "TorporDrainCut",
    }
    with pytest.raises(Refused, match=r"disabledAlerts: \"TorporNoLeadr\" is no alert .* TorporNoLeader,"):
        render(ON | {"prometheusRule.disabledAlerts": ["TorporNoLeadr"]})


def test_alerts_get_labels_to_be_routed_by_and_keep_their_severity() -> None:
    labelled = alerts(alertLabels={"team": "ml", "severity": "none"})
    for name, alert in alerts().items():
        assert labelled[name]["labels"] == {"team": "ml", **alert["labels"]}


def test_runbooks_can_be_kept_elsewhere() -> None:
    for url in ("https://wiki.example.com/torpor", "https://wiki.example.com/torpor/"):
        moved = alerts(runbookUrl=url)
        assert all(
            alert["annotations"]["runbook_url"] == f"https://wiki.example.com/torpor/{name}"
            for name, alert in moved.items()
        )


@pytest.mark.parametrize(("percent", "allowed"), [(95, 0.05), (99, 0.01), (90, 0.1), (1, 0.99)])
def test_one_value_changes_the_budget_of_the_objectives(percent: int, allowed: float) -> None:
    changed = [rule for group in groups(objectivePercent=percent) for rule in group["rules"]]
    written = [rule for group in groups() for rule in group["rules"]]
    (one_rule,) = (rule for rule in changed if rule.get("record") == "torpor:objective_misses:allowed")
    number = one_rule["expr"].removeprefix("vector(").removesuffix(")")
    assert float(number) == pytest.approx(allowed)
    assert len([rule for rule in changed if rule not in written]) == (percent != 95)


def test_prometheus_accepts_what_is_rendered(tmp_path: Path) -> None:
    changed = groups(objectivePercent=99, alertLabels={"team": "ml"}, disabledAlerts=["TorporNoLeader"])
    accepted("rules", yaml.safe_dump({"groups": changed}), tmp_path)


def accepted(kind: str, text: str, folder: Path) -> None:
    """Fail where promtool refuses the text of a rules or configuration file."""
    file = folder / f"{kind}.yaml"
    file.write_text(text)
    command = [str(promtool()), "check", kind, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_service_monitor_selects_one_service_whose_port_its_pods_have() -> None:
    objects = render(MONITORED)
    monitors = of(objects, "ServiceMonitor")
    assert len(monitors) == 2
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["torpor-system"]
        (service,) = (item for item in of(objects, "Service") if wanted <= item["metadata"]["labels"].items())
        (endpoint,) = monitor["spec"]["endpoints"]
        (port,) = (port for port in service["spec"]["ports"] if port["name"] == endpoint["port"])
        selected = service["spec"]["selector"].items()
        (pod,) = (pod for _, pod in pods(objects) if selected <= pod["metadata"]["labels"].items())
        names = [known["name"] for each in pod["spec"]["containers"] for known in each["ports"]]
        assert port["targetPort"] in names


def engine_pod() -> Object:
    """Return the pod template of a fleet as the operator applies it, with labels of its owner's beside."""
    fleet = InferenceService.model_validate(
        {
            "metadata": {"name": "llm", "namespace": "team", "uid": "u-1"},
            "spec": {
                "model": {"uri": "hf://org/model"},
                "engine": {"podTemplate": {"labels": {"own": "label"}}},
            },
        }
    )
    settings = BuildSettings("torpor-system", "torpor-gateway", "launcher:1", "engine:1")
    (deployment,) = (item for item in children(fleet, settings, 1) if item["kind"] == "Deployment")
    return dict(deployment["spec"]["template"])


def test_the_pod_monitor_selects_the_engine_pods_that_the_operator_builds() -> None:
    objects = render(MONITORED)
    spec = one(objects, "PodMonitor")["spec"]
    pod = engine_pod()
    labels = pod["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert all(it["operator"] == "Exists" for it in spec["selector"]["matchExpressions"])
    assert {it["key"] for it in spec["selector"]["matchExpressions"]} <= set(labels)
    (endpoint,) = spec["podMetricsEndpoints"]
    ports = {
        port["name"]: port["containerPort"]
        for it in pod["spec"]["containers"]
        for port in it.get("ports", ())
    }
    assert ports[endpoint["port"]] == constants.LAUNCHER_PORT
    assert relabelled(endpoint["relabelings"], labels)["name"] == "llm"
    for name, ours in pods(objects):  # it is of engines alone
        assert not spec["selector"]["matchLabels"].items() <= ours["metadata"]["labels"].items(), name


def relabelled(relabelings: list[Object], labels: dict[str, str]) -> dict[str, str]:
    """Return the target's labels that these plain relabelings give a pod with `labels`."""
    meta = {
        "__meta_kubernetes_pod_label_" + key.replace(".", "_").replace("/", "_").replace("-", "_"): value
        for key, value in labels.items()
    }
    return {it["targetLabel"]: meta[it["sourceLabels"][0]] for it in relabelings}


def test_the_scraping_without_the_operator_is_valid_and_finds_the_same_pods(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    (text,) = (block for block in page.split("```yaml\n")[1:] if block.startswith("scrape_configs"))
    config = yaml.safe_load(text.partition("```")[0])
    (job,) = config["scrape_configs"]
    # Debian builds promtool without Kubernetes' discovery: the rest is held against it.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    accepted("config", yaml.safe_dump(config), tmp_path)
    keep, *rest = job["relabel_configs"]
    label, port = keep["source_labels"]
    assert label == "__meta_kubernetes_pod_label_app_kubernetes_io_part_of"
    assert port == "__meta_kubernetes_pod_container_port_name"
    assert keep["regex"] == "torpor;(admin|launcher)"
    lasting = pods(render({"test.enabled": False}))  # the pod of `helm test` is gone after a minute
    for name, pod in (*lasting, ("engine", engine_pod())):
        assert pod["metadata"]["labels"][constants.LABEL_PART_OF] == "torpor", name
        ports = {port["name"] for it in pod["spec"]["containers"] for port in it["ports"]}
        assert len(ports & {"admin", "launcher"}) == 1, name
    given = {it["target_label"]: it["source_labels"] for it in rest}
    assert given["name"] == [
        "__meta_kubernetes_pod_label_" + constants.LABEL_FLEET.replace(".", "_").replace("/", "_")
    ]
    assert job["honor_labels"] is True


def test_the_values_in_the_document_are_those_of_the_chart() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    text = page.split("```yaml\n")[1].partition("```")[0]
    objects = render(yaml.safe_load(text))
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"):
        assert of(objects, kind), kind
        for item in of(objects, kind):
            assert item["metadata"]["labels"]["release"] == "kube-prometheus-stack"
