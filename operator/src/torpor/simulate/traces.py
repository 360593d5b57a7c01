"""Recorded requests: when they came, how long they were.

Three public formats are told apart by what is in the file, not by its name: comma-separated
`arrival_s,input_tokens,output_tokens`, Azure's `TIMESTAMP,ContextTokens,GeneratedTokens`, and Mooncake's JSON
lines with `timestamp` in milliseconds; each plain or gzipped. Mooncake's lines may tell the blocks of a
prompt (`hash_ids`, 512 tokens each, equal numbers for equal beginnings); the others know nothing of them. A
trace is refused, not repaired: one that is unsorted or cut short would still give numbers, and nobody would
know that they are wrong.
"""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

JITTER_SECONDS = 300.0
MOST_TOKENS = 10_000_000
HASHED_TOKENS = 512  # per block of Mooncake's hash_ids
LONGEST = 10 * 365 * 86_400.0  # seconds: beyond, it is no time since a beginning but a date
MOST_REQUESTS = 500_000_000
_GZIP = b"\x1f\x8b"


class TraceError(Exception):
    """Not a usable trace; the message is one line that names file, line and rule."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What prompts begin with: request i has blocks[offsets[i]:offsets[i + 1]], each of `tokens` tokens (the
    last may be cut); equal numbers mean equal text up to there. Numbers are whole and not negative.
    """

    offsets: NDArray[np.int64]
    blocks: NDArray[np.int64]
    tokens: int = HASHED_TOKENS

    def table(self) -> NDArray[np.int64]:
        """Both in one array: the blocks of request i are table[table[i]:table[i + 1]]."""
        return np.concatenate([self.offsets + len(self.offsets), self.blocks]).astype(np.int64)

    def chosen(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offsets and blocks of the requests at `places`, in that order."""
        counts = np.diff(self.offsets)[places]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return offsets, self.blocks[np.repeat(self.offsets[places], counts) + within]


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of arrival. arrival: seconds from the trace's beginning; prompt, output: tokens;
    prefixes: what the prompts begin with; None: nothing is known.
    """

    arrival: NDArray[np.float64]
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    prefixes: Prefixes | None = None

    def __len__(self) -> int:
        return len(self.arrival)

    def new_tokens(self) -> NDArray[np.int64]:
        """Prompt tokens that no earlier request had: what one cache that never forgets would compute."""
        if self.prefixes is None:
            return self.prompt
        size, offsets = self.prefixes.tokens, self.prefixes.offsets.tolist()
        blocks = self.prefixes.blocks.tolist()
        seen: set[int] = set()
        known = np.zeros(len(self), np.int64)
        for i, prompt in enumerate(self.prompt.tolist()):
            mine = blocks[offsets[i] : offsets[i + 1]]
            for block in mine[: (prompt - 1) // size]:
                if block not in seen:
                    break
                known[i] += size
            seen.update(mine[: prompt // size])
        return self.prompt - known


def read(path: Path) -> Trace:
    """Read a trace. Raises TraceError where it is none, or empty, unsorted, negative or cut short."""
    lines = _lines(path)
    blocks: list[list[int]] = []
    head = lines[0].strip().lstrip("\ufeff").lower()
    if head == "arrival_s,input_tokens,output_tokens":
        rows = _numbers(path, lines[1:])
    elif head == "timestamp,contexttokens,generatedtokens":
        rows = _azure(path, lines[1:])
    elif head.startswith("{"):
        rows, blocks = _mooncake(path, lines)
    else:
        raise TraceError(
            f"{path}: not a trace: line 1 is {lines[0][:60]!r}; expected arrival_s,input_tokens,"
            "output_tokens, TIMESTAMP,ContextTokens,GeneratedTokens or JSON lines with timestamp, "
            "input_length, output_length"
        )
    trace = _checked(path, rows, first=1 if head.startswith("{") else 2)
    return replace(trace, prefixes=_prefixes(blocks)) if any(blocks) else trace


def _prefixes(blocks: list[list[int]]) -> Prefixes:
    """Number the blocks from 0 on."""
    flat = np.array([block for row in blocks for block in row], np.int64)
    counts = np.array([len(row) for row in blocks], np.int64)
    return Prefixes(np.concatenate([[0], np.cumsum(counts)]), np.unique(flat, return_inverse=True)[1])


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        text = data.decode("utf-8")
    except EOFError:
        raise TraceError(f"{path}: truncated: the compressed data ends too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(f"{path}: damaged: {error}") from None
    except UnicodeDecodeError:
        raise TraceError(f"{path}: not a trace: neither text nor gzip") from None
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not text.strip():
        raise TraceError(f"{path}: empty: a trace has at least one request")
    return text.splitlines()


def _numbers(path: Path, lines: Sequence[str]) -> list[tuple[float, int, int]]:
    rows = []
    for number, line in enumerate(lines, 2):
        fields = line.split(",")
        try:
            arrival, prompt, output = fields
            rows.append((float(arrival), int(prompt), int(output)))
        except ValueError:
            raise _malformed(path, number, line, len(lines) + 1) from None
    return rows


def _azure(path: Path, lines: Sequence[str]) -> list[tuple[float, int, int]]:
    rows = []
    origin: datetime | None = None
    for number, line in enumerate(lines, 2):
        try:
            stamp, prompt, output = line.split(",")
            whole, _, fraction = stamp.partition(".")
            moment = datetime.fromisoformat(whole)
            origin = origin or moment
            seconds = (moment - origin).total_seconds() + (float("0." + fraction) if fraction else 0.0)
            rows.append((seconds, int(prompt), int(output)))
        except (ValueError, TypeError):
            raise _malformed(path, number, line, len(lines) + 1) from None
    return rows


def _mooncake(path: Path, lines: Sequence[str]) -> tuple[list[tuple[float, int, int]], list[list[int]]]:
    rows, blocks = [], []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            prompt, output = row["input_length"], row["output_length"]
            if type(prompt) is not int or type(output) is not int:
                raise TypeError
            mine = row.get("hash_ids", [])
            if type(mine) is not list or not all(type(n) is int and abs(n) < 1 << 62 for n in mine):
                raise TraceError(f"{path}: line {number}: hash_ids is no list of whole numbers")
            rows.append((float(row["timestamp"]) / 1000.0, prompt, output))
            blocks.append(mine)
        except (ValueError, KeyError, TypeError):
            raise _malformed(path, number, line, len(lines)) from None
    return rows, blocks


def _malformed(path: Path, number: int, line: str, last: int) -> TraceError:
    """A line that cannot be read is the sign of a file that was cut short where it is the last."""
    cut = "truncated: " if number == last > 1 else ""
    return TraceError(f"{path}: {cut}line {number}: {line[:60]!r} is no time and two whole numbers of tokens")


def _checked(path: Path, rows: Sequence[tuple[float, int, int]], first: int) -> Trace:
    if not rows:
        raise TraceError(f"{path}: empty: a trace has at least one request")
    if any(not -MOST_TOKENS <= n <= MOST_TOKENS for row in rows for n in row[1:]):
        raise TraceError(f"{path}: a request of more than {MOST_TOKENS} tokens: no engine runs that")
    arrival = np.array([row[0] for row in rows], np.float64)
    prompt = np.array([row[1] for row in rows], np.int64)
    output = np.array([row[2] for row in rows], np.int64)
    rules = (
        (~np.isfinite(arrival), "the arrival is not a number"),
        (arrival < 0, "the arrival is negative"),
        (arrival > LONGEST, "the arrival is more than ten years in; times count from the trace's beginning"),
        (prompt < 1, "a prompt has at least one token"),
        (output < 0, "the output is negative"),
        (np.concatenate([[False], np.diff(arrival) < 0]), "unsorted: it arrives before the line above it"),
    )
    for bad, rule in rules:
        if bad.any():
            place = int(np.argmax(bad))
            raise TraceError(
                f"{path}: line {place + first}: {rule} "
                f"({arrival[place]:g} s, {prompt[place]} and {output[place]} tokens)"
            )
    return Trace(arrival, prompt, output)


def scaled(trace: Trace, rate: float, seed: int) -> Trace:
    """The same load, `rate` times as dense: copies of every request, jittered within ± 300 s; what is left of
    a whole number by thinning. The original stays as it is, so that 1 changes nothing. A copy's prompts are
    other texts: they begin like those of the same copy alone.

    Raises TraceError where the rate is not positive or would leave nothing.
    """
    if not (np.isfinite(rate) and 0 < rate <= 10_000):
        raise TraceError(f"rate scale {rate:g}: must be above 0 and at most 10000")
    if rate * len(trace) > MOST_REQUESTS:
        raise TraceError(
            f"rate scale {rate:g}: makes {rate * len(trace):.0f} requests of {len(trace)}; "
            f"at most {MOST_REQUESTS} are simulated"
        )
    if rate == 1:
        return trace
    draws = np.random.default_rng([seed, 1])
    whole = int(rate)
    copies = []
    places = []
    last = float(trace.arrival[-1])
    for copy in range(whole + 1):
        kept = np.ones(len(trace), bool) if copy < whole else draws.random(len(trace)) < rate - whole
        arrival = trace.arrival[kept]
        if copy:
            arrival = arrival + draws.uniform(-JITTER_SECONDS, JITTER_SECONDS, len(arrival))
            arrival = last - np.abs(last - np.abs(arrival))  # folded back at both ends
            arrival = np.clip(arrival, 0.0, last)
        copies.append((arrival, trace.prompt[kept], trace.output[kept]))
        places.append(np.flatnonzero(kept) + copy * len(trace))
    arrival = np.concatenate([copy[0] for copy in copies])
    order = np.argsort(arrival, kind="stable")
    if not len(order):
        raise TraceError(f"rate scale {rate:g}: no request is left of {len(trace)}")
    return Trace(
        arrival[order],
        np.concatenate([copy[1] for copy in copies])[order],
        np.concatenate([copy[2] for copy in copies])[order],
        None if trace.prefixes is None else _copied(trace.prefixes, np.concatenate(places)[order]),
    )


def _copied(prefixes: Prefixes, places: NDArray[np.int64]) -> Prefixes:
    """The blocks of requests `places`, counted through the copies one after the other."""
    requests = len(prefixes.offsets) - 1
    offsets, blocks = prefixes.chosen(places % requests)
    copy = np.repeat(places // requests, np.diff(offsets))
    distinct = int(prefixes.blocks.max(initial=0)) + 1
    return Prefixes(offsets, blocks + copy * distinct, prefixes.tokens)
