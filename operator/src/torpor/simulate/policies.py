"""Policies that drive a simulated fleet: a fixed number, and the decision that runs in production.

A policy has one method, `look(view) -> replicas`. The production policy makes of each view the observation
that the operator would have made, with every gateway present and old reports marked as such, so that what
is simulated is `torpor.decide` itself and not a model of it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from torpor.api import constants
from torpor.decide import Demand, Engine, Memory, Observation, Policy, Tally, Unknown, decide
from torpor.decide.samples import Counters
from torpor.simulate.view import READY, STARTING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.decide import Decision
    from torpor.simulate.view import View

REMEMBERED = 20  # cold starts that the measured p95 is taken of
EPOCH = 1_767_571_200.0  # UTC seconds at which a trace begins: Monday 2026-01-05, 00:00


class Static:
    """Always the same number."""

    def __init__(self, replicas: int) -> None:
        self.name = f"static:{replicas}"
        self.replicas = replicas

    def look(self, view: View) -> int:
        """Return the number."""
        del view
        return self.replicas


class Torpor:
    """The production decision.

    `policy_of` gives the owner's policy for the p95 of the cold starts measured so far (seconds; None: none
    yet), as the operator does. `decision` is the last one.
    """

    def __init__(self, policy_of: Callable[[float | None], Policy]) -> None:
        self.name = "torpor"
        self.memory = Memory()
        self.decision: Decision | None = None
        self._policy_of = policy_of
        self._measured = -1
        self._policy = policy_of(None)

    def look(self, view: View) -> int:
        """Decide."""
        if len(view.cold_starts) != self._measured:
            self._measured = len(view.cold_starts)
            self._policy = self._policy_of(p95(view.cold_starts[-REMEMBERED:]))
        self.decision, self.memory = decide(observation(view), self._policy, self.memory, view.now)
        return self.decision.replicas


def p95(seconds: Sequence[float]) -> float | None:
    """The time within which 95 of 100 ended (nearest rank); None where there are none."""
    if not seconds:
        return None
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


def observation(view: View, wall: float | None = None, offset: float = 0.0) -> Observation:
    """What the operator would see: every pod that is not going away. A gauge that is missing (NaN) or old is
    unknown. wall: UTC seconds; None: the simulator's own day. offset: seconds that local time is ahead.
    """
    old = None
    if view.report_age > constants.STATS_FRESH_SECONDS:
        old = Unknown("stale", view.report_age)
    now, seqs, kv_tokens = view.now, view.max_num_seqs, view.kv_tokens
    engines = []
    for state, born, running, waiting, kv, generated, prompts, seconds, _, slot, gaps, *_ in view.rows:
        if state not in (READY, STARTING):
            continue
        ready = state == READY
        name, boot = _called(slot, born)
        if old is not None:
            engines.append(Engine(name, ready, now - born, False, old, old, old, seqs))
            continue
        counters = None
        if ready:
            counters = Counters(
                name,
                boot,
                now,
                running,
                waiting,
                kv * kv_tokens,
                generated,
                prompts,
                gaps=gaps,
                gap_seconds=seconds,
            )
        engines.append(Engine(name, ready, now - born, False, running, waiting, kv, seqs, counters))
    demand = Demand(
        held=float(view.held),
        queued=float(view.queued),
        in_flight=float(view.in_flight),
        arrivals=view.arrivals,
        complete=True,
        gap="",
        tally=_tally(view),
    )
    at = EPOCH + now if wall is None else wall
    return Observation(view.replicas, tuple(engines), demand, wall=at, offset=offset)


@lru_cache(maxsize=4096)
def _called(slot: float, born: float) -> tuple[str, str]:
    """The name and the boot of the replica in a slot. They stay as long as it does, and are asked for at each
    look.
    """
    return f"{slot:.0f}", f"{born:.3f}"


def _tally(view: View) -> Tally:
    completed, output_tokens, prompt_squares, output_squares, products = view.ended
    return Tally(
        float(view.arrivals),
        float(view.prompt_tokens),
        completed,
        output_tokens,
        prompt_squares,
        output_squares,
        products,
        *map(float, view.judged),
    )
