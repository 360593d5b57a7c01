"""The launcher's own lines in the container's log.

Whoever collects the log may be stuck: a full disk, a runtime that restarts. A write to it then waits, and a
launcher that waits there tells nobody that it drains and never stops its engine. So a thread writes, the
launcher goes on, and at the end the last words get a second.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from typing import Union

PREFIX = "[torpor] "
LAST_WORDS_SECONDS = 1.0


class Voice:
    """Writes lines to a file descriptor, in order, without ever keeping the caller waiting."""

    def __init__(self, target: int = 2) -> None:
        self._target = target
        self._lines: queue.Queue[Union[bytes, threading.Event]] = queue.Queue()
        threading.Thread(target=self._speak, name="voice", daemon=True).start()

    def say(self, text: str) -> None:
        """Say one line, soon."""
        self._lines.put(f"{PREFIX}{text}\n".encode("utf-8", "replace"))

    def finish(self, seconds: float = LAST_WORDS_SECONDS) -> bool:
        """Wait until everything is said, at most `seconds`; False when it could not be."""
        done = threading.Event()
        self._lines.put(done)
        return done.wait(seconds)

    def _speak(self) -> None:
        while True:
            item = self._lines.get()
            if isinstance(item, threading.Event):
                item.set()
                continue
            view = memoryview(item)
            with contextlib.suppress(OSError):  # nobody can hear it any more
                while view:
                    view = view[os.write(self._target, view) :]
