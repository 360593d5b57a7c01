"""Which series are read, and what is refused before they are."""

from __future__ import annotations

import numpy as np
import pytest
from torpor.history.read import MOST_SERIES, read
from torpor.history.source import HistoryError, Series

WEEK = 7 * 86_400.0


class Sparse:
    """A server that knows one selector, seen only by whoever looks every five minutes; it notes what it is
    asked.
    """

    def __init__(self, known: str, count: float, finest: float = 1e9) -> None:
        self.known, self.count, self.finest = known, count, finest
        self.notes: list[str] = []
        self.asked: list[str] = []

    def steps(self, query: str, start: float, end: float, step: float) -> list[Series]:
        del start, end
        self.asked.append(query)
        if query.startswith("count(") and self.known in query and step <= self.finest:
            return [Series({}, np.array([5.0]), np.array([self.count]))]
        if query.startswith("count by"):
            return [Series({"namespace": "a", "name": "b"}, np.array([5.0]), np.array([1.0]))]
        return []

    def instant(self, query: str, at: float) -> list[Series]:
        del at
        self.asked.append(query)
        return []


def refused(server: Sparse) -> str:
    with pytest.raises(HistoryError) as raised:
        read(server, ('x="1"', 'y="2"'), ("team", "chat"), start=0.0, end=WEEK)
    return str(raised.value)


def test_the_second_selector_is_tried_and_a_wake_of_minutes_is_found() -> None:
    server = Sparse('y="2"', 1.0, finest=300.0)
    assert "has vllm:num_requests_running and no vllm:time_to_first_token" in refused(server)
    assert 'y="2"' in server.asked[-1]


def test_too_many_are_refused_before_a_single_sample_is_read() -> None:
    server = Sparse('x="1"', MOST_SERIES + 1)
    assert f"{MOST_SERIES + 1} series" in refused(server)
    assert len(server.asked) == 1


def test_where_there_is_nothing_the_others_labels_are_told() -> None:
    text = refused(Sparse('z="3"', 1.0))
    assert '{x="1"} nor {y="2"}' in text
    assert 'namespace="a" name="b": name yours with --selector' in text
