"""One vLLM replica as a scheduler sees it: a queue, a batch, a cache, and steps that take time.

Each step first serves the sequences that run (one token for a decode, the next slice of a chunked prefill),
then admits from the queue in order of arrival while the token budget, the number of sequences and free blocks
allow. When a running sequence finds no block, the one admitted last loses its cache, goes to the head of the
queue and prefills again (recompute). That is vLLM's V1 scheduler with its default policy, chunked prefill and
prefix caching on, and with the first-come order it keeps among the waiting.

The model is driven: `begin(now)` decides a step and says how long it takes, `finish(now)` gives what it
produced. Between the two, requests may arrive and leave; they count from the next step on, as in vLLM. Time
is whatever the caller's clock says, in seconds. It refuses to model: priorities, LoRA, speculative decoding,
KV transfer, several engines.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torpor.simulate.kv_cache import KVCache
from torpor.simulate.sequences import Sequence, State

if TYPE_CHECKING:
    from torpor.simulate.profiles import StepCost


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Sizes of a replica. `kv_tokens` is rounded down to whole blocks."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    kv_tokens: int = 65_536
    block_size: int = 16
    prefix_caching: bool = True

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.kv_tokens < self.block_size:
            raise ValueError(
                f"kv_tokens={self.kv_tokens}: must hold at least one block of {self.block_size} tokens"
            )


@dataclass(slots=True)
class Step:
    """A step under way: what it computes for whom (tokens per sequence), and how long it takes in seconds."""

    work: list[tuple[Sequence, int]]
    seconds: float
    prompt_tokens: int
    admitted: list[Sequence] = field(default_factory=list)
    preempted: int = 0


@dataclass(slots=True)
class Outcome:
    """What a step produced.

    produced: sequences with a new token (an embedding: a finished prefill). first: those whose first it is.
    gaps: seconds since the previous token of each of the others. finished: those that are done.
    computed_tokens: all tokens the step computed, prompts included.
    """

    produced: list[Sequence] = field(default_factory=list)
    first: list[Sequence] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    finished: list[Sequence] = field(default_factory=list)
    generated_tokens: int = 0
    computed_tokens: int = 0


class EngineModel:
    """The state of one replica. Not thread-safe; O(running) per step."""

    def __init__(self, limits: EngineLimits, cost: StepCost) -> None:
        self.limits = limits
        self.cost = cost
        self.kv = KVCache(limits.kv_tokens // limits.block_size, prefix_caching=limits.prefix_caching)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.preemptions = 0
        self.prefix_queries = 0  # tokens looked up in the prefix cache
        self.prefix_hits = 0  # of these, found
        self._step: Step | None = None

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.running and not self.waiting

    @property
    def queued_prompt_tokens(self) -> int:
        """Prompt tokens of requests that have not produced a token yet: vLLM's prefill backlog."""
        waiting = sum(s.prompt_tokens for s in self.waiting if s.in_prefill)
        return waiting + sum(s.prompt_tokens for s in self.running if s.in_prefill)

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of that many tokens could ever be held by the empty cache."""
        return -(-tokens // self.limits.block_size) <= self.kv.total_blocks

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence. ValueError when the whole cache could never hold it: it would wait for ever."""
        if not self.fits(sequence.prompt_tokens + sequence.output_tokens):
            raise ValueError(
                f"sequence of {sequence.prompt_tokens} + {sequence.output_tokens} tokens: the KV cache holds "
                f"{self.kv.total_blocks * self.limits.block_size}; lower max_model_len or raise the cache"
            )
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence, now: float) -> None:
        """Drop a sequence wherever it is; its blocks are free at once. A finished one is left alone."""
        if sequence.state is State.FINISHED:
            return
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.state = State.FINISHED
        sequence.finish_reason = "abort"
        sequence.finished = now

    def begin(self, now: float) -> Step | None:
        """Decide the next step; None when there is nothing to do. RuntimeError when one is under way."""
        if self._step is not None:
            raise RuntimeError("begin() during a step: call finish() first")
        budget = self.limits.max_num_batched_tokens
        step = Step([], 0.0, 0)
        budget = self._continue_running(step, budget)
        if not step.preempted:
            self._admit(step, budget, now)
        if not step.work:
            return None
        kv_tokens = 0
        for sequence, tokens in step.work:
            kv_tokens += sequence.computed
            if sequence.generated == 0 or tokens > 1:
                step.prompt_tokens += tokens
        step.seconds = self.cost.seconds(len(step.work), kv_tokens, step.prompt_tokens)
        self._step = step
        return step

    def finish(self, now: float) -> Outcome:
        """End the step under way at time `now`. RuntimeError when there is none."""
        step = self._step
        if step is None:
            raise RuntimeError("finish() without a step: call begin() first")
        self._step = None
        outcome = Outcome()
        for sequence, tokens in step.work:
            if sequence.state is not State.RUNNING:
                continue  # aborted during the step
            sequence.computed += tokens
            outcome.computed_tokens += tokens
            self._publish(sequence)
            if sequence.computed < sequence.total_tokens:
                continue  # more prefill to come
            if sequence.last_token is None:
                sequence.first_token = now
                outcome.first.append(sequence)
            else:
                outcome.gaps.append(now - sequence.last_token)
            sequence.last_token = now
            if sequence.generated < sequence.output_tokens:
                sequence.generated += 1
                outcome.generated_tokens += 1
            outcome.produced.append(sequence)
            if sequence.generated >= sequence.output_tokens:
                self.running.remove(sequence)
                self._release(sequence)
                sequence.state = State.FINISHED
                sequence.finished = now
                outcome.finished.append(sequence)
        return outcome

    def _continue_running(self, step: Step, budget: int) -> int:
        index = 0
        while index < len(self.running) and budget > 0:
            sequence = self.running[index]
            tokens = min(sequence.total_tokens - sequence.computed, budget)
            while not self._reserve(sequence, tokens):
                victim = self.running[-1]
                self._preempt(victim)
                step.preempted += 1
                if victim is sequence:
                    return budget
            step.work.append((sequence, tokens))
            budget -= tokens
            index += 1
        return budget

    def _admit(self, step: Step, budget: int, now: float) -> None:
        while self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            sequence = self.waiting[0]
            # At least one token is always computed: its logits give the next one.
            reusable = (sequence.total_tokens - 1) // self.limits.block_size
            matched = self.kv.match(sequence.block_hashes, reusable)
            hashes = list(sequence.block_hashes[:matched])
            start = matched * self.limits.block_size
            tokens = min(sequence.total_tokens - start, budget)
            fresh = -(-(start + tokens) // self.limits.block_size) - matched
            if fresh + self.kv.claimable(hashes) > self.kv.free_blocks:
                return
            self.kv.claim(hashes)
            self.kv.take(fresh)
            sequence.held_hashes = hashes
            sequence.private_blocks = fresh
            sequence.computed = start
            if sequence.cached < 0:
                sequence.cached = start
            if sequence.preemptions == 0 and self.kv.prefix_caching:
                self.prefix_queries += sequence.total_tokens
                self.prefix_hits += start
            self.waiting.popleft()
            sequence.state = State.RUNNING
            if sequence.scheduled is None:
                sequence.scheduled = now
            self.running.append(sequence)
            step.admitted.append(sequence)
            step.work.append((sequence, tokens))
            budget -= tokens

    def _reserve(self, sequence: Sequence, tokens: int) -> bool:
        needed = -(-(sequence.computed + tokens) // self.limits.block_size) - sequence.held_blocks
        if needed <= 0:
            return True
        if not self.kv.take(needed):
            return False
        sequence.private_blocks += needed
        return True

    def _publish(self, sequence: Sequence) -> None:
        full = sequence.computed // self.limits.block_size
        held = len(sequence.held_hashes)
        # Published in order, without gaps: a block that stays private because another sequence published it
        # first ends the run, so that `held_hashes` remains a prefix.
        while held < min(full, len(sequence.block_hashes)) and self.kv.publish(sequence.block_hashes[held]):
            sequence.held_hashes.append(sequence.block_hashes[held])
            sequence.private_blocks -= 1
            held += 1

    def _preempt(self, sequence: Sequence) -> None:
        self.running.pop()
        self._release(sequence)
        sequence.state = State.WAITING
        sequence.computed = 0
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(sequence)

    def _release(self, sequence: Sequence) -> None:
        self.kv.release(sequence.private_blocks, sequence.held_hashes)
        sequence.private_blocks = 0
        sequence.held_hashes = []
