"""The choice of a pod: to whoever knows the prompt's beginning, unless that one has too much to do.

Four rules, in this order:

1. Bounded load. A pod that has more than `BOUND` times the mean of all pods gets nothing, whatever it knows
   (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2017, gives the line:
   load + 1 <= ceil(bound * (total + 1) / pods)). At least one pod is always below it.
2. The longest known beginning. Among the pods that know it about equally well, the one with the fewest
   tokens to compute. A beginning that half of the pods know, such as everybody's system prompt, says nothing
   and does not count.
3. Where nothing is known, two pods by rendezvous hashing of the first part that is new: every gateway process
   finds the same two without talking, and the next turn of the conversation, wherever it comes in, does too.
   The first of the two is taken unless it is more than `PATIENCE` tokens of prompts behind the one with the
   fewest.
4. Else, and where a prompt has no identity, the least to do; of two choices where there is nothing but a
   count of requests, because counts are late and everybody who follows the least runs to the same pod.

Peers weigh a match against the load by a score (the Gateway API's endpoint picker, NVIDIA's Dynamo), leave
affinity altogether while loads differ much (vllm-router and SGLang's cache_aware, AIBrix), or hash a prefix
of fixed length (KubeAI). Their memories are bounded by a number that somebody chose, this one by what the
engine says that it can hold. Nothing here is random: the turn
number is an argument.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from zlib import crc32

from torpor.dispatch.memory import PodMemory
from torpor.dispatch.prefix import covered, key_of

BOUND = 2.0  # times the mean of requests
PATIENCE = 8_000  # tokens
NEARLY = 2_048  # bytes: beginnings that differ by no more are known equally well
_MIX, _MASK = 0x9E37_79B9_7F4A_7C15, (1 << 64) - 1


class Pod(Protocol):
    """What the choice asks of a pod."""

    @property
    def seed(self) -> int:
        """A number of the pod's name, `seed_of`."""

    @property
    def memory(self) -> PodMemory:
        """What it knows."""

    @property
    def load(self) -> int:
        """Requests at the pod."""

    @property
    def prompt_tokens_ahead(self) -> int:
        """Prompt tokens that it has to compute."""


P = TypeVar("P", bound=Pod)


def seed_of(name: str) -> int:
    """Return the number that stands for a pod in rendezvous hashing; the same in every process."""
    return crc32(name.encode()) * _MIX & _MASK


def _rank(seed: int, key: int) -> int:
    mixed = (seed ^ key) * _MIX & _MASK
    mixed = (mixed ^ mixed >> 29) * _MIX & _MASK
    return mixed ^ mixed >> 32


def homes(pods: Sequence[P], key: int) -> tuple[P, P]:
    """Return the first two pods in the order of `key`; the same pod twice where there is one."""
    first = second = pods[0]
    best = runner = -1
    for pod in pods:
        rank = _rank(pod.seed, key)
        if rank > best:
            first, second, best, runner = pod, first, rank, best
        elif rank > runner:
            second, runner = pod, rank
    return first, second


def limit(pods: Sequence[Pod], bound: float = BOUND) -> int:
    """Return the most requests that a pod may have after the next one, given those that all have."""
    return _most([pod.load for pod in pods], bound)


def _most(loads: Sequence[int], bound: float) -> int:
    return max(1, math.ceil(bound * (sum(loads) + 1) / len(loads)))


def bounded(every: Sequence[P], open_pods: Sequence[P], bound: float = BOUND) -> list[P]:
    """Return the open pods below the bounded-load line of all pods; all open ones where none is."""
    loads = [pod.load for pod in every]
    most = _most(loads, bound)
    if max(loads) < most:
        return list(open_pods)  # nearly always
    return [pod for pod in open_pods if pod.load < most] or list(open_pods)


def least_of_two(pods: Sequence[P], turn: int) -> P:
    """Return the less loaded of two pods that `turn` chooses, evenly over many turns."""
    if len(pods) == 1:
        return pods[0]
    drawn = _rank(turn, 0)
    first = drawn % len(pods)
    second = (first + 1 + (drawn >> 20) % (len(pods) - 1)) % len(pods)
    one, other = pods[first], pods[second]
    return one if one.load <= other.load else other


def route(
    every: Sequence[P],
    open_pods: Sequence[P],
    identity: Sequence[int],
    size: int,
    *,
    turn: int,
    tokens: Callable[[int], int] = lambda size: size // 4,
) -> P | None:
    """Choose among `open_pods`; None where there are none.

    every: all ready pods, whose mean load draws the line; the open ones are among them. identity: of a prompt
    of `size` bytes, empty where it has none. turn: counts the choices. tokens: prompt tokens for bytes.
    """
    if not open_pods:
        return None
    if len(open_pods) == 1:
        return open_pods[0]
    pods = bounded(every, open_pods)
    if not identity:
        return least_of_two(pods, turn)
    depths = [pod.memory.depth(identity) for pod in pods]
    of_all = depths if len(pods) == len(every) else [pod.memory.depth(identity) for pod in every]
    common = sorted(of_all)[len(every) // 2]
    known = [covered(identity, depth, size) for depth in depths]
    longest = max(known)
    if longest > covered(identity, common, size) + NEARLY or (longest == size and max(depths) > common):
        knowing = [
            (pod.prompt_tokens_ahead - tokens(bytes_known), pod.load, place)
            for place, (pod, bytes_known) in enumerate(zip(pods, known, strict=True))
            if bytes_known >= longest - NEARLY
        ]
        return pods[min(knowing)[2]]
    patience = PATIENCE + min(pod.prompt_tokens_ahead for pod in pods)
    for home in homes(every, key_of(identity, common)):
        if home.prompt_tokens_ahead <= patience and home in pods:
            return home
    return min(pods, key=lambda pod: (pod.prompt_tokens_ahead, pod.load))
