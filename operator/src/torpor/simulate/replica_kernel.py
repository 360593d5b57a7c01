"""One replica in closed form: the steps of `engine_model`, many at a time.

Between an arrival, a completion and an admission nothing about a batch changes but its contexts, which grow
by one token per sequence and step. So k steps from now on last together

    k*t + g*k*(k - 1)/2      t: the first step, g: by how much each is longer than the one before

and a replica needs to be looked at only where the batch changes: when a sequence ends, when a prompt is
through, when the cache runs full, when somebody arrives who could be admitted. That is the whole trick; what
happens at these points is `EngineModel` step for step, and a test holds the two together; prefixes are
looked up as in `prefix_kernel`, where the trace tells them.

Two facts keep the state small. At most one sequence is in the middle of its prompt, the one admitted last,
since a prompt is cut only where the step's budget ends. And a decoding sequence needs a new block exactly
when its context is a multiple of the block size, so a count of contexts per residue says how many blocks k
steps take. Both hold only where a step has a token for every sequence, max_num_seqs <=
max_num_batched_tokens, which vLLM asks for too.
"""

# ruff: noqa: PLR0917 - a kernel has no other way to get at its state
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torpor.simulate import prefix_kernel
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
    ring: int  # places for those that wait inside
    hashed: int  # tokens per hashed block of the trace; 0: prompts have no hashes
    slots: int  # hashed blocks that a replica remembers
    prefixes: int  # where `Prefixes.table` is in memory; an array here would be counted at every call


# One request. Times in seconds, NaN until they happen; `generated` is valid while it does not decode.
REQUEST = np.dtype(
    [
        ("arrival", np.float64),
        ("prompt", np.int64),
        ("output", np.int64),
        ("generated", np.int64),
        ("sent", np.float64),  # when the gateway gave it to a replica
        ("first", np.float64),
        ("finish", np.float64),
        ("end", np.int64),
    ]
)

# One replica. "The steps" are those under way.
POD = np.dtype(
    [
        ("state", np.int64),
        ("born", np.float64),
        ("ready_at", np.float64),
        ("died", np.float64),
        ("start", np.float64),  # of the steps
        ("end", np.float64),  # of the last of them; inf: idle
        ("step", np.float64),  # seconds of the first of them
        ("growth", np.float64),  # seconds that each further one is longer
        ("steps", np.int64),  # how many they are
        ("open", np.int64),  # 1: an arrival could be admitted at the next step, so it ends the run
        ("clock", np.int64),  # steps made before
        ("running", np.int64),
        ("waiting", np.int64),
        ("decoders", np.int64),  # of those running, these decode; they stand first
        ("partial", np.int64),  # 1: the last of those running is not through its prompt after the steps
        ("progress", np.int64),  # tokens of it that will be in the cache then
        ("prefill", np.int64),  # prompt tokens per step
        ("reserved", np.int64),  # blocks that prompts take in the steps
        ("kv", np.int64),  # tokens in the cache before the steps
        ("used", np.int64),  # blocks held before the steps
        ("next_done", np.int64),  # number of the step after which the next decoder ends
        ("tokens", np.int64),  # generated in all
        ("prompts", np.int64),  # prompt tokens computed in all
        ("cached", np.int64),  # prompt tokens that were known
        ("decode_seconds", np.float64),  # the sum over generated tokens, first ones left out, of their steps
        ("preemptions", np.int64),
        ("gaps", np.int64),  # of the tokens generated, those that are no first ones
        ("done", np.int64),  # sequences that ended here, and over them the sums of O, I^2, O^2 and I*O
        ("done_tokens", np.int64),
        ("prompt_squares", np.float64),
        ("output_squares", np.float64),
        ("products", np.float64),
        ("head", np.int64),  # where the ring of those that wait begins
    ]
)


def new_pods(count: int, machine: Machine) -> tuple[Any, Ints]:
    """`count` empty slots for replicas, and a row of places for each: decoders per residue (their context
    less the clock, modulo the block size), the requests that run in order of admission, the step after
    which each ends, the ring of those that wait inside, and the known prefixes.
    """
    pods = np.zeros(count, POD)
    pods["end"] = NEVER
    width = prefixes(machine) + prefix_kernel.width(machine.slots if machine.hashed else 0)
    return pods, np.zeros((count, width), np.int64)


def new_requests(arrival: Floats, prompt: Ints, output: Ints) -> Any:
    """Requests that nobody has seen yet, in order of arrival."""
    requests = np.zeros(len(arrival), REQUEST)
    requests["arrival"], requests["prompt"], requests["output"] = arrival, prompt, output
    for name in ("sent", "first", "finish"):
        requests[name] = np.nan
    return requests


