"""What is asked of a Prometheus beside real fleets, and how its answers are judged."""

from typing import Any

import pytest

from e2e.monitoring.asking import ask, report, unanswered
from e2e.monitoring.questions import ALERT, PANEL, RECORD, Question, of_rules

HELD, LIMIT = "torpor_gateway_held_requests", "torpor_fleet_hold_limit_seconds"
FIRES_NEVER = f'max by (name) ({HELD}) > on (name) max by (name) ({LIMIT}{{kind="stream"}})'


class Told:
    """A Prometheus that has the `there` and answers each whole expression with `values`."""

    def __init__(self, *there: str, values: tuple[str, ...] = ()) -> None:
        self.there, self.values = there, values

    def query(self, expr: str, at: float) -> list[dict[str, Any]]:
        return [{"value": [at, "1"]}] if any(f"({name}[" in expr for name in self.there) else []

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        return [{"values": [[start, value] for value in self.values]}] if self.values else []


def judged(prometheus: Told, question: Question) -> str:
    (answer,) = ask(prometheus, [question], 0.0, 60.0)  # type: ignore[arg-type]
    assert bool(unanswered([answer])) is (not answer.good)
    assert "1 asked" in report([answer])
    return "good" if answer.good else "empty"


@pytest.mark.parametrize(
    ("expr", "of_a_panel", "of_an_alert"),
    [
        (f'rate({HELD}{{a="1"}}[5m])', [f'{HELD}{{a="1"}}'], [HELD]),
        (f'max_over_time(sum({HELD}{{a="1"}})[1h:1m])', [f'{HELD}{{a="1"}}'], [HELD]),
        (f'absent({HELD}) or vector(0) or {HELD}{{a="1"}}', [HELD, f'{HELD}{{a="1"}}'], [HELD]),
        (f'{HELD}{{a="1"}} offset 5m', [f'{HELD}{{a="1"}}'], [HELD]),
        ("vector(0.05)", [], []),
    ],
)
def test_every_selector_is_a_question_and_of_an_alert_every_metric(expr, of_a_panel, of_an_alert):
    assert Question(PANEL, "x", expr).selectors == of_a_panel
    assert Question(RECORD, "x", expr).selectors == of_a_panel
    assert Question(ALERT, "x", expr).selectors == of_an_alert


@pytest.mark.parametrize(
    ("kind", "prometheus", "verdict"),
    [
        (ALERT, Told(HELD, LIMIT), "good"),  # it fires not, but would
        (ALERT, Told(HELD, LIMIT, values=("1",)), "good"),
        (ALERT, Told(LIMIT), "empty"),  # the metric is gone: it never fires
        (ALERT, Told(HELD), "empty"),  # one of them is
        (PANEL, Told(HELD, f'{LIMIT}{{kind="stream"}}'), "empty"),  # a panel has to show something
        (RECORD, Told(HELD, f'{LIMIT}{{kind="stream"}}'), "empty"),
        (RECORD, Told(HELD, f'{LIMIT}{{kind="stream"}}', values=("NaN",)), "empty"),
        (RECORD, Told(HELD, f'{LIMIT}{{kind="stream"}}', values=("NaN", "1")), "good"),
    ],
)
def test_an_alert_needs_its_metrics_and_everything_else_a_number(kind, prometheus, verdict):
    assert judged(prometheus, Question(kind, "x", FIRES_NEVER)) == verdict


def test_the_files_of_rules_are_found_whether_plain_or_wrapped(monkeypatch, tmp_path):
    group = "groups: [{name: g, rules: [{record: 'a:b', expr: up}, {alert: A, expr: up == 0}]}]"
    (tmp_path / "rules.yaml").write_text(group)
    (tmp_path / "rules-more.yaml").write_text(f"spec: {{{group}}}")
    monkeypatch.setattr("e2e.monitoring.questions.FILES", tmp_path)
    found = [(question.kind, question.where, question.expr) for question in of_rules()]
    assert found == 2 * [(RECORD, "g: a:b", "up"), (ALERT, "g: A", "up == 0")]
