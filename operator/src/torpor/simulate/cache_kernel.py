"""What a replica's cache holds: blocks of tokens, the beginnings it knows, and who goes when it is full.

A decoding sequence needs a new block exactly when its context is a multiple of the block size. So a count of
contexts per residue, taken less the clock so that it stands still while all of them grow, says how many
blocks any number of steps takes, without looking at a sequence. Where the next steps surely fit, which is
nearly always, not even the counts are looked at.

Preemption is vLLM's: blocks are given out in order of admission, and who was admitted last goes, to the head
of those that wait, and computes everything again.

A replica's places are one row of whole numbers: decoders per residue, the requests that run in order of
admission, the step after which each ends, the ring of those that wait inside, and the known prefixes
(`prefix_kernel`). The block size is a constant, so that dividing by it is a shift.
"""

# ruff: noqa: PLR0917 - a kernel has no other way to get at its state
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torpor.simulate import prefix_kernel
from torpor.simulate.compiled import compiled

if TYPE_CHECKING:
    from torpor.simulate.replica_kernel import Ints, Machine

FAR = 1 << 62  # a step number that is never reached
BLOCK_BITS = 4
BLOCK_TOKENS = 1 << BLOCK_BITS  # vLLM's default
LAST = BLOCK_TOKENS - 1  # of a residue
RUNNING = BLOCK_TOKENS  # where in a replica's places the requests that run begin


@compiled
def ends(m: Machine) -> int:
    """Where the steps after which the running end begin in a replica's places."""
    return RUNNING + m.seqs


@compiled
def queue(m: Machine) -> int:
    """Where the ring of those that wait inside begins."""
    return RUNNING + 2 * m.seqs


@compiled
def prefixes(m: Machine) -> int:
    """Where the known prefixes begin."""
    return RUNNING + 2 * m.seqs + m.ring


@compiled
def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + LAST) >> BLOCK_BITS


@compiled
def blocks_grown(pod: Any, w: Ints, steps: int) -> int:
    """Blocks that the decoders take in the next `steps` steps."""
    grown: int = pod.decoders * (steps >> BLOCK_BITS)
    clock = pod.clock
    for j in range(steps & LAST):
        grown += w[-(clock + j) & LAST]
    return grown


@compiled
def fitting_steps(m: Machine, pod: Any, w: Ints, steps: int, chunk: int, progress: int) -> int:
    """The most steps, at most `steps`, for which there are blocks. At least 1: the first is known to fit."""
    free = m.blocks - pod.used + blocks_of(progress)
    if pod.decoders * blocks_of(steps) + blocks_of(progress + steps * chunk) <= free:
        return steps  # even if each decoder took a block at once
    low, high = 1, steps
    while low < high:
        middle = (low + high + 1) // 2
        if blocks_grown(pod, w, middle) + blocks_of(progress + middle * chunk) <= free:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def hit(m: Machine, w: Ints, i: int, total: int) -> int:
    """Tokens of request `i` that need not be computed. At least one of `total` always is."""
    table = m.prefixes
    most = min(table[i + 1] - table[i], (total - 1) // m.hashed)
    return m.hashed * prefix_kernel.known(w, prefixes(m), m.slots, table, table[i], most)


@compiled
def publish(m: Machine, q: Any, w: Ints, i: int, tokens: int) -> None:
    """The first `tokens` of request `i` are in the cache: whole blocks of its prompt can be found."""
    table = m.prefixes
    count = min(table[i + 1] - table[i], min(tokens, q[i].prompt) // m.hashed)
    prefix_kernel.keep(w, prefixes(m), m.slots, table, table[i], count)


@compiled
def put_back(m: Machine, q: Any, pod: Any, w: Ints) -> None:
    """Preempt the one admitted last: its blocks are free, it waits first in line and starts over."""
    place = pod.running - 1
    i = w[RUNNING + place]
    if pod.partial:
        context = pod.progress
        pod.partial = pod.progress = 0
    else:
        q[i].generated = q[i].output - (w[ends(m) + place] - pod.clock)
        context = q[i].prompt + q[i].generated - 1
        w[(context - pod.clock) & LAST] -= 1
        pod.decoders -= 1
    pod.kv -= context
    pod.used -= blocks_of(context)
    pod.running = place
    pod.preemptions += 1
    pod.head = pod.head - 1 if pod.head > 0 else m.ring - 1
    w[queue(m) + pod.head] = i
    pod.waiting += 1


@compiled
def make_room(m: Machine, q: Any, pod: Any, w: Ints) -> bool:
    """Preempt until the running have blocks for one step; whether somebody was preempted.

    Blocks are given out in order of admission, so who stands last goes first.
    """
    preempted = False
    free = m.blocks - pod.used
    place = 0
    while place < pod.running:
        i = w[RUNNING + place]
        if place < pod.decoders:
            context = q[i].prompt + q[i].output - (w[ends(m) + place] - pod.clock) - 1
            take = 1
        else:
            context = pod.progress
            take = min(q[i].prompt + q[i].generated - context, m.budget - place)
        need = blocks_of(context + take) - blocks_of(context)
        while free < need and place < pod.running:
            before = pod.used
            put_back(m, q, pod, w)
            free += before - pod.used
            preempted = True
        if place >= pod.running:
            break
        free -= need
        place += 1
    if preempted:
        pod.next_done = FAR
        for k in range(pod.decoders):
            pod.next_done = min(pod.next_done, w[ends(m) + k])
    return preempted
