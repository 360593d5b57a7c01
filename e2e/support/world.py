"""What every scenario stands on: one cluster, one install of Torpor, and namespaces that come and go.

The install is made once per session because it costs more than most scenarios. Namespaces enforce
Kubernetes' restricted pod security, so every engine pod of every scenario proves that it runs under it.
They are deleted without waiting: a drain takes seconds in which the next scenario can already run.

Some scenarios spend most of their time waiting (a model loads, a deadline passes). A module that defines
`head_start(world)` has it run in a thread as soon as the session begins; its tests fetch the result with
`early`, and the waiting costs nothing. In one process such stories run one after the other, in the order of
the scenarios; where the session has several workers, each has the story of its own tests. A story must not
disturb others: own namespace, no GPU, no hand on Torpor's own pods.
"""

import contextlib
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.support import artifacts, install
from e2e.support.fleets import Fleet, fleet
from e2e.support.http1 import Address
from e2e.support.kube import ApiError, Cluster
from e2e.support.machine import Machine

PREFIX = "torpor-e2e-"
LABEL = "torpor-e2e"


@dataclass
class World:
    """One session: the machine, and where failures are written."""

    machine: Machine
    artifacts: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _opened: list[str] = field(default_factory=list)
    _stories: dict[str, Future[Any]] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "story"))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cluster(self) -> Cluster:
        return self.machine.cluster

    @functools.cached_property
    def gateway(self) -> Address:
        """Where this host reaches the gateway of the release that most scenarios share."""
        return install.gateway_address(self.cluster)

    # --- namespaces -------------------------------------------------------------------------------

    def open_namespace(self, purpose: str) -> str:
        """Create a namespace that no earlier run can have left behind half deleted; returns its name."""
        with self._lock:
            stamp = f"{int(time.time()) % 1_000_000:06d}-{os.getpid()}-{next(self._numbers)}"
        name = f"{PREFIX}{purpose.replace('_', '-')[:24]}-{stamp}"
        labels = {LABEL: "yes", "pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.create("namespaces", {"metadata": {"name": name, "labels": labels}})
        self._opened.append(name)
        return name

    def close_namespace(self, name: str) -> None:
        """Delete a namespace without waiting for its end."""
        self.cluster.delete("namespaces", name)

    @contextlib.contextmanager
    def namespace(self, purpose: str) -> Iterator[str]:
        """A namespace for one story; what it held is dumped if the story fails."""
        name = self.open_namespace(purpose)
        try:
            yield name
        except BaseException as error:
            error.add_note(self.dump(name, purpose))
            raise
        finally:
            self.close_namespace(name)

    def dump(self, namespace: str, purpose: str, system: str = install.NAMESPACE) -> str:
        """Write the artifacts of a failure, those of the release in `system` included; returns the essential
        part. Never raises: the failure matters more.
        """
        try:
            told = artifacts.dump(self.cluster, namespace, system, self.artifacts / purpose)
        except (ApiError, OSError, KeyError) as error:
            told = f"the dump of {namespace} failed: {error!r}"
        return f"{told}\n  machine: {artifacts.describe_machine()}"

    # --- fleets -----------------------------------------------------------------------------------

    def make(self, namespace: str, name: str, *, wait: bool = True, **spec: Any) -> Fleet:
        """Create a fleet (see `fleets.fleet` for the arguments) and wait until it is Ready, unless told not
        to.
        """
        self.cluster.create("inferenceservices", fleet(name, **spec), namespace)
        made = Fleet(self.cluster, namespace, name)
        if wait:
            made.wait("Ready")
        return made

    # --- stories that begin early -----------------------------------------------------------------

    def begin(self, name: str, story: Callable[["World"], Any]) -> None:
        """Run a story in the background; a second call with the same name changes nothing."""
        if name not in self._stories:
            self._stories[name] = self._pool.submit(story, self)

    def early(self, name: str, seconds: float = 800) -> Any:
        """The result of a story that was begun, or the exception that ended it."""
        return self._stories[name].result(seconds)

    def close(self) -> None:
        """Wait for every story and delete every namespace of this session that is left."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for name in self._opened:
            self.close_namespace(name)
        self.cluster.close()
