"""What an engine is asked to do, and how far it has come.

A sequence is one prompt and the tokens that follow it. The model does not invent text: the caller says how
many tokens will come and why the last one is the last, and the model says when.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence as Items


class State(Enum):
    """Where a sequence is."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """One request to the engine.

    prompt_tokens: length of the prompt, at least 1. output_tokens: tokens to generate; 0 means prefill only
    (an embedding). block_hashes: chain hashes of the full blocks of prompt (and output, where known), for the
    prefix cache; may be empty. finish_reason: what the last token means ("stop", "length"). tag: the caller's
    own. Times are seconds on the driver's clock, None until they happen.
    """

    prompt_tokens: int
    output_tokens: int
    arrived: float
    block_hashes: Items[int] = ()
    finish_reason: str = "length"
    tag: Any = None

    state: State = State.WAITING
    generated: int = 0
    computed: int = 0  # tokens whose keys and values are in the cache
    cached: int = -1  # of the prompt, found in the prefix cache at first admission; -1 before that
    preemptions: int = 0
    private_blocks: int = 0
    held_hashes: list[int] = field(default_factory=list)
    scheduled: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    finished: float | None = None

    def __post_init__(self) -> None:
        if self.prompt_tokens < 1:
            raise ValueError(f"prompt_tokens={self.prompt_tokens}: a prompt has at least one token")
        if self.output_tokens < 0:
            raise ValueError(f"output_tokens={self.output_tokens}: must not be negative")

    @property
    def total_tokens(self) -> int:
        """Tokens that must be in the cache before the next one can be generated."""
        return self.prompt_tokens + self.generated

    @property
    def held_blocks(self) -> int:
        """Blocks of the KV cache that this sequence holds, shared ones included."""
        return self.private_blocks + len(self.held_hashes)

    @property
    def in_prefill(self) -> bool:
        """No token has been generated yet."""
        return self.generated == 0
