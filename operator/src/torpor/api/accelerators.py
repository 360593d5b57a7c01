"""Which of the resources that a pod books are accelerators, and how many it books.

Kubernetes knows no GPUs: it knows names of extended resources, each made up by a device plugin. So somebody
has to keep the list, and this is it: the plugins of the makers whose accelerators serve models. What is not
on it (network cards, FUSE devices) is no accelerator, except that anything called PREFIX/gpu is one.

A slice (MIG) and a shared GPU count as one each, because a pod says how many it books and not how large they
are. Refused: guessing from flags or from what a launcher sees. What Kubernetes did not hand out, nobody else
is kept from using.
"""

from collections.abc import Mapping
from typing import Final

from torpor.api import quantity

_NAMES: Final = frozenset(
    {
        "nvidia.com/gpu.shared",
        "nvidia.com/pgpu",
        "gpu.intel.com/i915",
        "gpu.intel.com/xe",
        "habana.ai/gaudi",
        "google.com/tpu",
        "aws.amazon.com/neuron",
        "aws.amazon.com/neuroncore",
        "aws.amazon.com/neurondevice",
    }
)
_PREFIXES: Final = ("nvidia.com/mig-", "huawei.com/ascend")


def is_accelerator(resource: str) -> bool:
    """Say whether a resource's name is that of an accelerator."""
    name = resource.lower()
    return name in _NAMES or name.startswith(_PREFIXES) or (name.endswith("/gpu") and name != "/gpu")


def only(limits: Mapping[str, int | str] | None) -> dict[str, int | str]:
    """Return the part of a container's limits that are accelerators."""
    return {name: amount for name, amount in (limits or {}).items() if is_accelerator(name)}


def count(limits: Mapping[str, int | str] | None) -> int:
    """Return how many accelerators the limits of a container book, whatever they are called. What cannot be
    read as an amount counts as none.
    """
    total = 0
    for amount in only(limits).values():
        try:
            total += int(quantity.parse(amount))
        except (ValueError, ArithmeticError):
            continue
    return total
