"""The launcher's view of itself and of its engine, and when to tell it.

One `Board` holds everything that the stats stream and the launcher's own metrics show; whoever learns
something writes it here. One `Pacer` decides when the next line is due: a change of state at once, since a
gateway that holds requests waits for exactly that line; numbers at most every 50 ms; and every 5 s a line in
any case, because silence must mean that the launcher is gone. Both take the time as an argument and do
nothing by themselves.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Optional

from torpor_engine.accelerators import Accelerators
from torpor_engine.metrics import Sample
from torpor_engine.tuning import Tuning

if TYPE_CHECKING:
    from torpor_engine.settings import Settings

FORMAT_VERSION = 1
SPACING_SECONDS = 0.05
HEARTBEAT_SECONDS = 5.0
# An engine that does not even answer /metrics for this long is not ready, whatever it was before.
SILENCE_SECONDS = 30.0
STATES = ("Starting", "Loading", "Warming", "Ready", "Draining", "Failed")


class Pacer:
    """When the next line of the stream is due. Times are those of one monotonic clock, seconds."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._changed = False
        self._urgent = False
        self.on_change: Callable[[], None] = lambda: None

    def change(self, urgent: bool = False) -> None:
        """Note that there is something new to say; `urgent` does not wait for the spacing."""
        self._changed = True
        self._urgent = self._urgent or urgent
        self.on_change()

    def due(self) -> float:
        """The time at which a line should be sent; it may lie in the past, which means now."""
        if self._urgent:
            return float("-inf")
        return self._last + (SPACING_SECONDS if self._changed else HEARTBEAT_SECONDS)

    def sent(self, now: float) -> None:
        """Note that everything was said at `now`."""
        self._last = now
        self._changed = self._urgent = False


@dataclass
class Board:
    """Everything the stream says. `*_clock` are readings of the monotonic clock, other times Unix seconds."""

    settings: Settings
    started_at: float
    started_clock: float
    pacer: Pacer = field(default_factory=Pacer)
    boot_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    seq: int = 0
    state: str = "Starting"
    reason: Optional[str] = None
    message: Optional[str] = None
    phases: list[tuple[str, float]] = field(default_factory=list)
    ready_at: Optional[float] = None
    max_num_seqs: Optional[int] = None
    tuning: Tuning = field(default_factory=Tuning)
    accelerators: Accelerators = field(default_factory=Accelerators)
    engine_version: Optional[str] = None
    sample: Sample = field(default_factory=Sample)
    sample_clock: Optional[float] = None
    engine_metrics: bytes = b""
    restarts: int = 0

    def enter(self, state: str, reason: str | None = None, message: str | None = None) -> None:
        """Change the state; the stream tells it at once."""
        assert state in STATES, state
        self.state, self.reason, self.message = state, reason, message
        self.pacer.change(urgent=True)

    def finished(self, phase: str, seconds: float) -> None:
        """Note how long a phase of the cold start took."""
        self.phases.append((phase, seconds))
        self.pacer.change()

    def measured(self, sample: Sample, body: bytes, clock: float) -> None:
        """Note the engine's metrics, read at `clock`; only different numbers are news."""
        self.engine_metrics, self.sample_clock = body, clock
        if sample != self.sample:
            self.sample = sample
            self.pacer.change()

    def ready(self, clock: float) -> bool:
        """Whether new requests are welcome at `clock`: warmed up, not draining, and the engine is heard."""
        age = self.metrics_age(clock)
        return self.state == "Ready" and (age is None or age < SILENCE_SECONDS)

    def metrics_age(self, clock: float) -> float | None:
        """Seconds since the engine's metrics were last read, None before the first time."""
        return None if self.sample_clock is None else max(0.0, clock - self.sample_clock)

    def line(self, clock: float) -> bytes:
        """The next line of the stream, newline included; every line has its own sequence number."""
        self.seq += 1
        settings, sample = self.settings, self.sample
        age = self.metrics_age(clock)
        content = {
            "v": FORMAT_VERSION,
            "fleetUid": settings.uid,
            "namespace": settings.namespace,
            "name": settings.name,
            "revision": settings.revision,
            "pod": settings.pod,
            "bootId": self.boot_id,
            "seq": self.seq,
            "models": list(settings.model_names),
            "state": self.state,
            "reason": self.reason,
            "message": self.message,
            "phases": [{"name": name, "seconds": round(seconds, 3)} for name, seconds in self.phases],
            "startedAt": round(self.started_at, 3),
            "readyAt": None if self.ready_at is None else round(self.ready_at, 3),
            "maxNumSeqs": self.max_num_seqs,
            "tuning": {
                "used": self.tuning.used,
                "refused": self.tuning.refused,
                "message": self.tuning.told,
            },
            "maxNumBatchedTokens": self.accelerators.max_num_batched_tokens,
            "gpu": self.accelerators.gpu,
            "gpuCount": self.accelerators.gpu_count,
            "running": sample.running,
            "waiting": sample.waiting,
            "waitingCapacity": sample.waiting_capacity,
            "kvUtilization": sample.kv_utilization,
            "kvCapacityTokens": sample.kv_capacity_tokens,
            "promptTokensTotal": sample.prompt_tokens_total,
            "generationTokensTotal": sample.generation_tokens_total,
            "preemptionsTotal": sample.preemptions_total,
            "prefixQueriesTotal": sample.prefix_queries_total,
            "prefixHitsTotal": sample.prefix_hits_total,
            "cachedPromptTokensTotal": sample.cached_prompt_tokens_total,
            "interTokenCount": sample.gaps,
            "interTokenSeconds": sample.gap_seconds,
            "firstTokensTotal": sample.first_tokens_total,
            "metricsAgeSeconds": None if age is None else round(age, 3),
            "missing": list(sample.missing),
            "engineVersion": self.engine_version,
        }
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"
