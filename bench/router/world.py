"""A trace, replicas, and gateway processes that see of them what real ones see.

Texts are made of the trace's blocks: each stands for 2048 bytes, 4 a token, and goes through the production
identity. Every 50 ms of the trace the processes get the launchers' reports; in between each knows of its own
requests alone, which tell at once when they have their first token and when they are over.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
from torpor.dispatch import identity

from bench.router.replicas import Replicas
from bench.router.rivals import Pod

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.simulate.fleet import Setup
    from torpor.simulate.traces import Trace

    from bench.router.rivals import Chooser

REPORT_SECONDS = 0.05
AFTER = 1e12  # seconds: when everything is over; replicas that idle end at infinity
BYTES_PER_TOKEN = 4


def block_text(block: int, tokens: int) -> bytes:
    """The text of a block: its number decides, and no other block has it."""
    return random.Random(block).randbytes(tokens * BYTES_PER_TOKEN // 2).hex().encode()


def identities(trace: Trace) -> list[tuple[int, ...]]:
    """The identity of every prompt of a trace with hashes, by the production path."""
    assert trace.prefixes is not None
    size, offsets = trace.prefixes.tokens, trace.prefixes.offsets.tolist()
    blocks = trace.prefixes.blocks.tolist()
    most = 65_536 // (size * BYTES_PER_TOKEN) + 1
    texts: dict[int, bytes] = {}
    found = []
    for i, prompt in enumerate(trace.prompt.tolist()):
        mine = blocks[offsets[i] : offsets[i + 1]][:most]
        for block in mine:
            if block not in texts:
                if len(texts) > 20_000:
                    texts.clear()
                texts[block] = block_text(block, size)
        text = b"".join(texts.get(block) or block_text(block, size) for block in mine)
        found.append(identity(text[: prompt * BYTES_PER_TOKEN]))
    return found


class World:
    """One run."""

    def __init__(
        self, trace: Trace, found: list[tuple[int, ...]], setup: Setup, count: int, gateways: int
    ) -> None:
        assert trace.prefixes is not None
        self.trace, self.identities, self.count, self.gateways = trace, found, count, gateways
        self.sizes = [prompt * BYTES_PER_TOKEN for prompt in trace.prompt.tolist()]
        self.replicas = Replicas(trace, setup, count)
        self.views = [[Pod(number) for number in range(count)] for _ in range(gateways)]
        self.work = 1  # tokens that the chosen one has to compute for the request, as the chooser thinks
        self.sent = np.zeros(len(trace), np.int64)
        self._setup = setup
        self._offsets, self._blocks = trace.prefixes.offsets.tolist(), trace.prefixes.blocks.tolist()
        self._given: list[list[int]] = [[] for _ in range(count)]
        self._flying: list[tuple[int, int, int]] = []  # request, gateway, replica
        self._computing: list[tuple[int, int, int, int]] = []  # and tokens
        self._reported = -1.0

    @staticmethod
    def tokens(size: int) -> int:
        """Tokens of so many bytes."""
        return size // BYTES_PER_TOKEN

    def blocks(self, i: int) -> list[int]:
        """The blocks of a prompt."""
        return self._blocks[self._offsets[i] : self._offsets[i + 1]]

    def run(self, make: Callable[[World], Chooser], seed: int = 1) -> None:
        """Let the whole trace pass; requests reach the gateway processes at random."""
        chooser, draws = make(self), random.Random(seed)
        for i, now in enumerate(self.trace.arrival.tolist()):
            tick = math.floor(now / REPORT_SECONDS) * REPORT_SECONDS
            if tick > self._reported:
                self._pass(tick)
                self._report()
                self._reported = tick
            self._pass(now)
            gateway = draws.randrange(self.gateways)
            self.work = max(1, int(self.trace.prompt[i]))
            r = chooser.choose(i, gateway)
            self.replicas.give(i, r)
            self.sent[i] = r
            self._given[r].append(i)
            view = self.views[gateway][r]
            view.load_state.dispatched()
            view.backlog.sent(self.work)
            self._flying.append((i, gateway, r))
            self._computing.append((i, gateway, r, self.work))
        self.replicas.advance(AFTER)

    def _pass(self, now: float) -> None:
        self.replicas.advance(now)
        requests = self.replicas.requests
        through = requests["first"][[entry[0] for entry in self._computing]] <= now
        for (_, gateway, r, work), over in zip(self._computing, through.tolist(), strict=True):
            if over:
                self.views[gateway][r].backlog.through(work)
        self._computing = [e for e, over in zip(self._computing, through.tolist(), strict=True) if not over]
        ended = requests["finish"][[entry[0] for entry in self._flying]] <= now
        for (_, gateway, r), over in zip(self._flying, ended.tolist(), strict=True):
            if over:
                self.views[gateway][r].load_state.finished()
        self._flying = [e for e, over in zip(self._flying, ended.tolist(), strict=True) if not over]

    def _report(self) -> None:
        pods = self.replicas.pods
        prompts = (pods["prompts"] + pods["cached"]).tolist()
        generated, running, waiting = (pods[name].tolist() for name in ("tokens", "running", "waiting"))
        computing = [0] * self.count
        for i, _, r, _ in self._computing:
            computing[r] += int(self.trace.prompt[i])
        for view in self.views:
            for r, pod in enumerate(view):
                pod.load_state.report(running[r], waiting[r], self._setup.max_num_seqs)
                ours = pod.load_state.in_flight
                pod.backlog.report(prompts[r] + computing[r], prompts[r], running[r] + waiting[r], ours)
                pod.memory.advance(prompts[r] + generated[r], self._setup.kv_tokens)
