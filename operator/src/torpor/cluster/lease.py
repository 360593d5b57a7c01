"""Leader election on one Lease object.

Two replicas run, one writes. The holder renews the Lease; the others watch how long it has not changed, on
their own monotonic clock, and take it when that exceeds its duration. No wall clock is compared between
machines: a jump of the time of day moves nobody.

The fence: `leading` is true only while less than `RENEW_DEADLINE` has passed since the last renewal that the
API server confirmed, counted from before that request was sent. A process that was frozen or cut off
therefore knows that it may have been replaced before anybody can replace it, because the deadline is shorter
than the lease. Whoever lost the lease ends the process; starting over is simpler than unlearning.

On shutdown the lease is given back, so a successor starts within a poll and not after the full duration.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from torpor.cluster.client import Kube
from torpor.cluster.errors import ApiError
from torpor.cluster.resources import LEASES, Object

LEASE_SECONDS = 10
RENEW_DEADLINE = 7.0
RETRY_SECONDS = 1.5
REQUEST_SECONDS = 2.5  # a request that hangs leaves time for another within the deadline

log = logging.getLogger(__name__)


class Election:
    """Candidate `identity` for the Lease `namespace/name`."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube, self._namespace, self._name, self.identity = kube, namespace, name, identity
        self._clock = clock
        self._confirmed: float | None = None
        self._seen: tuple[str, float] | None = None  # another's version, and since when
        self.transitions = 0

    @property
    def leading(self) -> bool:
        """Whether this process may write now."""
        return self._confirmed is not None and self._clock() - self._confirmed < RENEW_DEADLINE

    async def acquire(self) -> None:
        """Wait until this process holds the lease."""
        while True:
            try:
                if await self._try():
                    log.info("leading: %s holds lease %s/%s", self.identity, self._namespace, self._name)
                    return
            except ApiError as error:
                log.warning("cannot take lease %s/%s: %s", self._namespace, self._name, error)
            await asyncio.sleep(RETRY_SECONDS * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret

    async def hold(self) -> None:
        """Renew until the lease is lost, then return."""
        while self.leading:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                if not await self._try():
                    log.error("lease %s/%s was taken by another process", self._namespace, self._name)
                    self._confirmed = None
            except ApiError as error:
                log.warning("cannot renew lease %s/%s: %s", self._namespace, self._name, error)
        self._confirmed = None

    async def release(self) -> None:
        """Give the lease back, if it is held."""
        if not self.leading:
            return
        try:
            lease = await self._get()
            if lease is not None and _holder(lease) == self.identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                await self._put(lease)
        except ApiError as error:
            log.warning("cannot give lease %s/%s back: %s", self._namespace, self._name, error)
        finally:
            self._confirmed = None

    async def _try(self) -> bool:
        """Take or renew the lease; False while another holds it."""
        sent = self._clock()
        lease = await self._get()
        if lease is None:
            return await self._write(self._new(), sent, create=True)
        holder = _holder(lease)
        if holder and holder != self.identity and not self._expired(lease):
            return False
        taken_over = holder != self.identity
        spec: dict[str, Any] = lease.setdefault("spec", {})
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": _now(),
        }
        if taken_over:
            spec |= {
                "acquireTime": spec["renewTime"],
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1,
            }
        return await self._write(lease, sent)

    async def _write(self, lease: Object, sent: float, *, create: bool = False) -> bool:
        try:
            answer = await (self._post(lease) if create else self._put(lease))
        except ApiError as error:
            if error.conflict:
                return False
            raise
        self.transitions = int(answer.get("spec", {}).get("leaseTransitions") or 0)
        self._confirmed = sent
        return True

    def _expired(self, lease: Object) -> bool:
        """Whether another's lease has not moved for its whole duration, as seen from here."""
        version = lease["metadata"].get("resourceVersion", "")
        now = self._clock()
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
        duration = float((lease.get("spec") or {}).get("leaseDurationSeconds") or LEASE_SECONDS)
        return now - self._seen[1] > duration

    def _new(self) -> Object:
        now = _now()
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }

    async def _get(self) -> Object | None:
        return await self._kube.get(LEASES, self._namespace, self._name, seconds=REQUEST_SECONDS)

    async def _post(self, lease: Object) -> Object:
        return await self._kube.request(
            "POST", LEASES.path(self._namespace), body=lease, seconds=REQUEST_SECONDS
        )

    async def _put(self, lease: Object) -> Object:
        path = LEASES.path(self._namespace, self._name)
        return await self._kube.request("PUT", path, body=lease, seconds=REQUEST_SECONDS)


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
