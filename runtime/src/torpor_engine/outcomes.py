"""How a launcher ends: exit codes, the reasons they stand for, and the one line that explains them.

The kubelet keeps two things of a dead container: its exit code and 4 KiB of termination message. The operator
turns the code into a condition's reason and shows the message, so both have to carry everything. A message
names the field of the InferenceService, the value, the rule it broke and the next step, on one line, and
never a secret: tokens are blanked here, in the one place that every message passes.
"""

from __future__ import annotations

import contextlib
import enum
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# The kubelet keeps 4096 bytes of the termination log; conditions and events are shorter still.
MESSAGE_LIMIT_BYTES = 1024
TOKEN_SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{8,}|(?<=[Bb]earer )[^\s\"']+")
SHORTEST_SECRET = 6


class Outcome(enum.IntEnum):
    """Exit codes of the launcher; the names are the reasons that conditions and events show."""

    InvalidEngineArgs = 64
    ConfigError = 65
    ModelNotFound = 66
    ModelAccessDenied = 67
    EngineNotFound = 68
    CacheNotWritable = 69
    EngineCrashed = 70
    StartupTimedOut = 71
    OutOfMemory = 72
    WarmupFailed = 73


class LaunchError(Exception):
    """The launcher cannot go on: `outcome` is its exit code and reason, the text is for people."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


def refuse(outcome: Outcome, field: str, value: object, rule: str, step: str) -> LaunchError:
    """An error whose message has the four parts every message has: field, value, rule, next step."""
    shown = repr(value) if isinstance(value, str) else str(value)
    return LaunchError(outcome, f"{field}={shown}: {rule}; {step}")


def one_line(text: str, secrets: Iterable[str] = (), limit: int = MESSAGE_LIMIT_BYTES) -> str:
    """`text` on one line of at most `limit` bytes, without control characters and without any of `secrets`.

    What merely looks like a Hugging Face or bearer token is blanked too, because engines print their
    arguments.
    """
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = TOKEN_SHAPES.sub("***", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    raw = text.encode("utf-8", "replace")
    if len(raw) > limit:
        text = raw[: limit - 3].decode("utf-8", "ignore") + "..."
    return text


def write_termination_message(path: str, text: str) -> None:
    """Leave `text` where the kubelet reads it; failing that, the exit code has to do."""
    with contextlib.suppress(OSError):
        Path(path).write_text(text + "\n", encoding="utf-8")


def shell_status(returncode: int) -> int:
    """The exit code a shell would have for a `returncode` of subprocess: signal n, there -n, is 128 + n."""
    return 128 - returncode if returncode < 0 else returncode
