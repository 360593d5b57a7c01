"""A look into a request's body for the two things the gateway needs: which model, and whether to stream.

The body is parsed once and thrown away; what goes to the engine are the client's own bytes. Parsing the whole
of it is what makes the look safe: a search for `"model":` would find one inside a prompt. A later member of
the same name wins, as it does in the engine's parser. The price is memory, so the number of values is bounded
(counted by separators, those inside of texts too: a text that has a million is longer than any context).
"""

import re
from typing import Any

import orjson

from torpor_gateway.answers import Refusal
from torpor_gateway.surface import Body

_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
# Clients put `name` first; looked for behind other parameters it could be found inside a file's name.
_FIELD = re.compile(
    rb'content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="?(model|stream)"?(?=[\s;]|\Z)', re.IGNORECASE
)
_MAX_VALUES = 1_000_000  # of a JSON body; each becomes an object of up to 90 bytes for the length of the look
_MAX_PARTS = 100
_MAX_VALUE = 1024


def peek(body: bytes, kind: Body, content_type: bytes, content_encoding: bytes) -> tuple[str | None, bool]:
    """Return (model, stream) of a request's body; None where it names no model. Raises Refusal."""
    return look(body, kind, content_type, content_encoding)[:2]


def look(
    body: bytes, kind: Body, content_type: bytes, content_encoding: bytes
) -> tuple[str | None, bool, dict[str, Any] | None]:
    """Return (model, stream) as `peek` does, and the parsed object; None where it is no JSON."""
    if content_encoding and content_encoding.strip().lower() != b"identity":
        raise Refusal(
            415, "content_encoding", "Content-Encoding: compressed requests are not understood; send it plain"
        )
    if kind is Body.MULTIPART:
        return (*_multipart(body, content_type), None)
    return _json(body)


def _json(body: bytes) -> tuple[str | None, bool, dict[str, Any]]:
    if len(body) > _MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise Refusal(413, "too_many_values", f"the body has more than {_MAX_VALUES} values")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "the body must be a JSON object")
    model = value.get("model")
    if model is not None and not isinstance(model, str):
        raise Refusal(400, "invalid_model", "model: must be a string", param="model")
    return model, value.get("stream") is True, value


def _multipart(body: bytes, content_type: bytes) -> tuple[str | None, bool]:
    match = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith(b"multipart/form-data") or not match:
        raise Refusal(400, "invalid_multipart", "Content-Type: must be multipart/form-data with a boundary")
    delimiter = b"--" + (match[1] or match[2])
    found: dict[bytes, bytes] = {}
    at = body.find(delimiter)
    for _ in range(_MAX_PARTS):
        if at < 0:
            break
        start = at + len(delimiter)
        head_end = body.find(b"\r\n\r\n", start, start + 8192)
        at = body.find(b"\r\n" + delimiter, start)
        if head_end < 0 or at < head_end:
            continue
        field = _FIELD.search(body, start, head_end)
        if field and at - head_end - 4 <= _MAX_VALUE:
            found[field[1].lower()] = body[head_end + 4 : at]
        at += 2
    model = found.get(b"model")
    try:
        return (model.decode() if model is not None else None), found.get(b"stream", b"").lower() in (
            b"true",
            b"1",
        )
    except UnicodeDecodeError:
        raise Refusal(400, "invalid_model", "model: must be UTF-8", param="model") from None
