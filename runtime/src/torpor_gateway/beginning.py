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
_ORDER = (*_FIRST, "messages", "prompt", "input", "query", "text_1", "texts", "documents")
_ALSO = ("name", "tool_calls", "tool_call_id")  # of a message
_RARE = frozenset(_ORDER) - {"messages"}


def beginning(request: dict[str, Any]) -> bytes:
    """Return the first 64 KiB, or all, of the text that a JSON request has an engine compute."""
    messages = request.get("messages")
    if messages and type(messages) is list and _RARE.isdisjoint(request):
        text = _plain(messages)
        if text is not None:
            return text
    found: list[bytes] = []
    size = 0
    for name in _ORDER:
        value = request.get(name)
        if value is None:
            continue
        for part in _texts(value):
            found.append(part)
            size += len(part)
            if size >= LIMIT:
                return b"".join(found)[:LIMIT]
        found.append(_END)
        size += 1
    return b"".join(found)[:LIMIT]


def _plain(messages: list[Any]) -> bytes | None:
    """Return the beginning of messages that are a role and a text each, as nearly all are; None: they are
    not. The general way comes to the same.
    """
    parts: list[str] = []
    size = 0
    try:
        for message in messages:
            content = message["content"]
            parts += (message["role"], "\x1e", content, "\x1f")
            size += len(content)
            if len(message) != 2:
                return None
            if size >= LIMIT:
                break
        else:
            parts.append("\x1f")
        return "".join(parts)[:LIMIT].encode("utf-8", "replace")[:LIMIT]
    except (TypeError, KeyError):  # something among them is not what it was taken for
        return None


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
                yield _message(item)
            elif isinstance(item, str):
                yield _encoded(item) + _END
            else:
                yield orjson.dumps(item)


def _message(message: dict[str, Any]) -> bytes:
    role, content = message["role"], message.get("content")
    found = [_encoded(role) if isinstance(role, str) else orjson.dumps(role), _ROLE]
    if isinstance(content, str):
        found.append(_encoded(content))
    elif isinstance(content, list):
        found += _bounded(word for part in content for word in _words(part))
    if len(message) > 2:
        found += [orjson.dumps(message[name]) for name in _ALSO if name in message]
    return b"".join((*found, _END))


def _bounded(words: Iterator[bytes]) -> Iterator[bytes]:
    """As many of them as are looked at."""
    size = 0
    for word in words:
        yield word
        size += len(word)
        if size >= LIMIT:
            return


def _words(part: Any, depth: int = 3) -> Iterator[bytes]:
    """The texts of a part of a message, an address or bytes of a picture among them."""
    if isinstance(part, str):
        yield _encoded(part)
    elif isinstance(part, dict) and depth:
        for value in part.values():
            yield from _words(value, depth - 1)


def _encoded(text: str) -> bytes:
    return text[:LIMIT].encode("utf-8", "replace")
