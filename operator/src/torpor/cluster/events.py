"""Events: what happened to a fleet, told once.

An Event per occurrence drowns the one that matters. The name of an Event here follows from the object and the
reason, so a second occurrence raises the count of the first, and within `QUIET_SECONDS` the same sentence is
not written again. Failures to write are logged and forgotten: an Event is a courtesy, the status is the
record.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from torpor.cluster.client import Kube
from torpor.cluster.errors import ApiError
from torpor.cluster.resources import FLEETS, Object

QUIET_SECONDS = 300.0
FORGET_SECONDS = 3600.0
NORMAL = "Normal"
WARNING = "Warning"

log = logging.getLogger(__name__)


class Recorder:
    """Writes Events about fleets. `component` and `instance` name this process in them."""

    def __init__(
        self, kube: Kube, component: str, instance: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube, self._component, self._instance, self._clock = kube, component, instance, clock
        self._told: dict[str, tuple[float, str, int]] = {}  # name -> (when, message, count)

    async def record(self, metadata: Mapping[str, Any], severity: str, reason: str, message: str) -> None:
        """Tell `message` about the fleet with this metadata, unless it was told a moment ago."""
        identity = f"{metadata['uid']}/{severity}/{reason}"
        name = f"{metadata['name']}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        now = self._clock()
        self._told = {key: told for key, told in self._told.items() if now - told[0] < FORGET_SECONDS}
        told = self._told.get(name)
        if told is not None and told[1] == message and now - told[0] < QUIET_SECONDS:
            return
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        count = told[2] + 1 if told else 1
        change: Object = {
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "count": count,
            "lastTimestamp": stamp,
            "message": message[:1024],
        }
        try:
            if told is None:
                await self._create(change, metadata, severity, reason, stamp)
            else:
                await self._kube.write_event(change, exists=True)
        except ApiError as error:
            if error.status == 404 and told is not None:
                del self._told[name]  # it expired in the API server; the next one starts anew
            log.warning("cannot write event %s for %s: %s", reason, metadata["name"], error)
            return
        self._told[name] = (now, message, count)

    async def _create(
        self, change: Object, metadata: Mapping[str, Any], severity: str, reason: str, stamp: str
    ) -> None:
        event = change | {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": {
                "apiVersion": FLEETS.api_version,
                "kind": FLEETS.kind,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": severity,
            "reason": reason,
            "firstTimestamp": stamp,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        try:
            await self._kube.write_event(event, exists=False)
        except ApiError as error:
            if not error.conflict:
                raise
            # An earlier leader told it already: go on counting where it stopped is not worth a read.
            again = {key: change[key] for key in ("metadata", "lastTimestamp", "message")}
            await self._kube.write_event(again, exists=True)
