"""Drives the engine model with the event loop's clock.

One timer per step, whatever the number of streams: when it fires, the step's tokens are handed to their
requests and the next step begins at the moment the last one was due, so that a late timer does not slow the
engine down. Behind by more than a quarter of a second (a stopped process, a starved machine) it gives up
catching up, since no accelerator could. Requests that arrive together start together: the first step waits
for the end of the loop's turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torpor.simulate.engine_model import EngineLimits, EngineModel, Step

if TYPE_CHECKING:
    import asyncio

    from torpor.simulate.profiles import StepCost
    from torpor.simulate.sequences import Sequence

    from torpor_sim.metrics import EngineMetrics

_MAX_LAG = 0.25
_MAX_STEPS_A_TURN = 16


class Listener(Protocol):
    """Who waits for a sequence; stored in its tag."""

    max_tokens: int

    def on_token(self, sequence: Sequence) -> None:
        """A token was generated (or a prefill-only sequence is done); it may be the last one."""


class Engine:
    """One simulated replica in real time."""

    def __init__(
        self, limits: EngineLimits, cost: StepCost, metrics: EngineMetrics, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.model = EngineModel(limits, cost)
        self.metrics = metrics
        self.stalled = False
        self.steps = 0
        self._loop = loop
        self._step: Step | None = None
        self._due = 0.0
        self._kicked = False

    @property
    def unfinished(self) -> int:
        """Requests that run or wait."""
        return len(self.model.running) + len(self.model.waiting)

    def now(self) -> float:
        """Seconds on the clock of the model."""
        return self._loop.time()

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence whose tag is its listener."""
        self.model.submit(sequence)
        self._kick()

    def abort(self, sequence: Sequence) -> None:
        """Drop a sequence; its slot and blocks are free for the next step."""
        self.model.abort(sequence, self.now())

    def stall(self) -> None:
        """Stop making steps, for ever."""
        self.stalled = True

    def read_metrics(self) -> EngineMetrics:
        """The metrics, with the gauges as of now."""
        self.metrics.read_model(self.model)
        return self.metrics

    def _kick(self) -> None:
        if self._step is None and not self._kicked:
            self._kicked = True
            self._loop.call_soon(self._begin_idle)

    def _begin_idle(self) -> None:
        self._kicked = False
        if self._step is None:
            self._begin(self.now())

    def _begin(self, start: float) -> None:
        if self.stalled:
            return
        self._step = self.model.begin(start)
        if self._step is not None:
            self._due = start + self._step.seconds
            self._loop.call_at(self._due, self._end)

    def _end(self) -> None:
        for _ in range(_MAX_STEPS_A_TURN):
            if self.stalled or self._step is None:
                return
            due = self._due
            outcome = self.model.finish(due)
            self._step = None
            self.steps += 1
            self.metrics.step(outcome)
            for sequence in outcome.finished:
                self.metrics.finished(sequence, sequence.tag.max_tokens)
            for sequence in outcome.produced:
                sequence.tag.on_token(sequence)
            now = self.now()
            start = due if now - due < _MAX_LAG else now
            self._step = self.model.begin(start)
            if self._step is None:
                return
            self._due = start + self._step.seconds
            if self._due > now:
                self._loop.call_at(self._due, self._end)
                return
        self._loop.call_soon(self._end)
