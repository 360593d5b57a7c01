"""Who chooses: production's rule, and those that it is compared with.

Each is asked with the index of a request and of the gateway process that it reached, and knows what a process
of its kind can know: production has reports of launchers every 50 ms, vllm-router only its own requests in
flight, the all-knowing one everything.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from torpor.dispatch import Backlog, PodLoad, PodMemory, least_loaded, route, seed_of
from torpor.dispatch.prefix import covered
from torpor.dispatch.router import BOUND

if TYPE_CHECKING:
    from bench.router.world import World


class Chooser(Protocol):
    """Whoever chooses."""

    def choose(self, i: int, gateway: int) -> int:
        """Return the replica for request `i`."""


class RoundRobin:
    """Each process in turn."""

    def __init__(self, world: World) -> None:
        self._turns = [0] * world.gateways
        self._count = world.count

    def choose(self, i: int, gateway: int) -> int:
        """Return the next."""
        self._turns[gateway] += 1
        return self._turns[gateway] % self._count


class Pod:
    """A replica as one gateway process knows it: the parts of the gateway's own endpoint."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seed = seed_of(f"10.0.0.{number}:8000")
        self.memory, self.backlog, self.load_state = PodMemory(), Backlog(), PodLoad()

    @property
    def load(self) -> int:
        """Requests."""
        return self.load_state.load

    @property
    def in_flight(self) -> int:
        """Requests of this process."""
        return self.load_state.in_flight

    @property
    def prompt_tokens_ahead(self) -> int:
        """Tokens."""
        return self.backlog.tokens


class LeastLoaded:
    """`traffic.routing: LeastLoaded`."""

    def __init__(self, world: World) -> None:
        self.world, self._turn = world, 0

    def choose(self, i: int, gateway: int) -> int:
        """Return the one with the fewest."""
        self._turn += 1
        pod = least_loaded(self.world.views[gateway], self._turn)
        assert pod is not None
        return pod.number


class PrefixAware:
    """`traffic.routing: PrefixAware`: production functions, with the bookkeeping of the gateway."""

    def __init__(self, world: World) -> None:
        self.world, self._turn = world, 0

    def choose(self, i: int, gateway: int) -> int:
        """Return `route`'s choice, and learn it."""
        self._turn += 1
        world = self.world
        pods, size = world.views[gateway], world.sizes[i]
        pod = route(pods, pods, world.identities[i], size, turn=self._turn, tokens=world.tokens)
        assert pod is not None
        known = covered(world.identities[i], pod.memory.depth(world.identities[i]), size)
        pod.memory.learn(world.identities[i])
        world.work = max(1, world.tokens(max(0, size - known)))
        return pod.number


class AllKnowing:
    """Knows every cache and every load as they are; under the same bound it takes the longest match, and of
    those within a block of it the one with the fewest requests.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def choose(self, i: int, gateway: int) -> int:
        """Return the replica with the most of the prompt."""
        replicas = self.world.replicas
        loads, known = replicas.loads(), replicas.known(i)
        most = max(1, math.ceil(BOUND * (sum(loads) + 1) / len(loads)))
        below = [r for r in range(len(loads)) if loads[r] < most]
        longest = max(known[r] for r in below) - replicas.machine.hashed
        return min((r for r in below if known[r] >= longest), key=lambda r: (loads[r], -known[r]))


class CacheAware:
    """vllm-router's policy of that name, as its source has it, with the defaults of its command.

    Where loads (own requests in flight) differ by more than 64 and by more than half, the least loaded. Else,
    where more than 0.3 of the text is in the tree of earlier texts, whoever was first to get the deepest part
    that matches; else the least loaded. The tree is kept by blocks here, since the texts are made of blocks.
    """

    THRESHOLD, ABSOLUTE, RELATIVE = 0.3, 64, 1.5

    def __init__(self, world: World) -> None:
        self.world = world
        self._trees: list[dict[int, int]] = [{} for _ in range(world.gateways)]

    def choose(self, i: int, gateway: int) -> int:
        """Return its choice, and learn it."""
        loads = [pod.load_state.in_flight for pod in self.world.views[gateway]]
        tree, blocks = self._trees[gateway], self.world.blocks(i)
        most, fewest = max(loads), min(loads)
        chosen = loads.index(fewest)
        if not (most - fewest > self.ABSOLUTE and most > self.RELATIVE * fewest):
            depth = next((place for place, block in enumerate(blocks) if block not in tree), len(blocks))
            if depth / max(1, len(blocks)) > self.THRESHOLD:
                chosen = tree[blocks[depth - 1]]
        for block in blocks:
            tree.setdefault(block, chosen)
        return chosen


__all__ = ["AllKnowing", "CacheAware", "Chooser", "LeastLoaded", "Pod", "PrefixAware", "RoundRobin"]
