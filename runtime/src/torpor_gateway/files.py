"""Open files: every connection is one, the system gives a process so many, and at the last one it turns ugly.

Without a file left the event loop closes new connections unheard, connections to engines fail as if the
engines were gone, and probes fail, so that a busy gateway is killed for being busy. So the limit is raised to
what the system allows, connections are counted, and the last files are never given away:

    others      what is no client's and no engine's: listeners, watches, a stream from each launcher
    reserve     an eighth, kept from clients for connections to engines; else those whose requests are held
                would keep the fleet that they wait for from answering
    clients     what is left: one more is told 503, and where half of the reserve is gone it is cut off

A request that is held needs one file and one that is answered needs two, so counting both kinds together
lets ten thousand wait where half as many could be answered at once. A request for whose engine no file is
left waits in its fleet's line, and its pod is not blamed. Where the system refuses a file all the same,
somebody else has more than was thought: for a second nothing is left, then it is tried again.

Nothing here costs a request anything, only a connection.
"""

import errno
import logging
import os
import resource
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

OTHERS = 24  # listeners, watches, visitors of the doors, the loop's own
_RESERVE = 8  # one in so many
_TELL_SECONDS = 60.0  # between two lines in the log
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)


def raise_limit() -> int:
    """Let this process open as many files as it may ask for; return how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:  # some systems call a limit infinite and have a smaller one
            log.warning("the limit of open files stays %d: %s", soft, error)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Files:
    """The files of one process. `clients` and `engines` are open connections, refused ones included."""

    __slots__ = (
        "_others",
        "_told_at",
        "_waiting",
        "clients",
        "engines",
        "found",
        "limit",
        "shortages",
        "shrink",
    )

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.clients = self.engines = 0
        self.shortages = 0  # times that the system refused a file
        self.found: Callable[[], object] = lambda: None  # called when a request may reach an engine again
        self.shrink: Callable[[], object] = lambda: None  # called to close connections that nobody uses
        self._others = OTHERS
        self._waiting = False
        self._told_at = float("-inf")

    @property
    def reserve(self) -> int:
        """Files that clients do not get."""
        return self.limit // _RESERVE

    @property
    def left(self) -> int:
        """Files for connections, the reserve included. Never below 0."""
        return max(0, self.limit - self._others - self.clients - self.engines)

    def bound(self, connections: int) -> int:
        """Return how many of so many connections of clients are possible; at least 1."""
        return max(1, min(connections, self.limit - self._others - self.reserve))

    # --- clients ---

    @property
    def crowded(self) -> bool:
        """Whether there is no file for one more client."""
        return self.left < self.reserve

    @property
    def overrun(self) -> bool:
        """Whether there is none even for telling a client so."""
        return self.left < self.reserve // 2

    def client_closed(self) -> None:
        """A connection of a client is gone."""
        self.clients -= 1
        self._tell()

    # --- engines ---

    def take(self) -> bool:
        """Take a file for a connection to an engine; False where there is none."""
        if self.denied():
            return False
        self.engines += 1
        return True

    def give(self) -> None:
        """A connection to an engine is gone, or came to nothing."""
        self.engines -= 1
        self._tell()

    def denied(self) -> bool:
        """Say whether there is no file for one more connection to an engine; then `found` will be called."""
        if self.left:
            return False
        self._waiting = True
        self.shrink()
        return True

    def _tell(self) -> None:
        if self._waiting and self.left:
            self._waiting = False
            self.found()

    # --- once a second, and when the system refused ---

    def look(self, launchers: int, now: float) -> None:
        """Take in how many streams of launchers are followed, and try whether the system has a file left."""
        self._others = OTHERS + launchers
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in OUT_OF_FILES:
                self.refused(now)
        self._tell()

    def refused(self, now: float) -> None:
        """The system refused a file: whatever is not ours must be others', until `look` has another look."""
        self.shortages += 1
        self._others = max(self._others, self.limit - self.clients - self.engines)
        self.say(now)

    def say(self, now: float) -> None:
        """Write to the log how it stands, once a minute."""
        if now - self._told_at < _TELL_SECONDS:
            return
        self._told_at = now
        log.error(
            "open files are used up: %d of clients, %d to engines, %d others, limit %d; raise the limit "
            "(ulimit -n, LimitNOFILE) or run more gateways",
            self.clients,
            self.engines,
            self._others,
            self.limit,
        )
