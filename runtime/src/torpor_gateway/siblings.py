"""How many gateway pods are alive, by the EndpointSlices of the Service that lists all of them.

The Service (the operator's, for the demand stream) lists pods that are not ready and pods that drain as well.
Counted are those that serve and do not end: a pod that starts takes no requests yet, and one that ends takes
none any more. A pod of two address families is one pod. Where the watch is down the last number goes on.
"""

from collections.abc import Callable
from typing import Any


class Siblings:
    """Keeps the slices of one Service, and tells `counted` how many pods they have, whenever it changes."""

    def __init__(self, counted: Callable[[int], None]) -> None:
        self._counted = counted
        self._slices: dict[str, frozenset[str]] = {}
        self._told = 0

    def replace(self, items: list[dict[str, Any]]) -> None:
        """Take in all slices."""
        self._slices = {item["metadata"]["name"]: _alive(item) for item in items}
        self._tell()

    def put(self, item: dict[str, Any]) -> None:
        """Take in one slice."""
        self._slices[item["metadata"]["name"]] = _alive(item)
        self._tell()

    def remove(self, item: dict[str, Any]) -> None:
        """Forget one slice."""
        self._slices.pop(item["metadata"]["name"], None)
        self._tell()

    def _tell(self) -> None:
        count = max(1, len(frozenset[str]().union(*self._slices.values())))
        if count != self._told:
            self._told = count
            self._counted(count)


def _alive(item: dict[str, Any]) -> frozenset[str]:
    found = set()
    for endpoint in item.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        if not conditions.get("terminating") and conditions.get("serving") is not False:
            found.add(str((endpoint.get("targetRef") or {}).get("uid") or endpoint["addresses"][0]))
    return frozenset(found)
