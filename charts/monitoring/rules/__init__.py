"""Alerts and recording rules: what somebody is paged for, and what is worked out beforehand for that.

They are data (`model.Alert`, `model.Record`), written once and turned into one plain rules file, which a
Prometheus loads as it is and which the chart wraps into a PrometheusRule. Every alert has a page in
docs/operations/runbooks, a case in which it fires and one in which it does not, run by promtool; every
expression is held against what is exposed. An alert on a cause that users do not feel is left out on purpose:
it teaches people to close alerts unread.

What is refused here: rules per fleet (a fleet with other limits silences or routes by its labels), and rules
on metrics of others (kube-state-metrics, DCGM), which would be silent where those are not installed.
"""

import re
from collections.abc import Mapping

import yaml

from charts.monitoring.contract import check
from charts.monitoring.exposed import Series
from charts.monitoring.rules import fleets, gateway, objectives, operator
from charts.monitoring.rules.model import Alert, Group, Record, alerts, records

GROUPS: tuple[Group, ...] = (operator.GROUP, gateway.GROUP, fleets.GROUP, objectives.GROUP)
FILE = "rules.yaml"
_HEAD = """\
# Alerts and recording rules of Torpor for a Prometheus without its operator: name this file in rule_files.
# Written by `python -m charts.generate` (charts/monitoring/rules); the chart's PrometheusRule has the same.
"""

_INDEX = """\
# Alerts and their runbooks

<!-- Written by `python -m charts.generate` from charts/monitoring/rules. -->

[monitoring.md](../monitoring.md) says how to get them into Prometheus. `critical`: users are hurt now, wake
somebody. `warning`: look at it in working hours. *After* is how long it has to be so.

| alert | severity | after | says |
| --- | --- | --- | --- |"""
_RECORDED = """
## Recording rules

| series | is |
| --- | --- |"""


def recorded() -> list[Series]:
    """Return the series that the recording rules make, for `charts.monitoring.contract.check`."""
    known: list[Series] = []
    for rule in records(GROUPS):
        known.append(Series(rule.name, "gauge", check(rule.expression, known)))
    return known


def text() -> str:
    """Return the rules file."""
    return _HEAD + yaml.dump(as_file(), Dumper=_Dumper, sort_keys=False, width=1000)


def index() -> str:
    """Return the page that lists all rules, docs/operations/runbooks/README.md."""
    rows = [
        f"| [{alert.name}]({alert.name}.md) | {alert.severity} | "
        f"{'at once' if alert.duration == '0m' else alert.duration} | {_plain(alert.summary)} |"
        for alert in alerts(GROUPS)
    ]
    made = [f"| `{rule.name}` | {rule.about} |" for rule in records(GROUPS)]
    return "\n".join([_INDEX, *rows, _RECORDED, *made, ""])


def _plain(summary: str) -> str:
    """Return a summary with the names of its labels in place of their values."""
    return re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", lambda found: found[1].upper(), summary)


def as_file() -> Mapping[str, object]:
    """Return what the rules file holds."""
    return {"groups": [group.as_group() for group in GROUPS]}


class _Dumper(yaml.SafeDumper):
    """Writes expressions of several lines as such."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)

__all__ = [
    "FILE",
    "GROUPS",
    "Alert",
    "Group",
    "Record",
    "alerts",
    "as_file",
    "index",
    "recorded",
    "records",
    "text",
]
