"""What is asked of Prometheus: every query of every panel and variable, and every rule.

Grafana's variables are filled in with what somebody chose or with all, and its intervals by those of the run.
A selector inside an expression is a question of its own: `or vector(0)`, a sum or an absent side hide that a
metric is not there.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import yaml

from charts.monitoring.dashboards import BOARDS

FILES = Path(__file__).resolve().parents[2] / "charts" / "torpor" / "files"
PANEL, CHOICE, RECORD, ALERT = "panel", "variable", "recording rule", "alert"


@dataclass(frozen=True)
class Question:
    """One expression. `kind` is one of the words above. An alert need not fire, and what it looks for may be
    what must not happen: of an alert only the metrics count.
    """

    kind: str
    where: str
    expr: str

    @property
    def selectors(self) -> list[str]:
        """The vector selectors in it, without offset and range, each once; of an alert the metrics."""
        found: list[str] = []

        def visit(node: promql_parser.Expr) -> None:
            if isinstance(node, promql_parser.VectorSelector):
                whole = node.prettify().split(" offset ")[0].split(" @ ")[0]
                found.append(str(node.name) if self.kind == ALERT and node.name else whole)

        promql_parser.walk(promql_parser.parse(self.expr), pre_visit=visit)
        return list(dict.fromkeys(found))


def fill(expr: str, interval: float, whole: float, chosen: Mapping[str, str]) -> str:
    """Return an expression as Grafana would send it: `chosen` gives patterns for variables, all others are at
    "All"; times in seconds.
    """
    filled = expr.replace("$__rate_interval", f"{round(interval)}s").replace("$__range", f"{round(whole)}s")
    return re.sub(r"\$\{?(\w+)\}?", lambda found: chosen.get(found[1], ".*"), filled)


def of_dashboards(interval: float, whole: float, **chosen: str) -> Iterator[Question]:
    """Yield the queries of the panels and variables of all dashboards; the arguments are those of `fill`."""
    asked: set[str] = set()
    for board in BOARDS:
        for panel in board.panels():
            for query in panel.queries:
                yield Question(
                    PANEL, f"{board.uid}: {panel.title}", fill(query.expr, interval, whole, chosen)
                )
        for choice in board.choices:
            filled = fill(choice.series, interval, whole, chosen)
            if filled not in asked:
                asked.add(filled)
                yield Question(
                    CHOICE, f"{board.uid}: ${choice.name}", f"count by ({choice.label}) ({filled})"
                )


def rule_files() -> list[Path]:
    """Return the files of rules that the chart ships."""
    return sorted(FILES.glob("rules*.yaml"))


def of_rules() -> Iterator[Question]:
    """Yield the expressions of the chart's rules."""
    for path in rule_files():
        document = yaml.safe_load(path.read_text())
        for group in document.get("groups") or document["spec"]["groups"]:
            for rule in group["rules"]:
                kind = RECORD if "record" in rule else ALERT
                yield Question(
                    kind, f"{group['name']}: {rule.get('record') or rule['alert']}", str(rule["expr"])
                )