def reset(pods: Any, places: Ints, r: int) -> None:
    """Make slot `r` a pod that has never worked."""
    pods[r] = np.zeros(1, POD)[0]
    pods["end"][r] = pods["ready_at"][r] = NEVER
    pods["next_done"][r] = FAR
    places[r] = 0


@compiled
def blocks_of(tokens: int, block: int) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + block - 1) // block


@compiled
def blocks_grown(pod: Any, w: Ints, steps: int, block: int) -> int:
    """Blocks that the decoders take in the next `steps` steps."""
    grown: int = pod.decoders * (steps // block)
    for j in range(steps % block):
        grown += w[(-(pod.clock + j)) % block]
    return grown


@compiled
def prefixes(m: Machine) -> int:
    """Where the known prefixes begin in a replica's places."""
    return m.block + 2 * m.seqs + m.ring


@compiled
def hit(m: Machine, w: Ints, i: int, total: int) -> int:
    """Tokens of request `i` that need not be computed. At least one of `total` always is."""
    table = prefix_kernel.table_at(m.prefixes)
    most = min(table[i + 1] - table[i], (total - 1) // m.hashed)
    return m.hashed * prefix_kernel.known(w, prefixes(m), m.slots, table, table[i], most)


@compiled
def publish(m: Machine, q: Any, w: Ints, i: int, tokens: int) -> None:
    """The first `tokens` of request `i` are in the cache: whole blocks of its prompt can be found."""
    table = prefix_kernel.table_at(m.prefixes)
    count = min(table[i + 1] - table[i], min(tokens, q[i].prompt) // m.hashed)
    prefix_kernel.keep(w, prefixes(m), m.slots, table, table[i], count)


@compiled
def fitting_steps(m: Machine, pod: Any, w: Ints, steps: int, chunk: int, progress: int) -> int:
    """The most steps, at most `steps`, for which there are blocks. At least 1: the first is known to fit."""
    free = m.blocks - pod.used
    held = blocks_of(progress, m.block)
    low, high = 1, steps
    while low < high:
        middle = (low + high + 1) // 2
        need = blocks_grown(pod, w, middle, m.block) + blocks_of(progress + middle * chunk, m.block) - held
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
def put_back(m: Machine, q: Any, pod: Any, w: Ints) -> None:
    """Preempt the one admitted last: its blocks are free, it waits first in line and starts over."""
    place = pod.running - 1
    i = w[m.block + place]
    if pod.partial:
        context = pod.progress
        pod.partial = pod.progress = 0
    else:
        q[i].generated = q[i].output - (w[m.block + m.seqs + place] - pod.clock)
        context = q[i].prompt + q[i].generated - 1
        w[(context - pod.clock) % m.block] -= 1
        pod.decoders -= 1
    pod.kv -= context
    pod.used -= blocks_of(context, m.block)
    pod.running = place
    pod.preemptions += 1
    pod.head = (pod.head - 1) % m.ring
    w[m.block + 2 * m.seqs + pod.head] = i
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
        if place < pod.decoders:
            i = w[m.block + place]
            context = q[i].prompt + q[i].output - (w[m.block + m.seqs + place] - pod.clock) - 1
            take = 1
        else:
            i = w[m.block + place]
            context = pod.progress
            take = min(q[i].prompt + q[i].generated - context, m.budget - place)
        need = blocks_of(context + take, m.block) - blocks_of(context, m.block)
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
            pod.next_done = min(pod.next_done, w[m.block + m.seqs + k])
    return preempted


@compiled
def begin(m: Machine, q: Any, pod: Any, w: Ints, now: float) -> None:
    """Decide the next steps, as many as can be known now."""
    preempted = False
    if pod.used + 2 * pod.running + blocks_of(m.budget, m.block) + 1 > m.blocks:
        preempted = make_room(m, q, pod, w)
    n = pod.running
    decoders = pod.decoders
    left = m.budget - decoders
    pod.prefill = pod.reserved = pod.open = 0
    steps = 1
    growth = 0.0
    computed = 0  # prompt tokens that cost prefill time
    whole = True  # the steps are over before anything but decoding happens
    chunked = False
    if pod.partial:
        i = w[m.block + n - 1]
        rest = q[i].prompt + q[i].generated - pod.progress
        take = min(rest, left)
        if q[i].generated == 0 or take > 1:
            computed += take
        held = blocks_of(pod.progress, m.block)
        whole = False
        if rest > take:
            chunked = True
            if not preempted:
                steps = (rest - 1) // take
                steps = min(steps, pod.next_done - pod.clock)
                steps = fitting_steps(m, pod, w, steps, take, pod.progress)
            growth = m.c * (decoders + take)
        else:
            pod.partial = 0
        pod.reserved = blocks_of(pod.progress + steps * take, m.block) - held
        pod.progress += steps * take
        pod.prefill = take
        left -= take
    if not (chunked or preempted):
        free = m.blocks - pod.used - pod.reserved - blocks_grown(pod, w, 1, m.block)
        while pod.waiting > 0 and left > 0 and n < m.seqs:
            i = w[m.block + 2 * m.seqs + pod.head]
            total = q[i].prompt + q[i].generated
            start = hit(m, w, i, total) if m.hashed > 0 else 0
            take = min(total - start, left)
            need = blocks_of(start + take, m.block)
            if need > free:
                break
            free -= need
            pod.head = (pod.head + 1) % m.ring
            pod.waiting -= 1
            w[m.block + n] = i
            n += 1
            whole = False
            pod.reserved += need
            pod.prefill += take
            left -= take
            if q[i].generated == 0 or take > 1:
                computed += take
            if start > 0:
                pod.kv += start
                pod.cached += start
                publish(m, q, w, i, start)
            if start + take < total:
                pod.partial = 1
                pod.progress = start + take
        pod.running = n
    if n == 0:
        pod.end = NEVER
        pod.steps = 0
        return
    if whole and not preempted:
        steps = fitting_steps(m, pod, w, pod.next_done - pod.clock, 0, 0)
        growth = m.c * decoders
        pod.open = 1 if pod.waiting == 0 and n < m.seqs else 0
    pod.step = m.a + m.b * n + m.c * pod.kv + m.d * computed
    pod.growth = growth
    pod.steps = steps
    pod.start = now
    pod.end = now + duration(pod.step, growth, steps)


@compiled
def finish(m: Machine, q: Any, pod: Any, w: Ints) -> int:
    """End the steps under way; how many sequences ended with them. `begin` must follow."""
    now = pod.end
    steps = pod.steps
    decoders = pod.decoders
    pod.used += blocks_grown(pod, w, steps, m.block) + pod.reserved
    pod.kv += steps * (decoders + pod.prefill)
    pod.clock += steps
    pod.tokens += decoders * steps
    pod.prompts += pod.prefill * steps
    pod.gaps += decoders * steps
    pod.decode_seconds += decoders * (now - pod.start)
    clock = pod.clock
    n = pod.running
    through = n - pod.partial
    if m.hashed > 0 and pod.partial:
        publish(m, q, w, w[m.block + n - 1], pod.progress)
    if pod.next_done > clock and through == decoders:
        return 0
    kept = 0
    done = 0
    next_done = FAR
    for place in range(n):
        i = w[m.block + place]
        if place < decoders:
            due = w[m.block + m.seqs + place]
            context = q[i].prompt + q[i].output - 1
            if due == clock:
                w[(context - clock) % m.block] -= 1
        elif place < through:
            context = q[i].prompt + q[i].generated
            if q[i].generated < q[i].output:
                q[i].generated += 1
                pod.tokens += 1
            if math.isnan(q[i].first):
                q[i].first = now
            due = clock + q[i].output - q[i].generated
            if m.hashed > 0:
                publish(m, q, w, i, q[i].prompt)
            if due > clock:
                w[(context - clock) % m.block] += 1
        else:
            w[m.block + kept] = i
            kept += 1
            continue
        if due == clock:
            q[i].generated = q[i].output
            q[i].finish = now
            q[i].end = COMPLETED
            pod.kv -= context
            pod.used -= blocks_of(context, m.block)
            done += 1
            if m.hashed > 0:
                publish(m, q, w, i, q[i].prompt)
            pod.done += 1
            pod.done_tokens += q[i].output
            pod.prompt_squares += float(q[i].prompt) * q[i].prompt
            pod.output_squares += float(q[i].output) * q[i].output
            pod.products += float(q[i].prompt) * q[i].output
            continue
        w[m.block + kept] = i
        w[m.block + m.seqs + kept] = due
        next_done = min(next_done, due)
        kept += 1
    pod.running = kept
    pod.decoders = kept - pod.partial
    pod.next_done = next_done
    return done


@compiled
def arrive(m: Machine, q: Any, pod: Any, w: Ints, i: int, now: float) -> None:
    """Queue request `i` at a replica. It is admitted, at the earliest, with the next step."""
    w[m.block + 2 * m.seqs + (pod.head + pod.waiting) % m.ring] = i
    pod.waiting += 1
    if pod.end == NEVER:
        begin(m, q, pod, w, now)
    elif pod.open:
        pod.open = 0
        steps = steps_until(pod.step, pod.growth, now - pod.start)
        if steps < pod.steps:
            pod.steps = steps
            pod.end = pod.start + duration(pod.step, pod.growth, steps)
