"""Reading the bodies of generation requests: what is asked, or why it is refused.

Only the fields that change the simulation are read; the others of the OpenAI API are accepted and mean
nothing here. What would change the shape of the answer in a way that is not simulated (n above 1) is refused
rather than ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson

from torpor_sim import errors
from torpor_sim.text import piece_of, tokenize

MAX_PROMPTS = 256


@dataclass(slots=True)
class Ask:
    """A generation request. prompts: pieces of each prompt, one for chat. max_tokens None: as long as the
    context.
    """

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
    except orjson.JSONDecodeError:
        value = _explain(body)
    if not isinstance(value, dict):
        problem = "Input should be a valid dictionary or object to extract fields from"
        raise errors.invalid_field("", "model_attributes_type", problem, value)
    return value


def _explain(body: bytes) -> Any:
    """Fail in the words of the standard library's parser, which is the one the real server uses.

    It takes a few things that orjson refuses (NaN, lone surrogates), and so does the real server.
    """
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        context = {"error": error.msg}
        raise errors.invalid_field(str(error.pos), "json_invalid", "JSON decode error", {}, context) from None
    except (UnicodeDecodeError, RecursionError):
        raise errors.ApiError(400, "There was an error parsing the body") from None


def _integer(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str):
        problem = "Input should be a valid integer, unable to parse string as an integer"
        raise errors.invalid_field(name, "int_parsing", problem, value)
    raise errors.invalid_field(name, "int_type", "Input should be a valid integer", value)


def _limit(body: dict[str, Any], *names: str) -> int | None:
    """The first of several limits that is given; at least one token."""
    for name in names:
        value = _integer(body, name)
        if value is not None and value < 1:
            raise errors.bad_value(f"max_tokens must be at least 1, got {value}.", "max_tokens", value)
        if value is not None:
            return value
    return None


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise errors.invalid_field(name, "bool_type", "Input should be a valid boolean", value)
    return bool(value)


def content_text(content: Any) -> str:
    """The text of a message: a string, or the text parts of a list (images and sound count nothing)."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    raise errors.invalid_field("messages", "string_type", "content must be text or a list of parts", content)


def chat_prompt(body: dict[str, Any]) -> str:
    """The messages in a ChatML template, ready for the assistant's turn."""
    messages = body.get("messages")
    if messages is None:
        raise errors.missing_field("messages", body)
    if not isinstance(messages, list):
        raise errors.invalid_field("messages", "list_type", "Input should be a valid list", messages)
    for position, item in enumerate(messages):
        if not isinstance(item, dict) or "role" not in item:
            raise errors.invalid_field(f"messages.{position}", "missing", "a message has a role", item)
    if not messages:
        problem = "Cannot apply chat template to an empty conversation. Provide at least one message."
        raise errors.ApiError(400, problem, "BadRequestError")
    turns = [
        f"<|im_start|>{item['role']}\n{content_text(item.get('content'))}<|im_end|>\n" for item in messages
    ]
    return "".join(turns) + "<|im_start|>assistant\n"


def prompts(body: dict[str, Any]) -> list[list[bytes]]:
    """The prompts of /v1/completions."""
    if not body.get("prompt"):
        raise errors.bad_value("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    return text_inputs(body, "prompt")


def text_inputs(body: dict[str, Any], name: str) -> list[list[bytes]]:
    """Texts in pieces: of one text, of ids, or of a list of either."""
    value = body.get(name)
    if value is None:
        raise errors.missing_field(name, body)
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
        value = [value]
    expected = "Input should be text, token ids, or a list of either"
    if not isinstance(value, list) or not value:
        raise errors.invalid_field(name, "string_type", expected, value)
    if len(value) > MAX_PROMPTS:
        raise errors.invalid_field(
            name, "too_long", f"the simulated engine takes at most {MAX_PROMPTS}", value
        )
    found = []
    for position, item in enumerate(value):
        if isinstance(item, str):
            pieces = tokenize(item)
        elif isinstance(item, list) and all(isinstance(token, int) for token in item):
            pieces = [piece_of(token) or str(token).encode() for token in item]
        else:
            raise errors.invalid_field(f"{name}.{position}", "string_type", expected, item)
        if not pieces:
            raise errors.bad_value("The decoder prompt cannot be empty", name)
        found.append(pieces)
    return found


def _stop_words(body: dict[str, Any]) -> list[str]:
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(word, str) for word in stop):
        raise errors.invalid_field("stop", "list_type", "Input should be a string or a list of strings", stop)
    return [word for word in stop if word]


def read_ask(body: dict[str, Any], *, chat: bool) -> Ask:
    """A chat or completion request; ApiError names what is wrong."""
    stream = _flag(body, "stream")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise errors.invalid_field(
            "stream_options", "dict_type", "Input should be a valid dictionary", options
        )
    if options and not stream:
        raise errors.bad_value("Stream options can only be defined when `stream=True`.", "stream_options")
    if (count := _integer(body, "n")) not in {None, 1}:
        raise errors.bad_value("the simulated engine gives one answer per prompt: n must be 1.", "n", count)
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise errors.invalid_field("model", "string_type", "Input should be a valid string", model)
    limit = _limit(body, "max_completion_tokens", "max_tokens") if chat else _limit(body, "max_tokens") or 16
    return Ask(
        chat=chat,
        model=model or "",
        prompts=[tokenize(chat_prompt(body))] if chat else prompts(body),
        max_tokens=limit,
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        continuous_usage=_flag(options, "include_usage") and _flag(options, "continuous_usage_stats"),
        ignore_eos=_flag(body, "ignore_eos"),
        stop=_stop_words(body),
    )
