"""What a policy may see at one look: the figures an operator has, and none of the future.

Engines' gauges are those of the pods' own metrics, counters are cumulative. The lists come from the kernel as
they are; properties name their columns. Where engines report nothing, their gauges and counters are NaN; what
the gateways count themselves is known all the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torpor.simulate.judged import Judged

STARTING, READY, DRAINING = 1, 2, 3


@dataclass(slots=True)
class PodView:
    """One replica. Seconds, requests, tokens; kv is a share.

    tokens: generated; prompts: prompt tokens computed; decode_seconds: the sum over generated tokens of the
    time since the token before, so that its growth over that of `tokens` is the mean ITL.
    """

    name: str
    ready: bool
    draining: bool
    age: float
    running: float
    waiting: float
    kv: float
    tokens: float
    prompts: float
    decode_seconds: float
    preemptions: float


class View:
    """One look. `replicas` is what is asked for now; `pods` are all that are billed. `report_age`: how many
    seconds old the engines' reports are.
    """

    __slots__ = (
        "_counts",
        "_gone",
        "_gone_tokens",
        "_judged",
        "_truth",
        "cold_starts",
        "kv_tokens",
        "max_num_seqs",
        "now",
        "replicas",
        "report_age",
        "rows",
    )

    def __init__(  # noqa: PLR0917 - called with keywords it costs more than the look itself
        self,
        now: float,
        replicas: int,
        rows: list[list[float]],
        counts: list[int],
        gone_tokens: int,
        cold_starts: list[float],
        max_num_seqs: int,
        gone: tuple[float, ...] = (0.0,) * 6,
        kv_tokens: int = 0,
        truth: list[list[float]] | None = None,  # the rows as the gateways know them
        report_age: float = 0.0,
        judged: Judged | None = None,
    ) -> None:
        self.now = now
        self.replicas = replicas
        self.cold_starts = cold_starts  # seconds, measured so far, the newest last
        self.max_num_seqs = max_num_seqs
        self.kv_tokens = kv_tokens  # that a replica keeps
        self.rows = rows
        self._counts = counts
        self._gone_tokens = gone_tokens
        self._gone = gone  # what replicas that are gone had counted, as in columns 10 to 15
        self._truth = rows if truth is None else truth
        self.report_age = report_age
        self._judged = judged

    @property
    def pods(self) -> list[PodView]:
        """Every replica that is starting, ready or draining."""
        now = self.now
        return [
            PodView(
                f"{row[9]:.0f}-{row[1]:.3f}", row[0] == READY, row[0] == DRAINING, now - row[1], *row[2:9]
            )
            for row in self.rows
        ]

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the ready and draining replicas that report nothing."""
        return tuple(pod.name for pod in self.pods if (pod.ready or pod.draining) and math.isnan(pod.running))

    @property
    def waiting(self) -> int:
        """Requests that wait at the gateway."""
        return self._counts[14]

    @property
    def ready(self) -> int:
        """Replicas that answer."""
        return self._counts[6]

    @property
    def starting(self) -> int:
        """Replicas on their way."""
        return self._counts[7]

    @property
    def held(self) -> int:
        """Requests that wait for a fleet without a ready replica."""
        return 0 if self.ready else self.waiting

    @property
    def queued(self) -> int:
        """Requests that wait for a place at a ready replica."""
        return self.waiting if self.ready else 0

    @property
    def in_flight(self) -> int:
        """Requests that are at replicas."""
        return int(sum(row[2] + row[3] for row in self._truth))

    @property
    def arrivals(self) -> int:
        """Requests so far, refused ones included."""
        return self._counts[9]

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens of the requests so far."""
        return self._counts[10]

    @property
    def ended(self) -> tuple[float, float, float, float, float]:
        """Requests answered so far, and over them the sums of output tokens, of I², of O² and of I·O."""
        done, tokens, prompts, outputs, products = (
            self._gone[column - 10] + sum(row[column] for row in self.rows) for column in range(11, 16)
        )
        return done, tokens, prompts, outputs, products

    @property
    def judged(self) -> tuple[int, int]:
        """Requests that ended so far, and those that missed an objective, were refused, or expired."""
        return (self._judged.total, self._judged.missed) if self._judged else (0, 0)

    @property
    def output_tokens(self) -> int:
        """Tokens generated so far."""
        return self._gone_tokens + int(sum(row[5] for row in self._truth))
