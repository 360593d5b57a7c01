"""The plain reading of `status.saved` refuses what the model of it refuses, and reads the rest alike."""

import copy

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torpor.api.saved import account_of
from torpor.api.status import SavedRecord

GOOD = {
    "since": "2026-11-22T08:00:00Z",
    "asOf": "2026-11-22T09:00:00Z",
    "gpuSecondsUsed": 1,
    "gpuSecondsAsleep": 2,
    "gpuSecondsSaved": {"max": 3, "peak": 4},
    "peakReplicas": 5,
    "gpus": {"used": 6, "asleep": 7, "max": 8, "peak": 9},
    "pricePerGpuHour": "2.5",
}
PLACES = [(name,) for name in GOOD] + [("gpuSecondsSaved", "max"), ("gpus", "peak"), ("gpus", "used")]
# As JSON gives them; a number that is whole but written 3.0 is left out, for nobody writes it.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 0.5]),
    st.sampled_from(["", "x", "3.", ".3", "1e3", "12.50", "9" * 33, "2.5\n", "٣", "z" * 41]),
    st.lists(st.integers(), max_size=1),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)


@given(st.sampled_from(PLACES), VALUES, st.booleans())
def test_both_believe_the_same_records(place, value, absent):
    record = copy.deepcopy(GOOD)
    section = record
    for name in place[:-1]:
        section = section[name]
    if absent:
        del section[place[-1]]
    else:
        section[place[-1]] = value
    try:
        model = SavedRecord.model_validate(record)
    except ValidationError:
        model = None
    found = account_of({"saved": record})
    if place[-1] in ("since", "asOf"):  # the model leaves times to the API server, which checks them
        assert found is None or model is not None
    elif model is None:
        assert found is None
    else:
        rates, totals = found.rates, found.totals
        assert (rates.used, rates.asleep, rates.max, rates.peak) == tuple(model.gpus.model_dump().values())
        assert (totals.used, totals.asleep) == (model.gpu_seconds_used, model.gpu_seconds_asleep)
        assert (totals.saved_max, totals.saved_peak) == tuple(model.gpu_seconds_saved.model_dump().values())
        assert found.peak_replicas == model.peak_replicas
