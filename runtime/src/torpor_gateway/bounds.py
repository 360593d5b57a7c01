"""What one request may ask of an engine: how long an answer, and for how long (`spec.traffic`).

An engine serves everybody a little slower for each token that it owes somebody else, so one request without
an end is everybody's problem. A fleet bounds both, each by a default for who says nothing and a ceiling for
who says too much; with a ceiling alone, the ceiling is the default. Above the ceiling is 400 and never a
silent cut: a shorter answer than asked for looks complete.

A default is the one change that is ever made to a body: a member, written as bytes behind the opening brace.
Where the client wrote `null` under that very name, behind which a parser would find nothing, it is written
before the closing brace, because the last of two members counts. Nothing is parsed and written again. A body
in which no such name occurs is not even parsed a second time.

The time counts from the moment that a request is first sent to an engine: what it waits here has limits of
its own. A client may ask for less (or more, up to the ceiling) with the header `x-request-timeout`, in
seconds. An answer may have several choices (`n`), and each may have that many tokens; what they cost together
is a matter of the key's tokens per minute. Uploads (audio) name no number of tokens and are not bounded here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from torpor_gateway.answers import Refusal

# By path, the members that say how many tokens an answer may have; the first is the one that is written.
FIELDS = {
    "/v1/chat/completions": (b"max_completion_tokens", b"max_tokens"),
    "/v1/completions": (b"max_tokens",),
    "/v1/responses": (b"max_output_tokens",),
    "/v1/messages": (b"max_tokens",),
}
# What an engine generates for who says nothing, where that is a number of the API and not all that fits.
_ENGINES_DEFAULT = {"/v1/completions": 16}
_HEADER = re.compile(rb"(?:\A|\r\n)x-request-timeout:[ \t]*([^\r\n]*)", re.IGNORECASE)
_LONGEST_ANSWER, _LONGEST_TIME = 10_000_000, 86_400  # as the API bounds the fields
MOST_ADDED = 64  # bytes that a body may grow by


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a fleet's requests, in tokens and seconds; None: unbounded."""

    output_default: int | None = None
    output_maximum: int | None = None
    timeout_default: int | None = None
    timeout_maximum: int | None = None

    @property
    def any_output(self) -> bool:
        """Whether the length of answers is bounded."""
        return self.output_default is not None or self.output_maximum is not None

    @property
    def any_timeout(self) -> bool:
        """Whether their time is."""
        return self.timeout_default is not None or self.timeout_maximum is not None


UNBOUNDED = Bounds()


def read_bounds(traffic: Mapping[str, Any]) -> Bounds:
    """Read `spec.traffic`; what is absent or unusable bounds nothing."""
    output, timeout = traffic.get("maxOutputTokens"), traffic.get("timeoutSeconds")
    found = Bounds(*_pair(output, _LONGEST_ANSWER), *_pair(timeout, _LONGEST_TIME))
    return UNBOUNDED if found == UNBOUNDED else found


def _pair(value: Any, most: int) -> tuple[int | None, int | None]:
    value = value if isinstance(value, Mapping) else {}
    default, maximum = (_whole(value.get(name), most) for name in ("default", "maximum"))
    if default is not None and maximum is not None:
        default = min(default, maximum)
    return default, maximum


def _whole(value: Any, most: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        return None
    return value


def bounded(body: bytes, path: str, bounds: Bounds, fleet: object) -> bytes:
    """Return the body that goes to the engine. Raises Refusal 400 for an answer above the ceiling.

    `body` is a JSON object, as `peek` has found; `fleet` is named in the message.
    """
    names = FIELDS.get(path)
    if names is None or not bounds.any_output:
        return body
    # An escaped letter may stand for any, so only a body without one can be judged by its bytes.
    given: dict[str, Any] = {}
    if b"\\u" in body or any(b'"%b"' % name in body for name in names):
        given = orjson.loads(body)
    asked = False
    for name in map(bytes.decode, names):
        value = given.get(name)
        if value is None:
            continue
        asked = True
        if bounds.output_maximum is not None and _number(value) > bounds.output_maximum:
            limit = f"{bounds.output_maximum} tokens"
            raise _above(name, value, limit, f"maxOutputTokens.maximum of {fleet}")
    default = _default(path, bounds)
    if asked or default is None:
        return body
    if names[0].decode() in given:  # as null
        end = body.rindex(b"}")
        return b'%b,"%b":%d%b' % (body[:end], names[0], default, body[end:])
    begin = body.index(b"{") + 1
    comma = b"" if body[begin:].lstrip()[:1] == b"}" else b","
    return b'%b"%b":%d%b%b' % (body[:begin], names[0], default, comma, body[begin:])


def _default(path: str, bounds: Bounds) -> int | None:
    if bounds.output_default is not None or bounds.output_maximum is None:
        return bounds.output_default
    engines = _ENGINES_DEFAULT.get(path)
    return None if engines is not None and engines <= bounds.output_maximum else bounds.output_maximum


def _number(value: Any) -> float:
    """Read a number as generously as an engine might; what is none is the engine's to refuse."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def time_limit(forward: bytes, bounds: Bounds, fleet: object) -> float | None:
    """Return the seconds that an engine may take for a request with these header lines; None: any.

    Raises Refusal 400 for a time above the ceiling or one that is none.
    """
    if not bounds.any_timeout:
        return None
    found = _HEADER.search(forward)
    if found is None:
        return bounds.timeout_maximum if bounds.timeout_default is None else bounds.timeout_default
    text = found[1].decode("latin-1").strip()
    seconds = _number(text)
    if not 0 < seconds < float("inf"):
        message = f"x-request-timeout: {text[:64]!r}: must be a number of seconds above 0"
        raise Refusal(400, "invalid_timeout", message, param="x-request-timeout")
    if bounds.timeout_maximum is not None and seconds > bounds.timeout_maximum:
        limit = f"{bounds.timeout_maximum} seconds"
        raise _above("x-request-timeout", text, limit, f"timeoutSeconds.maximum of {fleet}")
    return seconds


def _above(name: str, value: Any, limit: str, field: str) -> Refusal:
    shown = str(value)[:64]
    message = f"{name}: {shown}: must be at most {limit} (traffic.{field}); ask for less"
    return Refusal(400, "above_maximum", message, param=name)
