"""Spans as OTLP has them in JSON, each encoded when its request ends.

OTLP/HTTP carries Protocol Buffers or their JSON form, in which ids are hexadecimal and 64-bit numbers are
strings. One span is one piece of bytes; a message is pieces between a fixed beginning and a fixed end, so
that sending five hundred spans at once costs the event loop no more than joining them. Names and attributes
are OpenTelemetry's semantic conventions (HTTP, GenAI, Kubernetes) where they have one, `torpor.*` where not.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import orjson

Value: TypeAlias = str | int | float | bool | None
INTERNAL, SERVER, CLIENT = 1, 2, 3  # kinds
_ERROR = 2  # a status
_SAMPLED = 1
END = b"]}]}]}"


def beginning(service: str, resource: Iterable[tuple[str, str]], version: str) -> bytes:
    """Return how a message of this process begins; spans follow, separated by commas, then `END`."""
    attributes = _attributes(dict(resource) | {"service.name": service})
    text = orjson.dumps({"attributes": attributes})
    scope = orjson.dumps({"name": "torpor_gateway", "version": version})
    return b'{"resourceSpans":[{"resource":%b,"scopeSpans":[{"scope":%b,"spans":[' % (text, scope)


def encoded(
    trace: str,
    span: str,
    parent: str,
    *,
    name: str,
    kind: int,
    times: tuple[int, int],
    attributes: Mapping[str, Value],
    error: str | None = None,
    state: str = "",
) -> bytes:
    """Return one span. `times` are nanoseconds of Unix time; an attribute that is None is left out; `error`
    makes it one that failed, and says how.
    """
    value: dict[str, Any] = {
        "traceId": trace,
        "spanId": span,
        "flags": _SAMPLED,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": _attributes(attributes if error is None else {**attributes, "error.type": error}),
    }
    if parent:
        value["parentSpanId"] = parent
    if state:
        value["traceState"] = state
    if error is not None:
        value["status"] = {"code": _ERROR, "message": error}
    return orjson.dumps(value)


def message(begin: bytes, spans: Sequence[bytes]) -> bytes:
    """Return a whole export request."""
    return b"%b%b%b" % (begin, b",".join(spans), END)


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"stringValue": value} if type(value) is str else _value(value)}
        for key, value in values.items()
        if value is not None
    ]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}
