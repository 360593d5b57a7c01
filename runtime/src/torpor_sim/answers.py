"""The answer to one prompt, known in full before its first token.

Because the words do not depend on anything the engine does, an answer is planned when the request is read:
its pieces come from the ring, its length from the request's limits, the answer's natural end or a stop
string. The engine model then only decides when each token is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torpor_sim.text import Prose, fingerprint

if TYPE_CHECKING:
    from torpor_sim.requests import Ask


@dataclass(slots=True)
class Plan:
    """Token `i` of an answer is `text(i)`; there are `length`, and `reason` and `stop` say why no more."""

    prose: Prose
    start: int
    length: int
    reason: str
    stop: str | None = None
    ends: dict[int, str] = field(default_factory=dict)  # tokens whose text differs from the ring's

    def text(self, index: int) -> str:
        """Text of one token; the end-of-text token and what a stop string takes away are empty."""
        changed = self.ends.get(index)
        return self.prose.piece(self.start, index) if changed is None else changed

    def span(self, first: int, end: int) -> str:
        """Text of several tokens."""
        return "".join(self.text(index) for index in range(first, end))


@dataclass(frozen=True, slots=True)
class Writer:
    """Plans answers. mean_tokens: of those that nothing limits. max_model_len: of prompt and answer."""

    prose: Prose
    mean_tokens: int
    max_model_len: int
    seed: int

    def plan(self, ask: Ask, prompt: list[bytes]) -> Plan:
        """Decide the answer to a prompt that fits into the context with at least one token to spare."""
        key = fingerprint(prompt) ^ (self.seed * 2654435761 & 0xFFFFFFFF)
        room = self.max_model_len - len(prompt)
        limit = room if ask.max_tokens is None else min(ask.max_tokens, room)
        plan = Plan(self.prose, self.prose.start(key), limit, "length")
        if not ask.ignore_eos:
            # One more than the sentences have: the end-of-text token is counted and has no text.
            natural = self.prose.natural_length(key, self.mean_tokens) + 1
            if natural <= limit:
                plan.length, plan.reason = natural, "stop"
                plan.ends[natural - 1] = ""
        if ask.stop:
            _apply_stop(plan, ask.stop)
        return plan


def _apply_stop(plan: Plan, words: list[str]) -> None:
    """End the answer before the first stop string; the token that completes it is the last, as in vLLM."""
    text = ""
    longest = max(map(len, words))
    for index in range(plan.length):
        seen = len(text)
        text += plan.text(index)
        for word in words:
            at = text.find(word, max(0, seen - longest))
            if at < 0:
                continue
            plan.length, plan.reason, plan.stop = index + 1, "stop", word
            # Take the stop string away from the tokens it began in.
            position = 0
            for token in range(index + 1):
                piece = plan.text(token)
                if position + len(piece) > at:
                    plan.ends[token] = piece[: max(0, at - position)]
                position += len(piece)
            return
