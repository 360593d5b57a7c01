"""The engine's log: passed on unchanged, and read for what it says about the start.

The log is the only place where an engine says why it did not start, so its lines are read on the way through.
A few patterns tell bad arguments, missing or forbidden models and exhausted memory apart; the rest is "it
crashed" with the most telling line. Patterns match what vLLM, Transformers and the Hub's client print today.
When they stop matching, the reason falls back to EngineCrashed and the message still carries the engine's own
words: a pattern can be late, it cannot lie.

The pump is a thread with blocking writes on purpose. When whoever collects logs is slow, the engine slows
down exactly as it would without a launcher, and the launcher's event loop does not.
"""

from __future__ import annotations

import os
import re
import threading
from collections import deque

from torpor_engine.outcomes import Outcome

LINE_LIMIT_BYTES = 8192
PREFIX = re.compile(
    r"^(\([^)]*\)\s*)*((?:ERROR|WARNING|INFO|DEBUG|CRITICAL)\s+[\d-]+\s+[\d:.,]+\s+(\[[^\]]*\]\s*)?)?"
)
ERRORISH = re.compile(
    r"(?:Error|Exception|Interrupt)\b\s*[:(]|\berror:|\bout of memory\b|not a valid model", re.I
)
ECHO = re.compile(
    r"Engine core initialization failed|See root cause above|exited unexpectedly|^During handling of"
)
# The first pattern that any notable line matches decides, so the specific stand before the general.
PATTERNS: tuple[tuple[Outcome, re.Pattern[str]], ...] = (
    (Outcome.OutOfMemory, re.compile(
        r"OutOfMemoryError|CUDA out of memory|HIP out of memory|No available memory for the cache blocks"
        r"|is less than desired (GPU|CPU) memory utilization|larger than the available KV cache"
        r"|can't allocate memory|Cannot allocate memory|\bMemoryError\b"
        r"|No space left on device|Disk quota exceeded")),
    (Outcome.InvalidEngineArgs, re.compile(
        r"error: (unrecognized arguments|argument |the following arguments|ambiguous option)"
        r"|expected (one|at least one) argument")),
    (Outcome.ModelAccessDenied, re.compile(
        r"GatedRepoError|gated repo"
        r"|Access to model .* is restricted|40[13] (Client Error|Forbidden|Unauthorized)")),
    (Outcome.ModelNotFound, re.compile(
        r"RepositoryNotFoundError|RevisionNotFoundError|EntryNotFoundError|Repository Not Found"
        r"|is not a valid model identifier"
        r"|Invalid repository ID or local directory|does not appear to have a file named config\.json"
        r"|Cannot find any model weights|Can't load the configuration of"
        r"|cannot find the requested files in the disk cache")),
    (Outcome.CacheNotWritable, re.compile(r"Read-only file system|PermissionError: .*Permission denied")),
    (Outcome.EngineNotFound, re.compile(r"No module named '?vllm\b|PackageNotFoundError")),
    (Outcome.InvalidEngineArgs, re.compile(r"validation errors? for \w*Config\b")),
)  # fmt: skip
# Seconds that vLLM itself reports for parts of its start. Each worker prints its own; the slowest counts.
TIMES = {
    "load": re.compile(r"(?:Model loading took .*?|Loading weights took )([\d.]+) seconds"),
    "init": re.compile(r"init engine \(.*?\) took ([\d.]+) s"),
}


class LogReader:
    """Remembers of a stream of log bytes what messages and phases need. One thread feeds, another reads."""

    def __init__(self) -> None:
        self._partial = b""
        self._notable: deque[str] = deque(maxlen=64)
        self._tail: deque[str] = deque(maxlen=8)
        self.seconds: dict[str, float] = {}

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the log."""
        *lines, rest = (self._partial + chunk).split(b"\n")
        self._partial = rest[-LINE_LIMIT_BYTES:]
        for raw in lines:
            self._line(raw[:LINE_LIMIT_BYTES].decode("utf-8", "replace"))

    def end(self) -> None:
        """Nothing more will come: what stands without a newline is a line too."""
        self.feed(b"\n")

    def _line(self, line: str) -> None:
        text = PREFIX.sub("", line).strip()
        if not text:
            return
        self._tail.append(text)
        if ERRORISH.search(text) or any(pattern.search(text) for _, pattern in PATTERNS):
            self._notable.append(text)
        for name, pattern in TIMES.items():
            match = pattern.search(text)
            if match:
                self.seconds[name] = max(self.seconds.get(name, 0.0), float(match.group(1)))

    def essence(self) -> str:
        """The line that most likely says what went wrong, or the last one, or nothing."""
        causes = [line for line in self._notable if not ECHO.search(line)]
        return (causes or list(self._tail) or [""])[-1]

    def diagnose(self, returncode: int) -> tuple[Outcome, str]:
        """Why an engine that ended with `returncode` did so: the reason, and the line that shows it."""
        lines = list(self._notable)
        for outcome, pattern in PATTERNS:
            for line in reversed(lines):
                if pattern.search(line):
                    return outcome, line
        if returncode == -9:
            return (
                Outcome.OutOfMemory,
                "killed by SIGKILL, which is what the kernel does when memory runs out",
            )
        if returncode == 2:
            return Outcome.InvalidEngineArgs, self.essence()
        return Outcome.EngineCrashed, self.essence()


class Tee(threading.Thread):
    """Copies one file descriptor to another and shows everything to a reader; ends with the last writer."""

    def __init__(self, source: int, target: int, reader: LogReader) -> None:
        super().__init__(name="log", daemon=True)
        self._source, self._target, self._reader = source, target, reader

    def run(self) -> None:
        """Pump until the end of the source. A target that is gone is no reason to block the engine."""
        writable = True
        while True:
            chunk = os.read(self._source, 65536)
            if not chunk:
                self._reader.end()
                os.close(self._source)
                return
            self._reader.feed(chunk)
            writable = writable and self._write(memoryview(chunk))

    def _write(self, view: memoryview) -> bool:
        """Write all of `view`; False when nobody can read it any more."""
        try:
            while view:
                view = view[os.write(self._target, view) :]
        except OSError:
            return False
        return True
