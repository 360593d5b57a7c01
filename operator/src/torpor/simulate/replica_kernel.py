"""One replica in closed form: the steps of `engine_model`, many at a time.

Between an arrival, a completion and an admission nothing about a batch changes but its contexts, which grow
by one token per sequence and step. So k steps from now on last together

    k*t + g*k*(k - 1)/2      t: the first step, g: what a step is longer than the one before it, c*(tokens per step)

and a replica needs to be looked at only where the batch changes: when a sequence ends, when a prompt is
through, when the cache runs full, when somebody arrives who could be admitted. That is the whole trick; what
happens at these points is `EngineModel` step for step (without prefix caching), and a test holds the two
together.

Two facts keep the state small. At most one sequence is in the middle of its prompt, the one admitted last,
since a prompt is cut only where the step's budget ends. And a decoding sequence needs a new block exactly
when its context is a multiple of the block size, so a count of contexts per residue says how many blocks k
steps take. Both hold only where a step has a token for every sequence: max_num_seqs <= max_num_batched_tokens,
which vLLM asks for too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torpor.simulate.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

NEVER = np.inf
FAR = 1 << 62  # a step number that is never reached

EMPTY, STARTING, READY, DRAINING, GONE = range(5)  # states of a pod
UNSEEN, COMPLETED, REFUSED, EXPIRED = range(4)  # ends of a request


class Machine(NamedTuple):
    """One kind of replica. a, b, c, d: seconds (per step, sequence, cached token, prompt token)."""

    a: float
    b: float
    c: float
    d: float
    budget: int
    seqs: int
    block: int
    blocks: int


class Requests(NamedTuple):
    """All requests of a run, in order of arrival. Times in seconds, NaN until they happen."""

    arrival: Floats
    prompt: Ints
    output: Ints
    generated: Ints  # valid while the sequence does not decode
    sent: Floats  # when the gateway gave it to a replica
    first: Floats
    finish: Floats
    end: Ints


class Pods(NamedTuple):
    """State of every replica; the first index is the slot of a pod."""

    state: Ints
    born: Floats
    ready_at: Floats
    died: Floats
    start: Floats  # of the steps under way
    end: Floats  # of the last of them; inf: idle
    step: Floats  # seconds of the first of them
    growth: Floats  # seconds that each further one is longer
    steps: Ints  # how many are under way
    open: Ints  # 1: an arrival could be admitted at the next step, so it ends the run
    clock: Ints  # steps made so far
    running: Ints
    waiting: Ints
    decoders: Ints  # of those running, these decode; they stand first
    partial: Ints  # 1: the last of those running will not be through its prompt when the steps are over
    progress: Ints  # tokens of it that will be in the cache then
    prefill: Ints  # prompt tokens per step under way
    reserved: Ints  # blocks that prompts take in the steps under way
    kv: Ints  # tokens in the cache when the steps under way began
    used: Ints  # blocks held then
    next_done: Ints  # number of the step after which the next decoder ends
    tokens: Ints  # generated in all
    prompts: Ints  # prompt tokens computed in all
    decode_seconds: Floats  # sum over generated tokens of the step that made them (first tokens left out)
    preemptions: Ints
    slots: Ints  # [pod, place] request, in order of admission
    due: Ints  # [pod, place] step after which it ends
    residue: Ints  # [pod, r] decoders whose context minus the clock is r modulo the block size
    queue: Ints  # [pod, ring] requests that wait inside
    head: Ints  # [pod] where the ring begins


def new_pods(count: int, machine: Machine, queue_target: int) -> Pods:
    """`count` empty slots for replicas of that kind, behind a dispatch line of seqs + queue_target."""
    ring = machine.seqs + queue_target + 1
    wide = {"slots": machine.seqs, "due": machine.seqs, "residue": machine.block, "queue": ring}
    floats = {"born", "ready_at", "died", "start", "end", "step", "growth", "decode_seconds"}
    made: dict[str, Any] = {}
    for name in Pods._fields:
        shape = (count, wide[name]) if name in wide else count
        made[name] = np.zeros(shape, np.float64 if name in floats else np.int64)
    made["end"][:] = NEVER
    made["ready_at"][:] = NEVER
    made["next_done"][:] = FAR
    return Pods(**made)


def new_requests(arrival: Floats, prompt: Ints, output: Ints) -> Requests:
    """Requests that nobody has seen yet."""
    count = len(arrival)
    nothing = np.full(count, np.nan)
    return Requests(
        np.ascontiguousarray(arrival, np.float64),
        np.ascontiguousarray(prompt, np.int64),
        np.ascontiguousarray(output, np.int64),
        np.zeros(count, np.int64),
        nothing.copy(),
        nothing.copy(),
        nothing.copy(),
        np.zeros(count, np.int64),
    )


@compiled
def reset(p: Pods, r: int) -> None:
    """Make slot `r` a pod that has never worked."""
    p.end[r] = NEVER
    p.ready_at[r] = NEVER
    p.next_done[r] = FAR
    p.steps[r] = p.open[r] = p.clock[r] = p.running[r] = p.waiting[r] = p.decoders[r] = 0
    p.partial[r] = p.progress[r] = p.prefill[r] = p.reserved[r] = p.kv[r] = p.used[r] = 0
    p.tokens[r] = p.prompts[r] = p.preemptions[r] = p.head[r] = 0
    p.decode_seconds[r] = 0.0
    p.residue[r, :] = 0


@compiled
def blocks_of(tokens: int, block: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block - 1) // block


@compiled
def blocks_grown(p: Pods, r: int, steps: int, block: int) -> int:
    """Blocks that the decoders take in the next `steps` steps."""
    grown = p.decoders[r] * (steps // block)
    for j in range(steps % block):
        grown += p.residue[r, (-(p.clock[r] + j)) % block]
    return grown


@compiled
def fitting_steps(m: Machine, p: Pods, r: int, steps: int, chunk: int, progress: int) -> int:
    """The most steps, at most `steps`, for which there are blocks. At least 1: the first is known to fit."""
    free = m.blocks - p.used[r]
    held = blocks_of(progress, m.block)
    low, high = 1, steps
    while low < high:
        middle = (low + high + 1) // 2
        need = blocks_grown(p, r, middle, m.block) + blocks_of(progress + middle * chunk, m.block) - held
        if need <= free:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def duration(step: float, growth: float, steps: int) -> float:
    """Seconds that so many steps take together."""
    return step * steps + growth * (0.5 * steps * (steps - 1))


@compiled
def steps_until(step: float, growth: float, elapsed: float) -> int:
    """The fewest steps, at least 1, that take `elapsed` seconds or more."""
    half = step - 0.5 * growth
    guess = 2.0 * elapsed / (half + math.sqrt(half * half + 2.0 * growth * elapsed))
    k = max(1, int(guess))
    while duration(step, growth, k) < elapsed:
        k += 1
    while k > 1 and duration(step, growth, k - 1) >= elapsed:
        k -= 1
    return k


@compiled
def put_back(m: Machine, q: Requests, p: Pods, r: int) -> None:
    """Preempt the one admitted last: its blocks are free, it waits first in line and starts over."""
    place = p.running[r] - 1
    i = p.slots[r, place]
    if p.partial[r]:
        context = p.progress[r]
        p.partial[r] = p.progress[r] = 0
    else:
        q.generated[i] = q.output[i] - (p.due[r, place] - p.clock[r])
        context = q.prompt[i] + q.generated[i] - 1
        p.residue[r, (context - p.clock[r]) % m.block] -= 1
        p.decoders[r] -= 1
    p.kv[r] -= context
    p.used[r] -= blocks_of(context, m.block)
    p.running[r] = place
    p.preemptions[r] += 1
    ring = p.queue.shape[1]
    p.head[r] = (p.head[r] - 1) % ring
    p.queue[r, p.head[r]] = i
    p.waiting[r] += 1


@compiled
def make_room(m: Machine, q: Requests, p: Pods, r: int) -> bool:
    """Preempt until the running have blocks for one step; whether somebody was preempted.

    Blocks are given out in order of admission, so who stands last goes first.
    """
    preempted = False
    free = m.blocks - p.used[r]
    place = 0
    while place < p.running[r]:
        if place < p.decoders[r]:
            i = p.slots[r, place]
            context = q.prompt[i] + q.output[i] - (p.due[r, place] - p.clock[r]) - 1
            take = 1
        else:
            i = p.slots[r, place]
            context = p.progress[r]
            take = min(q.prompt[i] + q.generated[i] - context, m.budget - place)
        need = blocks_of(context + take, m.block) - blocks_of(context, m.block)
        while free < need and place < p.running[r]:
            before = p.used[r]
            put_back(m, q, p, r)
            free += before - p.used[r]
            preempted = True
        if place >= p.running[r]:
            break
        free -= need
        place += 1
    if preempted:
        p.next_done[r] = FAR
        for k in range(p.decoders[r]):
            p.next_done[r] = min(p.next_done[r], p.due[r, k])
    return preempted


@compiled
def begin(m: Machine, q: Requests, p: Pods, r: int, now: float) -> None:
    """Decide the next steps, as many as can be known now."""
    preempted = False
    if p.used[r] + 2 * p.running[r] + blocks_of(m.budget, m.block) + 1 > m.blocks:
        preempted = make_room(m, q, p, r)
    n = p.running[r]
    decoders = p.decoders[r]
    left = m.budget - decoders
    p.prefill[r] = p.reserved[r] = p.open[r] = 0
    steps = 1
    growth = 0.0
    computed = 0  # prompt tokens that cost prefill time
    whole = True  # the steps are over before anything but decoding happens
    chunked = False
    if p.partial[r]:
        i = p.slots[r, n - 1]
        rest = q.prompt[i] + q.generated[i] - p.progress[r]
        take = min(rest, left)
        if q.generated[i] == 0 or take > 1:
            computed += take
        held = blocks_of(p.progress[r], m.block)
        whole = False
        if rest > take:
            chunked = True
            if not preempted:
                steps = (rest - 1) // take
                if p.next_done[r] - p.clock[r] < steps:
                    steps = p.next_done[r] - p.clock[r]
                steps = fitting_steps(m, p, r, steps, take, p.progress[r])
            growth = m.c * (decoders + take)
        else:
            p.partial[r] = 0
        p.reserved[r] = blocks_of(p.progress[r] + steps * take, m.block) - held
        p.progress[r] += steps * take
        p.prefill[r] = take
        left -= take
    if not (chunked or preempted):
        free = m.blocks - p.used[r] - p.reserved[r] - blocks_grown(p, r, 1, m.block)
        while p.waiting[r] > 0 and left > 0 and n < m.seqs:
            i = p.queue[r, p.head[r]]
            total = q.prompt[i] + q.generated[i]
            take = min(total, left)
            need = blocks_of(take, m.block)
            if need > free:
                break
            free -= need
            p.head[r] = (p.head[r] + 1) % p.queue.shape[1]
            p.waiting[r] -= 1
            p.slots[r, n] = i
            n += 1
            whole = False
            p.reserved[r] += need
            p.prefill[r] += take
            left -= take
            if q.generated[i] == 0 or take > 1:
                computed += take
            if take < total:
                p.partial[r] = 1
                p.progress[r] = take
        p.running[r] = n
    if n == 0:
        p.end[r] = NEVER
        p.steps[r] = 0
        return
    if whole and not preempted:
        steps = fitting_steps(m, p, r, p.next_done[r] - p.clock[r], 0, 0)
        growth = m.c * decoders
        p.open[r] = 1 if p.waiting[r] == 0 and n < m.seqs else 0
    p.step[r] = m.a + m.b * n + m.c * p.kv[r] + m.d * computed
    p.growth[r] = growth
    p.steps[r] = steps
    p.start[r] = now
    p.end[r] = now + duration(p.step[r], growth, steps)


@compiled
def finish(m: Machine, q: Requests, p: Pods, r: int) -> int:
    """End the steps under way; how many sequences ended with them. `begin` must follow."""
    now = p.end[r]
    steps = p.steps[r]
    decoders = p.decoders[r]
    p.used[r] += blocks_grown(p, r, steps, m.block) + p.reserved[r]
    p.kv[r] += steps * (decoders + p.prefill[r])
    p.clock[r] += steps
    p.tokens[r] += decoders * steps
    p.prompts[r] += p.prefill[r] * steps
    p.decode_seconds[r] += decoders * (now - p.start[r])
    clock = p.clock[r]
    n = p.running[r]
    through = n - p.partial[r]
    if p.next_done[r] > clock and through == decoders:
        return 0
    kept = 0
    done = 0
    next_done = FAR
    for place in range(n):
        i = p.slots[r, place]
        if place < decoders:
            due = p.due[r, place]
            context = q.prompt[i] + q.output[i] - 1
            if due == clock:
                p.residue[r, (context - clock) % m.block] -= 1
        elif place < through:
            context = q.prompt[i] + q.generated[i]
            if q.generated[i] < q.output[i]:
                q.generated[i] += 1
                p.tokens[r] += 1
            if math.isnan(q.first[i]):
                q.first[i] = now
            due = clock + q.output[i] - q.generated[i]
            if due > clock:
                p.residue[r, (context - clock) % m.block] += 1
        else:
            p.slots[r, kept] = i
            kept += 1
            continue
        if due == clock:
            q.generated[i] = q.output[i]
            q.finish[i] = now
            q.end[i] = COMPLETED
            p.kv[r] -= context
            p.used[r] -= blocks_of(context, m.block)
            done += 1
            continue
        p.slots[r, kept] = i
        p.due[r, kept] = due
        next_done = min(next_done, due)
        kept += 1
    p.running[r] = kept
    p.decoders[r] = kept - p.partial[r]
    p.next_done[r] = next_done
    return done


@compiled
def arrive(m: Machine, q: Requests, p: Pods, r: int, i: int, now: float) -> None:
    """Queue request `i` at replica `r`. It is admitted, at the earliest, with the step after the present one."""
    ring = p.queue.shape[1]
    p.queue[r, (p.head[r] + p.waiting[r]) % ring] = i
    p.waiting[r] += 1
    if p.end[r] == NEVER:
        begin(m, q, p, r, now)
    elif p.open[r]:
        p.open[r] = 0
        steps = steps_until(p.step[r], p.growth[r], now - p.start[r])
        if steps < p.steps[r]:
            p.steps[r] = steps
            p.end[r] = p.start[r] + duration(p.step[r], p.growth[r], steps)
