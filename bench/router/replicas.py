"""Replicas on a trace of which somebody else says where each request goes.

The engine is the simulator's own (`replica_kernel`, `prefix_kernel`): its steps, its cache of prompts' blocks
with the least recently used going first. A request is given to a replica at its arrival; nothing waits
outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torpor.simulate import cache_kernel
from torpor.simulate import replica_kernel as rk
from torpor.simulate.compiled import compiled

if TYPE_CHECKING:
    from torpor.simulate.fleet import Setup
    from torpor.simulate.traces import Trace


@compiled
def _run_until(m: Any, q: Any, pods: Any, places: Any, until: float) -> None:
    for r in range(len(pods)):
        pod, w = pods[r], places[r]
        while pod.end <= until:
            now = pod.end
            rk.finish(m, q, pod, w)
            rk.begin(m, q, pod, w, now)


@compiled
def _give(m: Any, q: Any, pods: Any, places: Any, r: int, i: int) -> None:  # noqa: PLR0917
    rk.arrive(m, q, pods[r], places[r], i, q[i].arrival)


@compiled
def _known(m: Any, q: Any, places: Any, i: int, found: Any) -> None:
    for r in range(len(found)):
        found[r] = cache_kernel.hit(m, places[r], i, q[i].prompt)


class Replicas:
    """So many replicas, empty at first."""

    def __init__(self, trace: Trace, setup: Setup, count: int) -> None:
        assert trace.prefixes is not None
        self._table = trace.prefixes.table()  # kernels count no references: it is held here
        self.machine = setup.machine(trace.prefixes.tokens, self._table)
        self.requests = rk.new_requests(trace.arrival, trace.prompt, trace.output)
        self.pods, self._places = rk.new_pods(count, self.machine)
        for r in range(count):
            rk.reset(self.pods, self._places, r)
        self._found = np.zeros(count, np.int64)

    def advance(self, until: float) -> None:
        """Let time pass, in seconds of the trace."""
        _run_until(self.machine, self.requests, self.pods, self._places, until)

    def give(self, i: int, r: int) -> None:
        """Request `i` arrives at replica `r`."""
        _give(self.machine, self.requests, self.pods, self._places, r, i)

    def loads(self) -> list[int]:
        """Requests at each replica."""
        found: list[int] = (self.pods["running"] + self.pods["waiting"]).tolist()
        return found

    def known(self, i: int) -> list[int]:
        """Prompt tokens of request `i` that each replica has in its cache now."""
        _known(self.machine, self.requests, self._places, i, self._found)
        found: list[int] = self._found.tolist()
        return found
