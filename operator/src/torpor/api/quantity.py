"""Kubernetes quantities: `500m`, `16Gi`, `1e3`, or a plain integer.

Only what comparing and checking needs: exact decimals, no floats, no canonical form. What a user wrote is
handed on as it was written; the API server canonicalises.
"""

import re
from decimal import Decimal
from typing import Final

from torpor.api.base import QUANTITY_PATTERN

_QUANTITY: Final = re.compile(QUANTITY_PATTERN.strip("^$"))
_BINARY: Final[dict[str, Decimal]] = {
    f"{prefix}i": Decimal(1024**power) for power, prefix in enumerate("KMGTPE", 1)
}
_DECIMAL: Final[dict[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
} | {prefix: Decimal(1000**power) for power, prefix in enumerate("MGTPE", 2)}


def parse(value: int | str) -> Decimal:
    """Return the amount in base units (cores, bytes, pieces). ValueError where it is no quantity."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError(f'"{value}" is not a quantity; write it like 2, 500m or 16Gi')
    number, suffix = match.group(1), match.group(2) or ""
    if suffix in _BINARY:
        return Decimal(number) * _BINARY[suffix]
    if suffix in _DECIMAL:
        return Decimal(number) * _DECIMAL[suffix]
    return Decimal(f"{number}e{int(suffix[1:])}")


def is_whole(amount: Decimal) -> bool:
    """
    Say whether the amount has no fraction. `%` would not do: it fails on amounts of more than 28 digits.
    """
    return amount == amount.to_integral_value()


def is_extended(resource: str) -> bool:
    """Say whether `resource` is counted in whole pieces and never overcommitted, such as nvidia.com/gpu."""
    prefix, slash, _ = resource.rpartition("/")
    return bool(slash) and not (prefix == "kubernetes.io" or prefix.endswith(".kubernetes.io"))


def is_known(resource: str) -> bool:
    """Say whether a container can book `resource`: one of Kubernetes' own, or anything with a domain."""
    if "/" in resource:
        return not resource.startswith("requests.")  # the prefix of quotas
    return resource in ("cpu", "memory", "ephemeral-storage") or resource.startswith("hugepages-")
