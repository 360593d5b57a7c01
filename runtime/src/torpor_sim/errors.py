"""Refusals in vLLM's words and shapes.

vLLM answers `{"error": {"message", "type", "param", "code"}}` everywhere, but the type is spelled in two ways: errors
of its own have the name of a class ("BadRequestError"), errors of the web framework and of admission have the phrase
of the status ("Bad Request"). Clients and gateways match on these, so they are kept.
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


def too_long(prompt_tokens: int, max_model_len: int) -> ApiError:
    """400 for a prompt that leaves no room for an answer."""
    message = (
        f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {prompt_tokens} "
        "input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
        f"prompt. (parameter=input_tokens, value={prompt_tokens})"
    )
    return ApiError(400, message, "BadRequestError", "input_tokens")


def invalid_field(name: str, problem: str, value: object) -> ApiError:
    """400 of the request schema, naming the field."""
    detail = {"type": "value_error", "loc": f"body.{name}", "msg": problem, "input": value}
    return ApiError(400, f"1 validation error:\n  {detail}", param=f"body.{name}")


def missing_field(name: str) -> ApiError:
    """400 for a required field."""
    detail = {"type": "missing", "loc": f"body.{name}", "msg": "Field required"}
    return ApiError(400, f"1 validation error:\n  {detail}", param=f"body.{name}")


def bad_value(message: str, param: str, value: object) -> ApiError:
    """400 of the sampling parameters."""
    return ApiError(400, f"{message} (parameter={param}, value={value})", "BadRequestError", param)


def busy() -> ApiError:
    """503 of --max-num-queued-reqs; vLLM sends no Retry-After."""
    return ApiError(
        503, "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
    )  # fmt: skip


def backlog_full() -> ApiError:
    """503 of --max-num-queued-tokens."""
    return ApiError(
        503,
        "The engine has reached its prefill token backlog limit. Please try again later or on a different instance.",
    )


def shut_down() -> ApiError:
    """500 of a draining engine."""
    return ApiError(500, "cannot schedule new futures after shutdown", "InternalServerError")
