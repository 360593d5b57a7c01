"""The access log: one line of JSON for each request, written by a thread.

A pipe to a log collector that stands still blocks whoever writes to it, and the event loop may not stand
still with it. So lines gather for a moment in memory and a thread writes them; while it is stuck they gather
up to a bound, and what comes after that is lost and counted. The bytes are cut between lines into pieces
that a pipe takes whole, because several workers share one standard output.
"""

import asyncio
import logging
import os
import queue
import select
import sys
import threading
from pathlib import Path

from torpor_gateway.settings import SettingsError

log = logging.getLogger(__name__)

STANDARD_OUTPUT = "-"
_GATHER_SECONDS = 0.1
_MAX_BYTES = 4 << 20  # of lines that are not written yet
_LAST_WORDS_SECONDS = 2.0
_TELL_SECONDS = 60.0


class AccessLog:
    """Writes lines to standard output (`-`) or to a file's end. Raises SettingsError for one that cannot be
    opened. `written` and `lost` count lines.
    """

    def __init__(self, target: str) -> None:
        self.written = self.lost = 0
        self._loop = asyncio.get_running_loop()
        self._file = _opened(target)
        self._lines: list[bytes] = []
        self._bytes = 0  # of all lines that are here or with the thread
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self._blocks: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._told_at = float("-inf")
        # A daemon: a pipe that nobody reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._write_on, name="access-log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line, with its end."""
        if self._bytes + len(line) > _MAX_BYTES:
            self.lost += 1
            return
        self._lines.append(line)
        self._bytes += len(line)
        if self._timer is None and not self._writing:
            self._timer = self._loop.call_later(_GATHER_SECONDS, self._flush)

    async def close(self) -> None:
        """Write what is left, if it can be written soon."""
        deadline = self._loop.time() + _LAST_WORDS_SECONDS
        if not self._writing:
            self._flush()
        while self._bytes and self._loop.time() < deadline:  # noqa: ASYNC110 - once, in the end
            await asyncio.sleep(0.005)
        if self._timer is not None:
            self._timer.cancel()
        self._blocks.put(None)
        if self._bytes:
            log.warning("the access log's last lines could not be written")
        elif self._file != sys.stdout.fileno():
            os.close(self._file)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._lines:
            self._writing = True
            lines, self._lines = self._lines, []
            self._blocks.put(lines)

    def _done(self, lines: int, size: int, error: OSError | None) -> None:
        """The thread has got rid of so many lines and bytes."""
        self._writing = False
        self._bytes -= size
        if error is None:
            self.written += lines
        else:
            self.lost += lines
            now = self._loop.time()
            if now - self._told_at >= _TELL_SECONDS:
                self._told_at = now
                log.error("the access log cannot be written: %s", error)
        if self._lines:
            self._flush()

    # --- in the thread ---

    def _write_on(self) -> None:
        while (lines := self._blocks.get()) is not None:
            size = sum(map(len, lines))
            error: OSError | None = None
            try:
                for piece in pieces(lines):
                    self._write(piece)
            except OSError as caught:
                error = caught
            try:
                self._loop.call_soon_threadsafe(self._done, len(lines), size, error)
            except RuntimeError:
                return  # the loop has ended

    def _write(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._file, piece) :]
            except BlockingIOError:  # somebody else has set it so
                select.select((), (self._file,), (), 1.0)


def pieces(lines: list[bytes]) -> list[bytes]:
    """Join lines into pieces of at most PIPE_BUF bytes, which a pipe takes whole; longer lines are alone."""
    joined: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and size + len(line) > select.PIPE_BUF:
            joined.append(b"".join(part))
            part, size = [], 0
        part.append(line)
        size += len(line)
    return [*joined, b"".join(part)] if part else joined


def _opened(target: str) -> int:
    if target == STANDARD_OUTPUT:
        return sys.stdout.fileno()
    try:
        return os.open(Path(target), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingsError(f"access-log={target!r}: must be - or a file to write to: {error}") from None
