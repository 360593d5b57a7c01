"""What the gateway says in its own name: error bodies, error events and heads, in the shape of the path.

Clients are OpenAI's, Anthropic's and many others', so an error is `{"error": {message, type, param, code}}`.
On Anthropic's paths it is wrapped as its clients expect: `"type": "error"` beside it, its type one of the
words that they know, the code once more where they look for a cause (`details.error_code`), and the request's
id in the body and in a header of their name. Once a stream has begun the status is spent and an error is an
event. `code` is a reason from the API's constants where the fleet's state is the cause, so that the word in a
client's log is the word in `kubectl get`.

Retry-After above 60 s comes with `x-should-retry: false`: OpenAI's client waits for it up to a limit, others
come back within a second and hammer a fleet that cannot answer.
"""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from torpor_gateway.surface import Shape

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "not_found_error",
    405: "invalid_request_error",
    411: "invalid_request_error",
    414: "invalid_request_error",
    501: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    417: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    502: "upstream_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
# By type, and by code where one type of OpenAI's is two of Anthropic's.
_ANTHROPIC_TYPES = {
    "invalid_api_key": "authentication_error",
    "service_unavailable_error": "overloaded_error",
    "upstream_error": "api_error",
}
HAMMER_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Refusal(Exception):  # noqa: N818
    """An answer that is an error. `retry_after` in seconds; `allow` is the header of a 405; `headers` are
    finished header lines.
    """

    status: int
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    allow: str | None = None
    headers: bytes = b""

    @property
    def error(self) -> dict[str, Any]:
        """The `error` object of OpenAI's API."""
        kind = _TYPES.get(self.status, "api_error")
        return {"message": self.message, "type": kind, "param": self.param, "code": self.code}


def body(refusal: Refusal, shape: Shape, request_id: bytes = b"") -> bytes:
    """Return the JSON body of an error."""
    if shape is Shape.ANTHROPIC:
        value = _anthropic(refusal.error)
        return orjson.dumps(value | {"request_id": request_id.decode()} if request_id else value)
    return orjson.dumps({"error": refusal.error})


def _anthropic(error: dict[str, Any]) -> dict[str, Any]:
    """Put an error of ours, or of an engine, into the words and the wrapping of Anthropic's API."""
    code, kind = error.get("code"), error.get("type")
    if isinstance(code, int):  # an engine's, which names its errors after the classes of its program
        kind = _TYPES.get(code, kind)
    if not isinstance(kind, str) or kind not in _TYPES.values():
        kind = "api_error"
    kind = _ANTHROPIC_TYPES.get(str(code), _ANTHROPIC_TYPES.get(kind, kind))
    details = {"details": {"error_code": code}} if isinstance(code, str) else {}
    return {"type": "error", "error": error | {"type": kind} | details}


def event(error: dict[str, Any], shape: Shape) -> bytes:
    """Return the SSE event that says, in a stream that has begun, that it failed."""
    if shape is Shape.ANTHROPIC:
        return b"event: error\ndata: " + orjson.dumps(_anthropic(error)) + b"\n\n"
    if shape is Shape.RESPONSES:
        # A client that knows the event reads the members beside `type`, one that does not reads `error`.
        detail = {"code": error.get("code"), "message": error.get("message"), "param": error.get("param")}
        data = orjson.dumps({"type": "error", "sequence_number": 0, **detail, "error": error})
        return b"event: error\ndata: " + data + b"\n\n"
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


def retry_headers(retry_after: float | None) -> bytes:
    """Return `Retry-After` in whole seconds, rounded up, and what keeps clients from hammering."""
    if retry_after is None:
        return b""
    seconds = max(1, math.ceil(retry_after))
    text = b"Retry-After: %d\r\n" % seconds
    return text + b"x-should-retry: false\r\n" if seconds > HAMMER_SECONDS else text


def refuse(
    refusal: Refusal,
    shape: Shape,
    *,
    close: bool,
    request_id: bytes = b"",
    head_only: bool = False,
    extra: bytes = b"",
) -> bytes:
    """Return the whole response of a refusal. `head_only` for HEAD, which may have no body."""
    extra += retry_headers(refusal.retry_after)
    if refusal.allow:
        extra += b"Allow: %b\r\n" % refusal.allow.encode()
    extra += refusal.headers
    if request_id:
        extra += b"x-request-id: %b\r\n" % request_id
        if shape is Shape.ANTHROPIC:
            extra += b"request-id: %b\r\n" % request_id
    return whole(
        refusal.status, body(refusal, shape, request_id), extra=extra, close=close, head_only=head_only
    )


def no_content(extra: bytes) -> bytes:
    """Return a response that has no body by its status. `extra` are finished header lines."""
    return b"HTTP/1.1 204 No Content\r\n%b\r\n" % extra


def whole(
    status: int,
    content: bytes,
    *,
    kind: bytes = b"application/json",
    extra: bytes = b"",
    close: bool,
    head_only: bool = False,
) -> bytes:
    """Return a response with a known length. `extra` are finished header lines."""
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n%b" % (
        status,
        REASONS.get(status, b"Unknown"),
        kind,
        len(content),
        extra,
        b"Connection: close\r\n" if close else b"",
        b"" if head_only else content,
    )


def error_of(content: bytes, status: int) -> dict[str, Any]:
    """Turn an engine's error answer into the `error` object of an event, whatever it looks like."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = None
    if isinstance(value, dict):
        inner = value.get("error")
        if isinstance(inner, dict):
            inner.setdefault("code", status)
            return inner
        if isinstance(value.get("message"), str):
            return {
                "message": value["message"],
                "type": value.get("type"),
                "param": None,
                "code": value.get("code"),
            }
    message = f"the engine answered {status}"
    return {"message": message, "type": _TYPES.get(status, "api_error"), "param": None, "code": status}
