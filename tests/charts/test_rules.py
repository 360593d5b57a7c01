"""The rules, evaluated by promtool: each alert fires where it should and is quiet where it should be.

promtool is Prometheus' own and reads the very file that people load; it is fetched where it is not installed.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.monitoring import rules
from charts.monitoring.contract import check, mentioned
from charts.monitoring.rules import Alert
from e2e.cluster.prometheus import promtool
from tests.charts.alert_cases import CASES, RECORDED, Case
from tests.charts.rendering import CHART, ROOT

FILE = CHART / "files" / rules.FILE
ALERTS = {alert.name: alert for alert in rules.alerts(rules.GROUPS)}
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
HEADINGS = ["What it means", "What users feel", "Look", "Mend", "False alarm"]


def run(folder: Path, tests: list[dict[str, Any]]) -> None:
    """Run promtool's unit tests over the rules file, with evaluations as often as samples. Fails with what
    it says.
    """
    file = folder / "tests.yaml"
    document = {"rule_files": [str(FILE)], "evaluation_interval": tests[0]["interval"], "tests": tests}
    file.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [promtool(), "test", "rules", str(file)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def as_test(alert: Alert, case: Case) -> dict[str, Any]:
    """Return a case as promtool's test, with every word of the alert that people will read."""
    fired = [
        {
            "exp_labels": {"severity": alert.severity, **labels},
            "exp_annotations": {
                key: filled(text, labels, case.value) for key, text in alert.as_rule()["annotations"].items()
            },
        }
        for labels in case.fires
    ]
    return {
        "name": case.story,
        "interval": case.interval,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert.name, "exp_alerts": fired}],
    }


def filled(text: str, labels: dict[str, str], value: str) -> str:
    """Return an annotation as it reads with these labels."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
    return re.sub(r"\{\{ \$value[^}]*\}\}", value, text)


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet() -> None:
    assert set(CASES) == set(ALERTS)
    for name, cases in CASES.items():
        assert {bool(case.fires) for case in cases} == {True, False}, name


@pytest.mark.parametrize("name", ALERTS)
def test_the_alert_fires_and_is_quiet(name: str, tmp_path: Path) -> None:
    run(tmp_path, [as_test(ALERTS[name], case) for case in CASES[name]])


def test_every_recording_rule_gives_what_it_should(tmp_path: Path) -> None:
    assert set(RECORDED) == {rule.name for rule in rules.records(rules.GROUPS)}
    tests: dict[tuple[str, ...], dict[str, Any]] = {}  # by series: what is asked of the same is asked at once
    for name, it in RECORDED.items():
        labels = ", ".join(f'{key}="{value}"' for key, value in it.labels.items())
        asked = {
            "expr": f"round({name}, 0.0001)",
            "eval_time": it.at,
            "exp_samples": [{"labels": f"{{{labels}}}", "value": it.value}],
        }
        series = [{"series": key, "values": values} for key, values in it.series.items()]
        test = {"input_series": series, "interval": "1m", "promql_expr_test": []}
        tests.setdefault(tuple(it.series), test)["promql_expr_test"].append(asked)
    run(tmp_path, list(tests.values()))


def test_prometheus_accepts_the_file() -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", "--lint=all", "--lint-fatal", str(FILE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_is_the_generated_one() -> None:
    assert FILE.read_text() == rules.text(), "run `python -m charts.generate`"


def test_every_rule_asks_for_what_is_exposed() -> None:
    known = rules.recorded()
    for alert in ALERTS.values():
        labels = check(alert.expression, known)
        assert mentioned(alert.summary) | mentioned(alert.description) <= labels, alert.name


def test_every_alert_says_what_is_so_and_what_to_do_next() -> None:
    assert len(ALERTS) == len(rules.alerts(rules.GROUPS)), "two of one name"
    for alert in ALERTS.values():
        assert alert.name.startswith("Torpor")
        assert alert.severity in ("critical", "warning")
        assert len(alert.summary) <= 160, alert.name
        assert not alert.summary.endswith("."), alert.name
        assert alert.description.rstrip().endswith("."), alert.name


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_runbook(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
    assert f"Severity: `{ALERTS[name].severity}`" in page
    assert ALERTS[name].runbook.endswith(f"/{name}")


def test_no_runbook_is_about_an_alert_that_is_gone() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)
