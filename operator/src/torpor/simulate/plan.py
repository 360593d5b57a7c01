"""From what a user names to what a run needs: fleet, hardware and trace become a `Setup` and policies.

An engine is simulated as the fleet would start it: flags in `engine.args` count, and where none sets the
prefill budget, the ITL objective does (for every policy alike). Objectives that the fleet does not give are
2 s to the first token and 50 ms between tokens, so that there is something to score.

A rival looks at the fleet at its own pace, so a run under one has that for `look`. What a rival's owner has
to know of the load beforehand is taken from the trace itself.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from torpor.api import constants
from torpor.api.engine_flags import whole_number
from torpor.decide.owner import owner_policy
from torpor.decide.work import Objectives
from torpor.simulate import bound, rivals
from torpor.simulate.conditions import Conditions
from torpor.simulate.fleet import Setup, SimulationError
from torpor.simulate.hardware import cost_of, for_objective
from torpor.simulate.policies import Static, Torpor
from torpor.simulate.rivals import Place

if TYPE_CHECKING:
    from torpor.api.types import InferenceService
    from torpor.decide.hardware import Hardware
    from torpor.simulate.fleet import FleetPolicy
    from torpor.simulate.traces import Trace

TTFT_MS = 2000.0
ITL_MS = 50.0


def objectives(service: InferenceService) -> tuple[float, float]:
    """TTFT and ITL objectives in milliseconds."""
    given = getattr(service.spec.scaling, "objectives", None)
    ttft = getattr(given, "time_to_first_token_milliseconds", None)
    itl = getattr(given, "inter_token_latency_milliseconds", None)
    return float(ttft or TTFT_MS), float(itl or ITL_MS)


def given_ttft(service: InferenceService) -> float | None:
    """The TTFT objective in seconds where the fleet gives one: as in the gateway, only then it orders the
    line.
    """
    given = getattr(service.spec.scaling, "objectives", None)
    ttft = getattr(given, "time_to_first_token_milliseconds", None)
    return ttft / 1000.0 if ttft else None


def engine(
    service: InferenceService, hardware: Hardware, trace: Trace, *, engine_defaults: bool = False
) -> Hardware:
    """The replica as the fleet would start it."""
    args = service.spec.engine.args
    ttft, itl = objectives(service)
    return for_objective(
        hardware,
        trace,
        None if engine_defaults else itl,
        ttft_ms=ttft,
        seqs=whole_number(args, "max-num-seqs"),
        budget=whole_number(args, "max-num-batched-tokens"),
    )


def setup(
    service: InferenceService,
    replica: Hardware,
    *,
    cold_start: float,
    look: float,
    seed: int,
    gateways: int,
    conditions: Conditions | None = None,
) -> Setup:
    """What the run needs of the fleet. Each of `gateways` processes has the gateway's limits."""
    traffic = service.spec.traffic
    ttft, itl = objectives(service)
    return Setup(
        cost=cost_of(replica),
        kv_tokens=replica.kv_tokens,
        max_num_seqs=replica.max_num_seqs,
        max_num_batched_tokens=replica.max_num_batched_tokens,
        cold_start=cold_start,
        hold_seconds=float(traffic.cold_start.hold_seconds),
        queue_seconds=float(traffic.max_queue_seconds),
        max_waiting=traffic.cold_start.max_held_requests * gateways,
        reject=traffic.cold_start.response == constants.RESPONSE_REJECT,
        queue_target=service.spec.scaling.signals.queue_depth.effective,
        ttft_objective=given_ttft(service),
        judged_by=(ttft / 1000.0, itl / 1000.0),
        unary_hold_seconds=float(traffic.cold_start.unary_hold_seconds),
        look=look,
        seed=seed,
        conditions=conditions or Conditions(),
    )


def place(service: InferenceService, replica: Hardware, known: Trace) -> Place:
    """What a rival is put in charge of; `known` is the load that its owner has seen."""
    ttft, itl = objectives(service)
    return Place(
        max_replicas=service.spec.scaling.max_replicas,
        ttft_ms=ttft,
        itl_ms=itl,
        replica=replica,
        prompt=float(known.prompt.mean()),
        output=max(1.0, float(known.output.mean())),
        peak=max(1, int(bound.need(known, replica, itl).max())),
    )


def policy(name: str, service: InferenceService, replica: Hardware, known: Trace) -> FleetPolicy:
    """The policy of that name: torpor, static:N, or a rival that knows the load `known`. Raises
    SimulationError.
    """
    if name == "torpor":
        wanted = Objectives(*objectives(service))
        return Torpor(
            lambda p95: dataclasses.replace(
                owner_policy(service, p95, replica.max_num_seqs), objectives=wanted, hardware=replica
            )
        )
    kind, _, number = name.partition(":")
    if kind == "static" and number.isdecimal():
        return Static(int(number))
    try:
        rivals.parse(name)
        return rivals.make(name, place(service, replica, known))
    except rivals.RivalError as error:
        raise SimulationError(str(error)) from None


def pace(driver: FleetPolicy, look: float) -> float:
    """Seconds between two looks: a rival's own period, `look` for everybody else."""
    return driver.period if isinstance(driver, rivals.Rival) else look
