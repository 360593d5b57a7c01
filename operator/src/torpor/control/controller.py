"""The loop: workers that take keys from the queue and look at fleets, while this process leads.

Watches, streams and the store are warm in every replica; only looking needs the lease. When leadership begins
every fleet is looked at once. When it is lost the process ends: another has begun to write, and this one's
memory is not its own any more.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from torpor import metrics
from torpor.api import names
from torpor.api.names import FleetKey
from torpor.cluster.client import Kube, NotLeadingError
from torpor.cluster.errors import ApiError
from torpor.cluster.resources import DEPLOYMENTS
from torpor.control.queue import WorkQueue
from torpor.control.reconciler import Reconciler, RefusedError
from torpor.control.store import Store

WORKERS = 8
LOOK_LIMIT_SECONDS = 120.0
SAVE_SECONDS = 2.0

log = logging.getLogger(__name__)


class Controller:
    """Runs looks. `add` may be called at any time, also while standing by."""

    def __init__(
        self,
        queue: WorkQueue[FleetKey],
        reconciler: Reconciler,
        kube: Kube,
        store: Store,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._reconciler, self._kube, self._store = queue, reconciler, kube, store
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._busy: dict[FleetKey, float] = {}
        self._idle = asyncio.Event()
        self._stopping = False

    @property
    def leading(self) -> bool:
        """Whether the workers run."""
        return bool(self._tasks)

    def add(self, key: FleetKey) -> None:
        """Look at a fleet soon."""
        if self._tasks:
            self._queue.add(key)

    def demanded(self, key: FleetKey) -> None:
        """Look at a fleet now: a gateway has news about its requests."""
        if self._tasks:
            self._reconciler.news_at.setdefault(key, self._clock())
            self._queue.add(key, urgent=True)

    def start(self, keys: list[FleetKey]) -> None:
        """Begin to work, with a look at each of `keys`."""
        self._tasks = [asyncio.create_task(self._work(), name=f"worker {n}") for n in range(WORKERS)]
        metrics.LEADER.set(1)
        for key in keys:
            self._queue.add(key)

    async def stop(self, seconds: float = 5.0) -> None:
        """Begin no more looks, let running ones finish for `seconds`, end the workers, and keep what the
        looks learned, as far as that is quickly done: requests may wait for the next leader.
        """
        self._stopping = True
        self._idle.clear()
        if self._busy:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAVE_SECONDS):
                await self._reconciler.save()
        metrics.LEADER.set(0)

    def stuck(self) -> list[str]:
        """Name the looks that take impossibly long, and workers that ended."""
        now = self._clock()
        late = [
            f"look at {key}: {now - since:.0f} s"
            for key, since in self._busy.items()
            if now - since > LOOK_LIMIT_SECONDS
        ]
        return late + [f"{task.get_name()} ended" for task in self._tasks if task.done()]

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            if self._stopping:
                return
            metrics.QUEUE_DEPTH.set(len(self._queue))
            self._busy[key] = started = self._clock()
            try:
                again = await self._reconciler.look(key)
            except NotLeadingError:
                log.warning("%s: not looked at, the lease is gone", key)
                self._queue.failed(key)
            except ApiError as error:
                await self._recover(key, error)
            except RefusedError as error:
                pause = self._queue.failed(key)
                if error.again is not None:
                    self._queue.at(key, error.again)
                metrics.LOOK_FAILURES.labels("refused").inc()
                log.info("%s: next try in %.1f s", key, pause)
            except Exception:
                # One fleet's oddity must not end the others' care: log it in full, come back with back-off.
                pause = self._queue.failed(key)
                metrics.LOOK_FAILURES.labels("internal").inc()
                log.exception("%s: look failed, next try in %.1f s", key, pause)
            else:
                self._reconciler.news_at.pop(key, None)
                self._queue.done(key)
                if again is not None:
                    self._queue.at(key, again)
            finally:
                del self._busy[key]
                if not self._busy:
                    self._idle.set()
                metrics.LOOK_SECONDS.observe(self._clock() - started)

    async def _recover(self, key: FleetKey, error: ApiError) -> None:
        """A conflict means that our news is old: fetch the Deployment. Anything else waits."""
        cause = "conflict" if error.conflict else "unreachable" if error.status == 0 else str(error.status)
        metrics.LOOK_FAILURES.labels(cause).inc()
        if error.conflict:
            log.info("%s: changed by somebody else meanwhile, looking again (%s)", key, error.message)
            with contextlib.suppress(ApiError):
                live = await self._kube.get(DEPLOYMENTS, key.namespace, names.engines(key.name))
                if live is not None:
                    self._store.put(DEPLOYMENTS, live)
            self._queue.failed(key, at_once=True)
            return
        pause = self._queue.failed(key)
        log.warning("%s: %s; next try in %.1f s", key, error, pause)
