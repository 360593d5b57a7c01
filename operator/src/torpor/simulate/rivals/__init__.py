"""Other autoscalers' published rules, as policies of the simulator.

`RIVALS` is the list. Each restates one rule in a file of its own, whose docstring says which section of the
survey (autoscaling.md) it comes from and what was left out. `make` takes what a user writes,
NAME[:key=value,...].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torpor.simulate.rivals.aibrix import Apa
from torpor.simulate.rivals.base import Place, Rival
from torpor.simulate.rivals.dynamo import DynamoLoad, DynamoThroughput
from torpor.simulate.rivals.hpa import HpaKv, HpaQueue
from torpor.simulate.rivals.keda import Keda
from torpor.simulate.rivals.knative import Knative
from torpor.simulate.rivals.kubeai import KubeAi
from torpor.simulate.rivals.ray_serve import RayServe
from torpor.simulate.rivals.skyserve import SkyServe
from torpor.simulate.rivals.slo_law import SloLaw
from torpor.simulate.rivals.static_peak import StaticPeak
from torpor.simulate.rivals.wva import Wva, WvaThroughput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RIVALS", "Place", "Rival", "RivalError", "make", "parse"]

RIVALS: Mapping[str, type[Rival]] = {
    rival.family: rival
    for rival in (
        HpaQueue, HpaKv, Keda, Knative, KubeAi, RayServe, Wva, WvaThroughput, SloLaw, DynamoLoad,
        DynamoThroughput, Apa, SkyServe, StaticPeak,
    )
}  # fmt: skip

LARGEST = 1e9


class RivalError(Exception):
    """Not a rival, or not its parameter; the message is one line."""


def parse(text: str) -> tuple[str, dict[str, float]]:
    """Name and parameters of NAME[:key=value,...]. Raises RivalError."""
    name, _, rest = text.partition(":")
    rival = RIVALS.get(name)
    if rival is None:
        raise RivalError(f"policy {text!r}: unknown; choose one of torpor, static:N, {', '.join(RIVALS)}")
    given: dict[str, float] = {}
    for part in rest.split(",") if rest else []:
        key, equals, number = part.partition("=")
        if not equals or key not in rival.defaults:
            raise RivalError(
                f"policy {text!r}: {key!r} is no parameter; write {name}:KEY=VALUE,... with "
                f"{', '.join(rival.defaults)}"
            )
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0 <= value <= LARGEST or (value == 0 and key in rival.positive):
            bound = "above 0" if key in rival.positive else "from 0"
            raise RivalError(f"policy {text!r}: {key}={number}: must be a number {bound} to {LARGEST:g}")
        given[key] = value
    return name, given


def make(text: str, place: Place) -> Rival:
    """The rival that NAME[:key=value,...] names, in charge of `place`. Raises RivalError."""
    name, given = parse(text)
    return RIVALS[name](place, given)
