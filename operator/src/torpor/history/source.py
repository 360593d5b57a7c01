"""Where series come from, as far as reading a history has to know: two questions and their answer.

A test answers them from memory, `prometheus` asks a server. Whoever answers raises `HistoryError` with one
sentence for people: what was asked of whom, what came back, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HistoryError(Exception):
    """No usable history; the message is one sentence with a next step."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series. times: seconds since the epoch, ascending; values: as many, NaN where the source says
    so.
    """

    labels: dict[str, str]
    times: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def name(self) -> str:
        """The metric's name; empty where an operation took it away."""
        return self.labels.get("__name__", "")


class Source(Protocol):
    """Whoever can be asked. Times are seconds since the epoch. Both raise HistoryError."""

    notes: list[str]  # what the source said beside its answers: an answer that lacks parts, above all

    def instant(self, query: str, at: float) -> list[Series]:
        """The answer at one time: of a range (`m[1h]`) the samples as they were stored."""
        ...

    def steps(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The answer at each step from `start` to `end`."""
        ...
