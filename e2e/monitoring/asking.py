"""Put the questions to a Prometheus and judge the answers.

A question is answered when each of its selectors found a series at some moment of the run and the whole gave
a number at some moment; of an alert, which is not to fire, the selectors are enough. There is no excuse: what
a run of minutes does not bring by itself, the scenario has to bring about.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from e2e.monitoring.prometheus import Prometheus, QueryError
from e2e.monitoring.questions import ALERT, Question

POINTS = 200  # of a range query: enough that no moment of a test is stepped over


@dataclass(frozen=True)
class Answer:
    """What came of a question. `empty` are its selectors that found nothing, `series` those of the whole,
    `error` what Prometheus said instead.
    """

    question: Question
    series: int
    empty: tuple[str, ...]
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether there is data where there should be."""
        if self.error or self.empty:
            return False
        return self.series > 0 or self.question.kind == ALERT

    def __str__(self) -> str:
        told = "data" if self.good else "EMPTY"
        missing = f"; nothing for {', '.join(self.empty)}" if self.empty else ""
        asked = f"{self.question.kind} {self.question.where}"
        return f"{told:<5} {asked} ({self.series} series){missing}{self.error}"


def ask(prometheus: Prometheus, questions: Iterable[Question], start: float, end: float) -> list[Answer]:
    """Put each question for the time from `start` to `end` (Unix)."""
    step = max(1.0, (end - start) / POINTS)
    seen: dict[str, bool] = {}

    def there(selector: str) -> bool:
        if selector not in seen:
            window = f"last_over_time({selector}[{math.ceil(end - start)}s])"
            seen[selector] = bool(prometheus.query(f"count({window})", end))
        return seen[selector]

    return [_one(prometheus, question, (start, end, step), there) for question in questions]


def _one(
    prometheus: Prometheus,
    question: Question,
    times: tuple[float, float, float],
    there: Callable[[str], bool],
) -> Answer:
    try:
        empty = tuple(selector for selector in question.selectors if not there(selector))
        series = sum(map(_has_number, prometheus.query_range(question.expr, *times)))
    except QueryError as error:
        return Answer(question, 0, (), error=f" {error}")
    return Answer(question, series, empty)


def _has_number(series: Mapping[str, Sequence[Sequence[object]]]) -> bool:
    return any(not math.isnan(float(str(value))) for _, value in series["values"])


def report(answers: Sequence[Answer]) -> str:
    """Return a line for each kind, and one for each question that is not answered."""
    lines = []
    for kind in dict.fromkeys(answer.question.kind for answer in answers):
        found = [answer for answer in answers if answer.question.kind == kind]
        lines.append(f"{kind}: {len(found)} asked, {sum(answer.good for answer in found)} answered")
    lines += [f"  {answer}" for answer in answers if not answer.good]
    return "\n".join(lines)


def unanswered(answers: Sequence[Answer]) -> list[Answer]:
    """Return the questions without data."""
    return [answer for answer in answers if not answer.good]
