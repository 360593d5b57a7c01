"""Reading the bodies of generation requests: what is asked, or why it is refused.

Only the fields that change the simulation are read; the others of the OpenAI API are accepted and mean nothing here.
What would change the shape of the answer in a way that is not simulated (n above 1) is refused rather than ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from torpor_sim import errors
from torpor_sim.text import piece_of, tokenize

MAX_PROMPTS = 256


@dataclass(slots=True)
class Ask:
    """A generation request. prompts: pieces of each prompt, one for chat. max_tokens None: as long as the context."""

    chat: bool
    model: str
    prompts: list[list[bytes]]
    max_tokens: int | None
    stream: bool
    include_usage: bool
    continuous_usage: bool
    ignore_eos: bool
    stop: list[str]


def parse_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The JSON object of a request; ApiError 400 for anything else."""
    if content_type.split(";", 1)[0].strip().lower() != "application/json":
        raise errors.ApiError(
            400, "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = {
            "type": "json_invalid",
            "loc": f"body.{error.pos}",
            "msg": "JSON decode error",
            "ctx": str(error),
        }
        raise errors.ApiError(400, f"1 validation error:\n  {detail}", param=f"body.{error.pos}") from None
    if not isinstance(value, dict):
        raise errors.ApiError(400, "1 validation error:\n  the body must be a JSON object", param="body")
    return value


def _integer(body: dict[str, Any], name: str, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.invalid_field(name, "Input should be a valid integer", value)
    if value < least:
        raise errors.bad_value(f"{name} must be at least {least}, got {value}.", name, value)
    return value


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise errors.invalid_field(name, "Input should be a valid boolean", value)
    return bool(value)


def content_text(content: Any) -> str:
    """The text of a message: a string, or the text parts of a list (images and sound count nothing)."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise errors.invalid_field("messages", "content must be a string or a list of parts", str(content)[:80])


def chat_prompt(body: dict[str, Any]) -> str:
    """The messages in a ChatML template, ready for the assistant's turn."""
    messages = body.get("messages")
    if messages is None:
        raise errors.missing_field("messages")
    if not isinstance(messages, list) or not all(
        isinstance(item, dict) and "role" in item for item in messages
    ):
        raise errors.invalid_field(
            "messages", "Input should be a list of messages with a role", str(messages)[:80]
        )
    if not messages:
        raise errors.ApiError(400, "messages must not be empty", "BadRequestError", "messages")
    turns = [
        f"<|im_start|>{item['role']}\n{content_text(item.get('content'))}<|im_end|>\n" for item in messages
    ]
    return "".join(turns) + "<|im_start|>assistant\n"


def text_inputs(body: dict[str, Any], name: str) -> list[list[bytes]]:
    """Prompts of /v1/completions and inputs of /v1/embeddings: text, ids, or a list of either."""
    value = body.get(name)
    if value is None:
        raise errors.missing_field(name)
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
        value = [value]
    if not isinstance(value, list) or not value:
        raise errors.invalid_field(
            name, "Input should be text, token ids, or a list of either", str(value)[:80]
        )
    if len(value) > MAX_PROMPTS:
        raise errors.invalid_field(name, f"at most {MAX_PROMPTS} at once", len(value))
    prompts = []
    for item in value:
        if isinstance(item, str):
            pieces = tokenize(item)
        elif isinstance(item, list) and all(
            isinstance(token, int) and not isinstance(token, bool) for token in item
        ):
            pieces = [piece_of(token) or str(token).encode() for token in item]
        else:
            raise errors.invalid_field(name, "Input should be text or a list of token ids", str(item)[:80])
        if not pieces:
            raise errors.ApiError(400, "The decoder prompt cannot be empty", "BadRequestError", name)
        prompts.append(pieces)
    return prompts


def read_ask(body: dict[str, Any], *, chat: bool) -> Ask:
    """A chat or completion request; ApiError names what is wrong."""
    stream = _flag(body, "stream")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise errors.invalid_field("stream_options", "Input should be a valid dictionary", options)
    if options and not stream:
        raise errors.bad_value(
            "Stream options can only be defined when `stream=True`.", "stream_options", options
        )
    if (count := _integer(body, "n", 1)) not in (None, 1):
        raise errors.bad_value("the simulated engine gives one answer per prompt: n must be 1.", "n", count)
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(word, str) for word in stop):
        raise errors.invalid_field("stop", "Input should be a string or a list of strings", stop)
    limit = _integer(body, "max_completion_tokens", 1) if chat else None
    if limit is None:
        limit = _integer(body, "max_tokens", 1)
    if limit is None and not chat:
        limit = 16
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise errors.invalid_field("model", "Input should be a valid string", model)
    return Ask(
        chat=chat,
        model=model or "",
        prompts=[tokenize(chat_prompt(body))] if chat else text_inputs(body, "prompt"),
        max_tokens=limit,
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        continuous_usage=_flag(options, "include_usage") and _flag(options, "continuous_usage_stats"),
        ignore_eos=_flag(body, "ignore_eos"),
        stop=[word for word in stop if word],
    )
