"""The beginning of a prompt out of a request's body, in the order in which an engine's template writes it.

The system prompt and the tools stand first whatever the order of the members, then the messages, each with
its role. It is text, not the template's own: equal beginnings here are equal beginnings there, and that is
all that is asked. Pictures and sound count by their addresses or bytes. Only as much is taken as is looked
at; nothing is encoded twice.
"""

from collections.abc import Iterator
from typing import Any

import orjson
from torpor.dispatch.prefix import LIMIT

_ROLE, _END = b"\x1e", b"\x1f"
_FIRST = ("system", "instructions", "tools")  # of Messages, of Responses, of all
_THEN = ("messages", "prompt", "input", "query", "text_1", "texts", "documents")


def beginning(request: dict[str, Any]) -> bytes:
    """Return the first 64 KiB, or all, of the text that a JSON request has an engine compute."""
    found: list[bytes] = []
    size = 0
    for part in _parts(request):
        found.append(part)
        size += len(part)
        if size >= LIMIT:
            break
    return b"".join(found)[:LIMIT]


def _parts(request: dict[str, Any]) -> Iterator[bytes]:
    for name in (*_FIRST, *_THEN):
        value = request.get(name)
        if value is None:
            continue
        yield from _texts(value)
        yield _END


def _texts(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        yield _encoded(value)
    elif not isinstance(value, list):
        yield orjson.dumps(value)
    elif value and isinstance(value[0], int):  # token ids; a hundred thousand of them are no use
        yield orjson.dumps(value[: LIMIT // 2])
    else:
        for item in value:
            if isinstance(item, dict) and "role" in item:
                yield from _message(item)
            elif isinstance(item, str):
                yield _encoded(item)
                yield _END
            else:
                yield orjson.dumps(item)


def _message(message: dict[str, Any]) -> Iterator[bytes]:
    role, content = message["role"], message.get("content")
    yield _encoded(role) if isinstance(role, str) else orjson.dumps(role)
    yield _ROLE
    if isinstance(content, str):
        yield _encoded(content)
    elif isinstance(content, list):
        for part in content:
            yield from _words(part)
    if len(message) > 2:
        for name in ("name", "tool_calls", "tool_call_id"):
            if name in message:
                yield orjson.dumps(message[name])
    yield _END


def _words(part: Any, depth: int = 3) -> Iterator[bytes]:
    """The texts of a part of a message, an address or bytes of a picture among them."""
    if isinstance(part, str):
        yield _encoded(part)
    elif isinstance(part, dict) and depth:
        for value in part.values():
            yield from _words(value, depth - 1)


def _encoded(text: str) -> bytes:
    return text[:LIMIT].encode("utf-8", "replace")
