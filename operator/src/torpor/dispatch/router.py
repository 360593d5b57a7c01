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
   The first of the two is taken unless it is further behind the one with the least to do than `patience`
   allows, the second unless it is a quarter of that behind.
4. Else, and where a prompt has no identity, the least to do; of two choices where there is nothing but a
   count of requests, because counts are late and everybody who follows the least runs to the same pod.

Patience is what makes several gateway processes find each other's turns. A process that turns a first turn
away from its home remembers where it sent it; the others do not, and look at the home: the hit is lost twice,
there and where the next one is turned away. So the more of the load others have sent, and the more tokens a
turn has to lose, the longer a home may be; a process that is alone knows better and hardly waits. What is
behind are prompt tokens, and a share for requests that answer: a crowded home gives the short prompts away
first, for which it matters little, and stays below the line of rule 1 for the long ones.

Peers weigh a match against the load by a score (the Gateway API's endpoint picker, NVIDIA's Dynamo), leave
affinity altogether while loads differ much (vllm-router and SGLang's cache_aware, AIBrix), or hash a prefix
of fixed length (KubeAI). Their memories are bounded by a number that somebody chose, this one by what the
engine says that it can hold. Nothing here is random: the turn number is an argument.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar
from zlib import crc32

from torpor.dispatch.memory import PodMemory
from torpor.dispatch.prefix import covered, key_of

BOUND = 2.0  # times the mean of requests
PATIENCE = 2_000  # prompt tokens that a home may be behind in any case
FAITH = 24  # and per token of the prompt, times the share of the load that others have sent
MOST_PATIENCE = 128_000  # prompt tokens
CROWD = 20_000  # prompt tokens that a pod's requests count for where they are one more than the mean of all
SECOND = 0.25  # of the patience, for the second home
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
    def in_flight(self) -> int:
        """Those that this process has sent."""

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


def patience(every: Sequence[Pod], prompt: int) -> int:
    """Return how far, in prompt tokens, the home of a prompt of `prompt` tokens may be behind.

    The more of the requests others have sent, the likelier it is that the home knows what this process does
    not.
    """
    loads = sum([pod.load for pod in every])
    others = loads - sum([pod.in_flight for pod in every])
    if others <= 0:
        return PATIENCE
    return PATIENCE + min(MOST_PATIENCE, FAITH * prompt * others // loads)


def limit(pods: Sequence[Pod], bound: float = BOUND) -> int:
    """Return the most requests that a pod may have after the next one, given those that all have."""
    return _most([pod.load for pod in pods], bound)


def _most(loads: Sequence[int], bound: float) -> int:
    return max(1, math.ceil(bound * (sum(loads) + 1) / len(loads)))


def bounded(every: Sequence[P], open_pods: Sequence[P], bound: float = BOUND) -> Sequence[P]:
    """Return the open pods below the bounded-load line of all pods; all open ones where none is."""
    loads = [pod.load for pod in every]
    most = _most(loads, bound)
    if max(loads) < most:
        return open_pods  # mostly
    return [pod for pod in open_pods if pod.load < most] or open_pods


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
    depth = 0
    seen = [depth := pod.memory.depth(identity, depth) for pod in every]
    common = sorted(seen)[len(seen) // 2]
    depths = seen if len(pods) == len(every) else [pod.memory.depth(identity) for pod in pods]
    deepest = max(depths)
    if deepest > common:
        longest = covered(identity, deepest, size)
        if longest == size or longest > covered(identity, common, size) + NEARLY:
            return _knowing(pods, depths, longest, identity, size, tokens)
    return _home(every, pods, key_of(identity, common), tokens(size))


def _knowing(  # noqa: PLR0917
    pods: Sequence[P],
    depths: Sequence[int],
    longest: int,
    identity: Sequence[int],
    size: int,
    tokens: Callable[[int], int],
) -> P:
    """Choose among those that know about `longest` bytes of the prompt."""
    known = [covered(identity, depth, size) for depth in depths]
    places = [place for place, bytes_known in enumerate(known) if bytes_known >= longest - NEARLY]
    if len(places) == 1:
        return pods[places[0]]
    return pods[
        min(
            (pods[place].prompt_tokens_ahead - tokens(known[place]), pods[place].load, place)
            for place in places
        )[2]
    ]


def _home(every: Sequence[P], pods: Sequence[P], key: int, prompt: int) -> P:
    """Choose where nothing is known of a prompt of so many tokens."""
    loads = [pod.load for pod in pods]
    request = CROWD / (1 + sum(loads) / len(loads))
    behind = [pod.prompt_tokens_ahead + request * load for pod, load in zip(pods, loads, strict=True)]
    least = min(behind)
    first, second = homes(every, key)
    if first in pods and behind[pods.index(first)] - least <= PATIENCE:
        return first  # mostly
    patient = patience(every, prompt)
    for home, share in ((first, 1.0), (second, SECOND)):
        if home in pods and behind[pods.index(home)] - least <= share * patient:
            return home
    return pods[behind.index(least)]
