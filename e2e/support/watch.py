"""Everything that happened to some objects, with the time at which it was seen.

A poll misses what comes and goes between two looks; a promise such as "never makes a pod" can only be
checked by a watch, which the API server fills without gaps from the moment it is opened. The clock is this
process's: on the local cluster every party shares the host's clock, so a time taken here may be compared
with a time taken in a pod.
"""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from e2e.support.kube import Cluster, Object


@dataclass(frozen=True)
class Seen:
    """One watch event: `at` in wall-clock seconds, `type` ADDED, MODIFIED or DELETED, and the object."""

    at: float
    type: str
    object: Object

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])


class Watch:
    """Collects the events of one kind until it is closed; begins with an ADDED for everything that exists."""

    def __init__(
        self,
        cluster: Cluster,
        plural: str,
        namespace: str | None = None,
        on_event: Callable[[Seen], None] | None = None,
        **query: str,
    ) -> None:
        self.events: list[Seen] = []
        self.broken: str | None = None
        self._on_event, self._closed = on_event, False
        path = cluster.path(plural, namespace, watch="true", timeoutSeconds="7200", **query)
        self._connection = cluster.connection()
        self._connection.timeout = None  # silence is normal on a watch
        self._connection.request("GET", path, headers={"Accept": "application/json"})
        self._answer = self._connection.getresponse()
        if self._answer.status != 200:
            raise RuntimeError(f"watch of {path}: {self._answer.status} {self._answer.read()[:300]!r}")
        self._thread = threading.Thread(target=self._read, name=f"watch-{plural}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._answer:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    self.broken = str(event["object"])
                    return
                seen = Seen(time.time(), event["type"], event["object"])
                self.events.append(seen)
                if self._on_event:
                    self._on_event(seen)
            if not self._closed:
                self.broken = "the API server ended the watch"
        # Closing the socket from outside raises any of these.
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            if not self._closed:
                self.broken = f"{type(error).__name__}: {error}"

    def close(self) -> None:
        """Stop reading; `events` stays. Raises if the watch had broken before: then "never" was not seen."""
        self._closed = True
        if self._connection.sock:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._connection.close()
        assert self.broken is None, f"the watch broke, so nothing is proved: {self.broken}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(AssertionError):
                self.close()


def replica_changes(watch: Watch, name: str) -> list[tuple[float, int]]:
    """The steps of a Deployment's `spec.replicas` in a watch of deployments: (seen at, new value), without
    repetition.
    """
    steps: list[tuple[float, int]] = []
    for seen in list(watch.events):
        if seen.name != name or seen.type == "DELETED":
            continue
        replicas = int(seen.object["spec"].get("replicas", 1))
        if not steps or steps[-1][1] != replicas:
            steps.append((seen.at, replicas))
    return steps
