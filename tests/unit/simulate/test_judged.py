"""The compiled count of requests against the objectives says what the plain arrays say, however they end."""

import numpy as np
import pytest
from torpor.simulate import replica_kernel as rk
from torpor.simulate.judged import Judged

NUMBER = 400
ENDS = (rk.UNSEEN, rk.COMPLETED, rk.REFUSED, rk.EXPIRED)


def plainly(requests, ttft, itl):
    """Return (ended, missed) by whole arrays."""
    good = requests["end"] == rk.COMPLETED
    if ttft is not None:
        good &= requests["first"] - requests["arrival"] <= ttft
    if itl is not None:
        good &= (requests["finish"] - requests["first"]) / np.maximum(requests["output"] - 1, 1) <= itl
    ended = requests["end"] != rk.UNSEEN
    return int(ended.sum()), int((ended & ~good).sum())


@pytest.mark.parametrize("ttft", [None, 0.5])
@pytest.mark.parametrize("itl", [None, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_every_request_is_counted_once_as_the_arrays_say(ttft, itl, seed):
    draws = np.random.default_rng(seed)
    arrival = np.sort(draws.uniform(0, 100, NUMBER))
    outputs = draws.integers(1, 40, NUMBER)
    requests = rk.new_requests(arrival, draws.integers(1, 100, NUMBER), outputs)
    first = arrival + draws.choice([0.25, 0.5, 0.75], NUMBER)  # exactly on the limit too
    finish = first + np.maximum(outputs - 1, 1) * draws.choice([0.025, 0.05, 0.1], NUMBER)
    kinds = draws.choice(ENDS[1:], NUMBER, p=[0.8, 0.1, 0.1])
    order = np.argsort(arrival + draws.exponential(20.0, NUMBER))  # another one than they came in
    judged, arrived = Judged(requests, ttft, itl), 0
    for place in np.array_split(order, 30):
        arrived = max(arrived, int(place.max()) + 1)
        served = place[kinds[place] == rk.COMPLETED]
        requests["first"][served], requests["finish"][served] = first[served], finish[served]
        requests["end"][place] = kinds[place]
        judged.count(arrived)
        assert (judged.total, judged.missed) == plainly(requests, ttft, itl)
    assert judged.total == NUMBER
