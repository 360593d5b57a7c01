"""The answer to one prompt, known in full before its first token.

Because the words do not depend on anything the engine does, an answer is planned when the request is read: its pieces
come from the ring, its length from the request's limits, the answer's natural end or a stop string. The engine model
then only decides when each token is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torpor_sim.requests import Ask
from torpor_sim.text import Prose, fingerprint


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


def plan_answer(
    ask: Ask, prompt: list[bytes], prose: Prose, mean_tokens: int, max_model_len: int, seed: int
) -> Plan:
    """Decide the answer to a prompt that fits into the context with at least one token to spare."""
    key = fingerprint(prompt) ^ (seed * 2654435761 & 0xFFFFFFFF)
    room = max_model_len - len(prompt)
    limit = room if ask.max_tokens is None else min(ask.max_tokens, room)
    plan = Plan(prose, prose.start(key), limit, "length")
    if not ask.ignore_eos:
        natural = (
            prose.natural_length(key, mean_tokens) + 1
        )  # and the end-of-text token, counted but without text
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
