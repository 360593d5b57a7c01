"""The paths that the gateway answers, and what is special about each.

The list is an allow-list, compared as it is: no decoding, no normalisation, no prefixes. What vLLM serves for
its operators (`/sleep`, `/metrics`, `/load`, LoRA loading …) is not in it and so does not exist from outside.
Paths that refer to state inside one engine (`/v1/responses/ID`) are left out too: another pod would not know
the id.
"""

from dataclasses import dataclass
from enum import Enum


class Shape(Enum):
    """How errors look on a path."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    RESPONSES = "responses"


class Body(Enum):
    """Where a request names its model."""

    JSON = "json"
    MULTIPART = "multipart"


@dataclass(frozen=True, slots=True)
class Operation:
    """One path that engines serve. `ends` are the SSE lines of which one must close a complete stream.
    `works`: an answer takes steps of the engine; where it does not, no tokens are counted.
    """

    path: str
    body: Body = Body.JSON
    shape: Shape = Shape.OPENAI
    ends: tuple[bytes, ...] = ()
    works: bool = True


DONE = (b"data: [DONE]",)
OPERATIONS = {
    operation.path: operation
    for operation in (
        Operation("/v1/chat/completions", ends=DONE),
        Operation("/v1/completions", ends=DONE),
        Operation(
            "/v1/responses",
            shape=Shape.RESPONSES,
            ends=(
                b"event: response.completed",
                b"event: response.incomplete",
                b"event: response.failed",
                *DONE,
            ),
        ),
        Operation("/v1/messages", shape=Shape.ANTHROPIC, ends=(b"event: message_stop", *DONE)),
        Operation("/v1/messages/count_tokens", shape=Shape.ANTHROPIC, works=False),
        Operation("/v1/embeddings"),
        Operation("/v1/audio/transcriptions", body=Body.MULTIPART, ends=DONE),
        Operation("/v1/audio/translations", body=Body.MULTIPART, ends=DONE),
        Operation("/tokenize", works=False),
        Operation("/detokenize", works=False),
        Operation("/pooling"),
        Operation("/classify"),
        Operation("/score"),
        Operation("/v1/score"),
        Operation("/rerank"),
        Operation("/v1/rerank"),
        Operation("/v2/rerank"),
    )
}
MODELS = "/v1/models"
PROBES = frozenset({"/healthz", "/readyz"})
LOCAL = PROBES | {MODELS}


def shape_of(path: str) -> Shape:
    """Return the shape of errors on `path`. One that does not exist answers like OpenAI, below Anthropic's
    like these.
    """
    operation = OPERATIONS.get(path)
    if operation:
        return operation.shape
    return Shape.ANTHROPIC if path.startswith("/v1/messages/") else Shape.OPENAI


def allow(method: str) -> str:
    """Return what the Allow header says where `method` is the one method."""
    return "GET, HEAD, OPTIONS" if method == "GET" else f"{method}, OPTIONS"


def allowed_method(path: str) -> str | None:
    """Return the one method of `path`; None where there is no such path."""
    if path in OPERATIONS:
        return "POST"
    if path in LOCAL or path.startswith(MODELS + "/"):
        return "GET"
    return None
