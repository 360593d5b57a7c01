"""What counts as an accelerator, and how many a container books."""

import pytest
from torpor.api import accelerators


@pytest.mark.parametrize(
    ("limits", "number"),
    [
        ({"nvidia.com/gpu": 4, "cpu": "8", "memory": "64Gi"}, 4),
        ({"nvidia.com/gpu": "2"}, 2),
        ({"nvidia.com/mig-1g.10gb": 3}, 3),
        ({"amd.com/gpu": 8, "rdma/hca": 1}, 8),
        ({"google.com/tpu": "4"}, 4),
        ({"example.com/GPU": 1}, 1),
        ({"vpc.amazonaws.com/efa": 1, "github.com/fuse": 1, "nvidia.com/gpu-memory": 80}, 0),
        ({"nvidia.com/gpu": "many"}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_accelerators_are_counted_and_nothing_else(limits, number):
    assert accelerators.count(limits) == number
    assert set(accelerators.only(limits)) <= set(limits or {}) - {"cpu", "memory", "rdma/hca"}
