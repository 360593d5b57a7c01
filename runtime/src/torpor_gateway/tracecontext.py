"""W3C trace context: what a client's `traceparent` and `tracestate` say, and what an engine is told.

The recommendation of 2021 (Trace Context, level 1), read strictly: a `traceparent` that is not exactly as it
must be is no parent at all, and then its `tracestate` is worth nothing either, since both were written by
the same hand. A higher version is read as far as version 00 goes, and what is written is version 00 with the
one flag that it has, *sampled*.

None of this runs where no trace is recorded: the two headers are header lines like others then, and go to
the engine as they came.
"""

import random
import re
from typing import NamedTuple

_TRACEPARENT = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_TRACE = b"trace"
# The keys of level 2, which are those of level 1 and some more: what is dropped here is lost to its owner.
_MEMBER = re.compile(
    rb"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MAX_MEMBERS = 32
_MAX_STATE = 4096  # bytes; 512 must be passed on
_SAMPLED = 0x01


class Parent(NamedTuple):
    """The span of which a request's own is a child. Ids as in the header; `state` is a valid `tracestate`
    or empty.
    """

    trace: str
    span: str
    sampled: bool
    state: str = ""


def parted(forward: bytes) -> tuple[Parent | None, bytes]:
    """Part header lines into what they name as the parent, None where it is missing, doubled or malformed,
    and the lines that say nothing of a trace.
    """
    if _TRACE not in forward.lower():
        return None, forward
    parents: list[bytes] = []
    states: list[bytes] = []
    others: list[bytes] = []
    for line in forward.split(b"\r\n"):
        name, _, value = line.partition(b":") if line[:5].lower() == _TRACE else (b"", b"", b"")
        lower = name.lower()
        if lower == b"traceparent":
            parents.append(value.strip(b" \t"))
        elif lower == b"tracestate":
            states.append(value.strip(b" \t"))
        else:
            others.append(line)
    return _parent(parents, states), b"\r\n".join(others)


def _parent(parents: list[bytes], states: list[bytes]) -> Parent | None:
    found = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or found["version"] == b"ff" or (found["version"] == b"00" and found["more"]):
        return None
    trace, span = found["trace"].decode(), found["span"].decode()
    if not trace.strip("0") or not span.strip("0"):
        return None
    return Parent(trace, span, bool(int(found["flags"], 16) & _SAMPLED), _state(states) if states else "")


def _state(values: list[bytes]) -> str:
    """Return the members of all lines as one, empty if any is malformed: they cannot be told apart then."""
    members = [member.strip(b" \t") for value in values for member in value.split(b",")]
    members = [member for member in members if member]  # empty ones are allowed, and mean nothing
    keys = {member.partition(b"=")[0] for member in members}
    text = b",".join(members)
    if len(keys) < len(members) or len(members) > _MAX_MEMBERS or len(text) > _MAX_STATE:
        return ""
    return text.decode() if all(_MEMBER.fullmatch(member) for member in members) else ""


def lines(trace: str, span: str, *, sampled: bool, state: str) -> bytes:
    """Return the header lines that name this span as the parent."""
    line = f"traceparent: 00-{trace}-{span}-{'01' if sampled else '00'}\r\n"
    if state:
        line += f"tracestate: {state}\r\n"
    return line.encode()


def new_trace() -> str:
    """Return the id of a new trace: random as a whole, since others sample by a part of it."""
    return f"{random.getrandbits(128) or 1:032x}"


def new_span() -> str:
    """Return the id of a new span. No secret."""
    return f"{random.getrandbits(64) or 1:016x}"
