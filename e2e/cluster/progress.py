"""What the user sees: what happens now, how long it has taken, and on failure which log to read.

Every long command writes to a log file instead of the terminal. While it runs its last line is shown on a
terminal (and once a minute elsewhere, so that a continuous integration job is visibly alive); when it fails
the end of the log is.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_STARTED = time.monotonic()
_LOCK = threading.Lock()


class StepFailedError(Exception):
    """A step failed; the message says which, why, and what to do next."""


def say(text: str) -> None:
    """Print one line with the seconds since the program started, on stderr: stdout is for answers."""
    with _LOCK:
        print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, indented, or a word on why there are none."""
    try:
        text = log.read_text(errors="replace").splitlines()[-lines:]
    except OSError as error:
        return f"    ({error})"
    return "\n".join(f"    {line[:400]}" for line in text) or "    (the log is empty)"


def failure(what: str, log: Path) -> StepFailedError:
    """Return the error for a step whose log is `log`, with the end of the log."""
    return StepFailedError(f"{what}\n  the whole log: {log}\n  its last lines:\n{tail(log)}")


def run_logged(
    what: str,
    command: Sequence[str | os.PathLike[str]],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> float:
    """Run `command` with its output in `log`; return the seconds it took or raise StepFailedError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began = last = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            cwd=cwd, env=None if env is None else dict(env),
        )  # fmt: skip
        try:
            while True:
                try:
                    code = process.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() - last > 60:
                        last = time.monotonic()
                        end = tail(log, 1).strip()
                        say(f"{what}: still running after {last - began:.0f} s ({end[:100]})")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if code:
        raise failure(
            f"{what}: `{' '.join(os.fspath(part) for part in command)[:200]}` ended with status {code}", log
        )
    return time.monotonic() - began


def output_of(command: Sequence[str | os.PathLike[str]], *, check: bool = True, timeout: float = 120) -> str:
    """Run a short command and return what it printed; raise StepFailedError with its stderr if it fails."""
    words = [os.fspath(part) for part in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        if check:
            raise StepFailedError(f"`{' '.join(words)[:200]}`: {error}") from error
        return ""
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-800:]
        raise StepFailedError(f"`{' '.join(words)[:200]}` ended with status {done.returncode}: {said}")
    return done.stdout
