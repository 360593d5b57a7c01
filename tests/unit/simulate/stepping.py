"""The exact engine model, driven step by step: what the compiled kernels are compared with."""

from collections.abc import Sequence as Row

from torpor.simulate.engine_model import EngineModel
from torpor.simulate.sequences import Sequence


def run_by_steps(model: EngineModel, sequences: Row[Sequence]) -> None:
    """Submit each sequence when it arrives, in their order, and run until the last has ended."""
    pending, now, end = list(sequences), 0.0, None
    while pending or end is not None:
        if end is None or (pending and pending[0].arrived < end):
            now = pending[0].arrived
            model.submit(pending.pop(0))
        else:
            now = end
            model.finish(now)
            end = None
        if end is None:
            step = model.begin(now)
            end = now + step.seconds if step else None
