"""What a run takes from the fleet's file."""

import numpy as np
import pytest
from torpor.api.types import InferenceService
from torpor.simulate import plan
from torpor.simulate.hardware import find
from torpor.simulate.traces import Trace

from tests.unit.api.examples import fleet

MACHINE = find("llama-3.1-70b-fp8-h100-tp4")
TRACE = Trace(np.array([0.0]), np.array([1000]), np.array([200]))


@pytest.mark.parametrize(("signals", "target", "given"), [({}, 4, False), ({"target": 4}, 4, True)])
def test_a_queue_target_that_the_owner_wrote_is_told_from_the_default(signals, target, given):
    """In the operator's policy and in the simulated gateway's line alike."""
    service = InferenceService.model_validate(fleet({"scaling": {"signals": {"queueDepth": signals}}}))
    policy = plan.policy("torpor", service, MACHINE, TRACE)._policy
    assert (policy.queue_target, policy.queue_target_given) == (target, given)
    run = plan.setup(service, MACHINE, cold_start=120.0, look=10.0, seed=1, gateways=1)
    assert run.queue_target == target
