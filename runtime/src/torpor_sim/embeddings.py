"""/v1/embeddings: a prefill without an answer.

The vector is a fixed function of the words (a sum of one direction per word, scaled to length one), so equal
texts are equal and texts that share words are nearer than those that do not. It carries no meaning beyond
that.
"""

from __future__ import annotations

import array
import base64
import math
import random
import secrets
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from torpor.simulate.kv_cache import hash_blocks
from torpor.simulate.sequences import Sequence, State

from torpor_sim import bodies, errors
from torpor_sim.requests import parse_body, text_inputs

if TYPE_CHECKING:
    from torpor_sim.app import App
    from torpor_sim.http import Exchange, Request

MAX_WORDS = 512


@lru_cache(maxsize=4096)
def _direction(word: bytes, size: int) -> tuple[float, ...]:
    rng = random.Random(word)  # noqa: S311 - a fixed direction, not a secret
    return tuple(rng.uniform(-1.0, 1.0) for _ in range(size))


def vector(pieces: list[bytes], size: int) -> list[float]:
    """The embedding of a text, length one; only the first 512 pieces count."""
    total = [0.0] * size
    for piece in pieces[:MAX_WORDS]:
        total = [a + b for a, b in zip(total, _direction(piece.strip().lower(), size), strict=True)]
    norm = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / norm for value in total]


def as_base64(values: list[float]) -> str:
    """Little-endian 32-bit floats, as OpenAI's clients ask for by default."""
    packed = array.array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


class _Batch:
    """The inputs of one request; listener of their sequences."""

    def __init__(
        self, app: App, exchange: Exchange, model: str, inputs: list[list[bytes]], *, base64_out: bool
    ) -> None:
        self._app, self._exchange, self._model, self._inputs = app, exchange, model, inputs
        self._base64 = base64_out
        self.max_tokens = 0
        block = app.settings.limits.block_size
        now = app.engine.now()
        self.sequences = [
            Sequence(len(pieces), 0, now, hash_blocks(pieces, block), "stop", self) for pieces in inputs
        ]
        exchange.on_gone = self.abandon
        app.others += 1
        for sequence in self.sequences:
            app.engine.submit(sequence)

    def on_token(self, sequence: Sequence) -> None:
        del sequence
        if any(sequence.state is not State.FINISHED for sequence in self.sequences):
            return
        self._app.embedded()
        size = self._app.settings.embedding_size
        vectors: list[object] = []
        for pieces in self._inputs:
            values = vector(pieces, size)
            vectors.append(as_base64(values) if self._base64 else values)
        tokens = sum(map(len, self._inputs))
        identifier = f"embd-{secrets.token_hex(16)}"
        self._exchange.respond(
            200, bodies.embedding_answer(identifier, self._model, int(time.time()), vectors, tokens)
        )

    def abandon(self) -> None:
        self._app.embedded()
        for sequence in self.sequences:
            self._app.engine.abort(sequence)


def embed(app: App, request: Request, exchange: Exchange) -> None:
    """Answer an embedding request."""
    body = parse_body(request.body, request.headers.get("content-type", ""))
    inputs = text_inputs(body, "input")
    model = app.check_model(str(body.get("model") or ""))
    encoding = body.get("encoding_format") or "float"
    if encoding not in {"float", "base64"}:
        raise errors.invalid_field(
            "encoding_format", "literal_error", "Input should be 'float' or 'base64'", encoding
        )
    for pieces in inputs:
        app.check_length(len(pieces))
    if app.strike(exchange) is None or app.refuse_if_draining(exchange):
        return
    app.admit(len(inputs))
    _Batch(app, exchange, model, inputs, base64_out=encoding == "base64")
