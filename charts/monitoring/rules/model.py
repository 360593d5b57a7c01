"""What a rule is, and its text in a rules file.

A group is Prometheus' own: its rules are evaluated together, in order, so an alert can use what a recording
rule above it has just made. Annotations are templates of Prometheus; `{{ $labels.x }}` in them has to be a
label of the expression's result, which the tests check.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

RUNBOOKS = "https://torpor.dev/operations/runbooks"  # the chart's prometheusRule.runbookUrl replaces it


@dataclass(frozen=True)
class Record:
    """A recording rule: `name` holds what `expression` gives. `about` is for the reference."""

    name: str
    expression: str
    about: str

    def as_rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {"record": self.name, "expr": _lines(self.expression)}


@dataclass(frozen=True)
class Alert:
    """An alert. `duration`, Prometheus' `for`, is how long the expression has to give something; `severity`
    is `critical` (users are hurt now: wake somebody) or `warning` (look at it in working hours).
    `description` says what is so, in words for who is paged, and ends with the next step.
    """

    name: str
    severity: str
    duration: str
    expression: str
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The address of the page about it."""
        return f"{RUNBOOKS}/{self.name}"

    def as_rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": _lines(self.expression),
            "for": self.duration,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": " ".join(self.description.split()),
                "runbook_url": self.runbook,
            },
        }


Rule = Record | Alert


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together."""

    name: str
    rules: tuple[Rule, ...]

    def as_group(self) -> dict[str, Any]:
        """Return the group as Prometheus reads it."""
        return {"name": self.name, "rules": [rule.as_rule() for rule in self.rules]}


def alerts(groups: Iterable[Group]) -> list[Alert]:
    """Return the alerts of the groups, in order."""
    return [rule for group in groups for rule in group.rules if isinstance(rule, Alert)]


def records(groups: Iterable[Group]) -> list[Record]:
    """Return the recording rules of the groups, in order."""
    return [rule for group in groups for rule in group.rules if isinstance(rule, Record)]


def _lines(expression: str) -> str:
    """Return the expression without the indentation of the source."""
    lines = [line.rstrip() for line in expression.strip("\n").splitlines()]
    indent = min(len(line) - len(line.lstrip()) for line in lines if line)
    return "\n".join(line[indent:] for line in lines)
