"""From what a user names to what a run needs: fleet, hardware and trace become a `Setup` and policies.

An engine is simulated as the fleet would start it: flags in `engine.args` count, and where none sets the
prefill budget, the ITL objective does (for every policy alike). Objectives that the fleet does not give are
2 s to the first token and 50 ms between tokens, so that there is something to score.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torpor.api import constants
from torpor.decide import Policy
from torpor.simulate.fleet import Setup, SimulationError
from torpor.simulate.hardware import Hardware, for_objective
from torpor.simulate.policies import Static, Torpor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.api.types import InferenceService
    from torpor.simulate.fleet import FleetPolicy
    from torpor.simulate.traces import Trace

TTFT_MS = 2000.0
ITL_MS = 50.0
# The periods that the operator derives from the measured cold start (torpor.control.observe).
SHORTEST_WINDOW, LONGEST_WINDOW, SHORTEST_CREDIT = 60.0, 300.0, 30.0
POLICIES = "torpor, static:N"


def objectives(service: InferenceService) -> tuple[float, float]:
    """TTFT and ITL objectives in milliseconds."""
    given = getattr(service.spec.scaling, "objectives", None)
    ttft = getattr(given, "time_to_first_token_milliseconds", None)
    itl = getattr(given, "inter_token_latency_milliseconds", None)
    return float(ttft or TTFT_MS), float(itl or ITL_MS)


def engine(
    service: InferenceService, hardware: Hardware, trace: Trace, *, engine_defaults: bool = False
) -> Hardware:
    """The replica as the fleet would start it."""
    args = service.spec.engine.args
    itl = None if engine_defaults else objectives(service)[1]
    return for_objective(
        hardware,
        trace,
        itl,
        seqs=flag(args, "max-num-seqs"),
        budget=flag(args, "max-num-batched-tokens"),
    )


def flag(args: Sequence[str], name: str) -> int | None:
    """The whole number that an engine flag sets, both spellings, the last one; None where there is none."""
    pattern = re.compile(f"--{name.replace('-', '[-_]')}(?:=(.*))?")
    found = None
    for place, arg in enumerate(args):
        if match := pattern.fullmatch(arg):
            text = match[1] if match[1] is not None else (args[place + 1] if place + 1 < len(args) else "")
            found = int(text) if text.isdecimal() and int(text) > 0 else found
    return found


def setup(
    service: InferenceService, replica: Hardware, *, cold_start: float, look: float, seed: int, gateways: int
) -> Setup:
    """What the run needs of the fleet. Each of `gateways` processes has the gateway's limits."""
    traffic = service.spec.traffic
    return Setup(
        cost=replica.cost,
        kv_tokens=replica.kv_tokens,
        max_num_seqs=replica.max_num_seqs,
        max_num_batched_tokens=replica.max_num_batched_tokens,
        cold_start=cold_start,
        hold_seconds=float(traffic.cold_start.hold_seconds),
        queue_seconds=float(traffic.max_queue_seconds),
        max_waiting=traffic.cold_start.max_held_requests * gateways,
        reject=traffic.cold_start.response == constants.RESPONSE_REJECT,
        queue_target=service.spec.scaling.signals.queue_depth.target,
        look=look,
        seed=seed,
    )


def policy(name: str, service: InferenceService, replica: Hardware) -> FleetPolicy:
    """The policy of that name. Raises SimulationError."""
    if name == "torpor":
        return Torpor(lambda p95: owner(service, p95, replica.max_num_seqs))
    kind, _, number = name.partition(":")
    if kind == "static" and number.isdecimal():
        return Static(int(number))
    raise SimulationError(f"policy {name!r}: unknown; choose one of {POLICIES}")


def owner(service: InferenceService, p95: float | None, max_num_seqs: int) -> Policy:
    """What the owner asks for, with the periods that cold starts measured so far give (seconds)."""
    scaling = service.spec.scaling
    budget = float(service.spec.engine.startup_seconds)
    idle = constants.DEFAULT_IDLE_SECONDS if scaling.idle_seconds is None else scaling.idle_seconds
    return Policy(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        queue_target=float(scaling.signals.queue_depth.target),
        kv_target=scaling.signals.kv_cache_utilization.target_percent / 100,
        idle_seconds=float(idle),
        window_seconds=min(LONGEST_WINDOW, max(SHORTEST_WINDOW, p95 or 0.0)),
        credit_seconds=budget if p95 is None else min(budget, max(SHORTEST_CREDIT, 2 * p95)),
        external=scaling.replicas,
        max_num_seqs=max_num_seqs,
    )
