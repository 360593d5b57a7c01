"""What a fleet's owner asks for, as a policy: the spec's numbers, and the periods that its cold starts give.

The operator and the simulator decide by the same policy, so it is made in one place:

- a lower need must last for as long as a cold start takes (giving a replica up earlier would cost more than
  keeping it), at least `SHORTEST_WINDOW`, at most `LONGEST_WINDOW` seconds;
- silence before zero is the owner's where `idleSeconds` is given, else economics' (break-even of idling
  against a cold start, from the pauses between requests), `DEFAULT_IDLE_SECONDS` until one was measured;
- a starting replica has credit for twice the p95 of its fleet's cold starts, at least `SHORTEST_CREDIT`
  seconds, or its start-up budget where none is known.

Hours are left to who knows the clock.
"""

from torpor.api.spec import Objectives as ObjectivesSpec
from torpor.api.types import InferenceService
from torpor.decide.observation import Policy
from torpor.decide.work import Objectives

SHORTEST_WINDOW = 60.0
LONGEST_WINDOW = 300.0
SHORTEST_CREDIT = 30.0


def owner_policy(service: InferenceService, p95: float | None, max_num_seqs: int | None) -> Policy:
    """Return the policy of a valid spec, without a schedule. p95: seconds of a cold start, None while none
    was measured. max_num_seqs: sequences that a replica runs at once, None where unknown.
    """
    scaling, given = service.spec.scaling, service.spec.scaling.objectives
    budget = float(service.spec.engine.startup_seconds)
    idle = scaling.idle_seconds
    queue = scaling.signals.queue_depth
    return Policy(
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        queue_target=float(queue.effective),
        queue_target_given=queue.target is not None,
        kv_target=scaling.signals.kv_cache_utilization.target_percent / 100,
        idle_seconds=None if idle is None else float(idle),
        window_seconds=min(LONGEST_WINDOW, max(SHORTEST_WINDOW, p95 or 0.0)),
        credit_seconds=budget if p95 is None else min(budget, max(SHORTEST_CREDIT, 2 * p95)),
        external=scaling.replicas,
        max_num_seqs=max_num_seqs,
        objectives=Objectives() if given is None else _objectives(given),
        mode=scaling.mode,
        cold_start=p95,
    )


def _objectives(given: ObjectivesSpec) -> Objectives:
    ttft, itl = given.time_to_first_token_milliseconds, given.inter_token_latency_milliseconds
    return Objectives(None if ttft is None else float(ttft), None if itl is None else float(itl))
