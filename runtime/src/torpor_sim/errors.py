"""Refusals in vLLM's words and shapes.

vLLM answers `{"error": {"message", "type", "param", "code"}}` everywhere, but the type is spelled in two
ways: errors of its own have the name of a class ("BadRequestError"), errors of the web framework and of
admission have the phrase of the status ("Bad Request"). Clients and gateways match on these, so they are
kept.
"""

from __future__ import annotations

import json
from http import HTTPStatus

import orjson


class ApiError(Exception):
    """A request that is refused: an HTTP status and vLLM's four fields."""

    def __init__(self, status: int, message: str, kind: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or HTTPStatus(status).phrase
        self.param = param

    @property
    def fields(self) -> dict[str, dict[str, object]]:
        """The body as a value."""
        return {
            "error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status},
        }

    @property
    def body(self) -> bytes:
        """The body of a whole answer."""
        return orjson.dumps(self.fields)

    @property
    def event(self) -> bytes:
        """The SSE event of a stream that had begun; vLLM writes this one with spaces."""
        return b"data: " + json.dumps(self.fields).encode() + b"\n\n"


def unknown_model(name: str, served: list[str]) -> ApiError:
    """404 for a model that is not served."""
    message = f"The model `{name}` does not exist. Valid aliases: {', '.join(served)}."
    return ApiError(404, message, "NotFoundError", "model")


def too_long(max_model_len: int) -> ApiError:
    """400 for a prompt that leaves no room for an answer; vLLM stops counting one above the limit."""
    count = max_model_len + 1
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains at "
        f"least {count} input tokens, which exceeds this limit even without any output tokens. Please reduce "
        f"the length of the input prompt. (parameter=input_tokens, value={count})"
    )
    return ApiError(400, message, "BadRequestError", "input_tokens")


def answer_too_long(max_tokens: int, max_model_len: int) -> ApiError:
    """400 for more tokens than the context holds."""
    message = f"max_tokens={max_tokens} cannot be greater than max_model_len={max_model_len}."
    return bad_value(f"{message} Please request fewer output tokens.", "max_tokens", max_tokens)


def _summary(value: object) -> object:
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return value


def invalid_field(name: str, kind: str, problem: str, value: object, context: object = None) -> ApiError:
    """400 of the request schema: pydantic's kind of error and its words, the field, the value."""
    where = f"body.{name}" if name else "body"
    detail = {"type": kind, "loc": where, "msg": problem, "input": _summary(value)}
    if context is not None:
        detail["ctx"] = context
    return ApiError(400, f"1 validation error:\n  {detail}", param=where)


def missing_field(name: str, body: dict[str, object]) -> ApiError:
    """400 for a required field."""
    return invalid_field(name, "missing", "Field required", body)


def bad_value(message: str, param: str, value: object = None) -> ApiError:
    """400 of vLLM's own checks."""
    suffix = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return ApiError(400, f"{message} ({suffix})", "BadRequestError", param)


_ELSEWHERE = "Please try again later or on a different instance."


def busy() -> ApiError:
    """503 of --max-num-queued-reqs; vLLM sends no Retry-After."""
    return ApiError(503, f"The engine is currently busy and cannot accept new requests. {_ELSEWHERE}")


def backlog_full() -> ApiError:
    """503 of --max-num-queued-tokens."""
    return ApiError(503, f"The engine has reached its prefill token backlog limit. {_ELSEWHERE}")


def shut_down() -> ApiError:
    """500 of a draining engine."""
    return ApiError(500, "cannot schedule new futures after shutdown", "InternalServerError")


def broken() -> ApiError:
    """500 for a request that this server cannot cope with."""
    return ApiError(500, "the simulated engine failed; see its log", "InternalServerError")
