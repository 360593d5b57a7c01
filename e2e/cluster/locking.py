"""One at a time: two runs that build or start the same thing wait for each other.

A build is guarded by a file lock in the cache, which the kernel drops when its holder dies. The cluster
itself is one per machine, whoever's cache is used, and must leave no file behind: its lock is a name in the
abstract socket namespace.
"""

import contextlib
import fcntl
import socket
import time
from collections.abc import Iterator

from e2e.cluster.paths import CACHE, NAME
from e2e.cluster.progress import say


@contextlib.contextmanager
def build_lock(name: str) -> Iterator[None]:
    """Hold the lock of one build in this user's cache; waits, and says so."""
    folder = CACHE / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another run is busy with {name}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def cluster_lock() -> Iterator[None]:
    """Hold the machine's only cluster lock; waits, and says so."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as holder:
        told = False
        while True:
            try:
                holder.bind(f"\0{NAME}-cluster")
                break
            except OSError:
                if not told:
                    say("another run is bringing the cluster up or down; waiting for it")
                    told = True
                time.sleep(0.2)
        yield
