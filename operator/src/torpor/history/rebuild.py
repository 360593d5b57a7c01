"""From a past to a trace: every request that was counted, at a time and with lengths that fit what is known.

Growth of a counter says how many came between two samples; the requests are put there evenly at random, which
is what a Poisson stream does within a quarter of a minute. So bursts shorter than a scrape are lost and
everything longer is kept. Another seed is another draw of the same history; the range of figures over seeds
is what the draw itself is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torpor.history.lengths import Lengths
from torpor.history.source import HistoryError
from torpor.simulate.traces import Trace

if TYPE_CHECKING:
    from torpor.history.read import Past

MOST_REQUESTS = 20_000_000
PROMPT, OUTPUT = 1024.0, 256.0  # tokens, where no histogram tells: a conversation


class Rebuilt:
    """Traces out of one past."""

    def __init__(self, past: Past) -> None:
        self._past = past
        if past.arrivals.total > MOST_REQUESTS:
            raise HistoryError(
                f"{past.arrivals.total:.0f} requests came in that time; at most {MOST_REQUESTS} are "
                "simulated: "
                "ask for less with --since"
            )
        self._prompts = Lengths(past.prompts, PROMPT)
        self._outputs = Lengths(past.outputs, OUTPUT)

    def trace(self, seed: int) -> Trace:
        """The requests, times in seconds from the past's beginning."""
        draws = np.random.default_rng([seed, 9])
        grown = self._past.arrivals
        number = np.rint(grown.amounts).astype(np.int64)
        begins, spans = np.repeat(grown.begins, number), np.repeat(grown.ends - grown.begins, number)
        at = np.sort(begins + spans * draws.random(len(begins)))
        at = at[(at >= self._past.start) & (at < self._past.end)]
        if not len(at):
            raise HistoryError("not one whole request came in that time; go further back with --since")
        prompt, output = self._prompts.draw(at, draws), self._outputs.draw(at, draws)
        return Trace(at - self._past.start, prompt, output)


def until(trace: Trace, end: float) -> Trace:
    """The trace with one more request at its very `end` (seconds), so that a run lasts so long.

    The simulator stops with the last request; a fleet that idles or sleeps after it goes on being billed.
    """
    return Trace(
        np.append(trace.arrival, end), np.append(trace.prompt, 1), np.append(trace.output, 1), trace.prefixes
    )
