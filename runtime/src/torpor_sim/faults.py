"""Scripted faults: what goes wrong, when, and for which request.

A fault is one word of the command line, `--fault NAME[=VALUE][,KEY=VALUE...]`, repeatable, or the same words
separated by semicolons in TORPOR_SIM_FAULTS. The table below is the whole vocabulary: parser, --help and
documentation are made from it. Faults are deterministic, by count or by time since the port opened; there is
no probability, because a test that fails now and then proves nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}

Kind = Literal["none", "duration", "count", "percent", "word"]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What one fault name takes: the kind of its value, the keys it knows, and its meaning."""

    kind: Kind
    keys: tuple[str, ...]
    meaning: str


_PER_REQUEST = ("every", "times", "after")

FAULTS: dict[str, Vocabulary] = {
    "exit-at-start": Vocabulary(
        "count", ("message",), "exit with this code before the port opens, after the start-up time"
    ),
    "oom-at-start": Vocabulary(
        "word",
        (),
        "out of memory while loading: =device prints PyTorch's error and exits 1, =host kills itself",
    ),
    "hang-at-start": Vocabulary("none", (), "load for ever: the port never opens"),
    "crash-after": Vocabulary("duration", ("code",), "the process dies this long after the port opened"),
    "crash-at-request": Vocabulary(
        "count", ("code",), "the process dies when it has read this generation request"
    ),
    "stall-after": Vocabulary("duration", (), "the engine stops making steps; HTTP and /health go on"),
    "unhealthy-after": Vocabulary(
        "duration", (), "/health and /ping answer 503, as after the death of vLLM's engine core"
    ),
    "hang-at-stop": Vocabulary(
        "none", (), "answers that SIGTERM should cut stay open in silence, and the process with them"
    ),
    "status": Vocabulary(
        "count", _PER_REQUEST, "answer generation requests with this status and an error body"
    ),
    "reset-before-head": Vocabulary(
        "none", _PER_REQUEST, "reset the connection (RST) before the first byte of the answer"
    ),
    "cut-stream-after-tokens": Vocabulary(
        "count", _PER_REQUEST, "close the connection in mid-answer after this many tokens"
    ),
    "slow-first-token": Vocabulary(
        "duration", _PER_REQUEST, "hold the request this long before the engine gets it"
    ),
    "freeze-metrics-after": Vocabulary("duration", (), "/metrics repeats what it said at that moment"),
    "hang-metrics-after": Vocabulary("duration", (), "/metrics takes requests and never answers"),
    "nan-metrics": Vocabulary("none", (), "gauges read NaN"),
    "kv": Vocabulary("percent", (), "reported KV utilization is pinned to this percentage"),
    "waiting": Vocabulary("count", (), "reported number of waiting requests is pinned"),
    "running": Vocabulary("count", (), "reported number of running requests is pinned"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One parsed fault. `value` is seconds, a count, a fraction or 0; `text` a word or a message.

    Per request: it strikes request number `every`, 2*every, ... at most `times` times, from `after` seconds
    on.
    """

    name: str
    value: float = 0.0
    text: str = ""
    code: int = 1
    every: int = 1
    times: int = 0  # 0: no limit
    after: float = 0.0

    def strikes(self, ordinal: int, uptime: float) -> bool:
        """Whether it hits generation request number `ordinal` (from 1), `uptime` seconds after the port
        opened.
        """
        return (
            uptime >= self.after
            and ordinal % self.every == 0
            and (self.times == 0 or ordinal // self.every <= self.times)
        )


def seconds(text: str, where: str) -> float:
    """Parse `250ms`, `5s`, `5`, `2m`, `1h`; ValueError names the place."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise ValueError(f"{where}: {text!r} is not a duration; write it as 250ms, 5s, 2m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def _count(text: str, where: str, least: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least or len(text) > 9:
        raise ValueError(f"{where}: {text!r} must be a whole number of at least {least}")
    return int(text)


def parse_fault(spec: str) -> Fault:
    """Parse one fault; ValueError names fault, key, value and rule."""
    head, *options = spec.split(",")
    name, equals, raw = head.partition("=")
    word = FAULTS.get(name)
    if word is None:
        raise ValueError(f"fault {name!r}: unknown; there are {', '.join(FAULTS)}")
    if word.kind == "none" and equals:
        raise ValueError(f"fault {name}: takes no value, got {raw!r}")
    value, text = 0.0, ""
    if word.kind == "duration":
        value = seconds(raw, f"fault {name}")
    elif word.kind == "count":
        value = _count(raw, f"fault {name}")
    elif word.kind == "percent":
        value = float(raw) / 100 if re.fullmatch(r"\d+(\.\d+)?", raw) else math.nan
        if not 0 <= value <= 1:
            raise ValueError(f"fault {name}: {raw!r} must be a percentage from 0 to 100")
    elif word.kind == "word":
        text = raw or "device"
        if text not in {"device", "host"}:
            raise ValueError(f"fault {name}: {raw!r} must be device or host")
    if name == "status" and not 400 <= value <= 599:
        raise ValueError(f"fault status: {raw!r} must be an HTTP error, 400 to 599")
    fields: dict[str, float | int | str] = {}
    for option in options:
        key, _, given = option.partition("=")
        if key not in word.keys:
            raise ValueError(f"fault {name}: unknown key {key!r}; it knows {', '.join(word.keys) or 'none'}")
        where = f"fault {name}, {key}"
        if key == "after":
            fields[key] = seconds(given, where)
        elif key == "message":
            text = given
        else:
            fields[key] = _count(given, where, 1 if key == "every" else 0)
    return Fault(name, value, text, **fields)  # type: ignore[arg-type]


def parse_faults(specs: Iterable[str], environment: str = "") -> tuple[Fault, ...]:
    """Parse the command line's faults and then those of the environment variable."""
    words = [*specs, *(word.strip() for word in environment.split(";") if word.strip())]
    return tuple(parse_fault(word) for word in words)


class FaultPlan:
    """The faults of one process, asked at the moments they could strike."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults: dict[str, list[Fault]] = {}
        for fault in faults:
            self._faults.setdefault(fault.name, []).append(fault)

    def get(self, name: str) -> Fault | None:
        """The first fault of that name."""
        found = self._faults.get(name)
        return found[0] if found else None

    def due(self, name: str, uptime: float) -> bool:
        """Whether a fault that begins after some time has begun."""
        fault = self.get(name)
        return fault is not None and uptime >= fault.value

    def striking(self, name: str, ordinal: int, uptime: float) -> Fault | None:
        """The fault of that name that hits this generation request."""
        for fault in self._faults.get(name, ()):
            if fault.strikes(ordinal, uptime):
                return fault
        return None
