"""One replica in closed form: the steps of `engine_model`, many at a time.

Between an arrival, a completion and an admission nothing about a batch changes but its contexts, which grow
by one token per sequence and step. So k steps from now on last together

    k*t + g*k*(k - 1)/2      t: the first step, g: by how much each is longer than the one before

and a replica needs to be looked at only where the batch changes: when a sequence ends, when a prompt is
through, when the cache runs full, when somebody arrives who could be admitted. That is the whole trick; what
happens at these points is `EngineModel` step for step, and a test holds the two together. Blocks, preemption
and known prefixes are in `cache_kernel`.

At most one sequence is in the middle of its prompt, the one admitted last, since a prompt is cut only where
the step's budget ends; it stands behind those that decode. So the end of a step looks at who was admitted
since the last one, and at the others only where the first of them is due. That holds only where a step has a
token for every sequence, max_num_seqs <= max_num_batched_tokens, which vLLM asks for too.
"""

# ruff: noqa: PLR0917 - a kernel has no other way to get at its state
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torpor.simulate import prefix_kernel
from torpor.simulate.cache_kernel import (
    FAR,
    LAST,
    RUNNING,
    blocks_grown,
    blocks_of,
    ends,
    fitting_steps,
    hit,
    make_room,
    prefixes,
    publish,
    queue,
)
from torpor.simulate.compiled import compiled, inlined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

NEVER = np.inf

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
    blocks: int
    ring: int  # places for those that wait inside
    hashed: int  # tokens per hashed block of the trace; 0: prompts have no hashes
    slots: int  # hashed blocks that a replica remembers
    prefixes: Ints  # `Prefixes.table`; empty where prompts have no hashes


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
    """`count` empty slots for replicas, and a row of places for each (`cache_kernel` says which)."""
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


@inlined
def begin(m: Machine, q: Any, pod: Any, w: Ints, now: float) -> None:
    """Decide the next steps, as many as can be known now."""
    preempted = False
    if pod.used + 2 * pod.running + blocks_of(m.budget) + 1 > m.blocks:
        preempted = make_room(m, q, pod, w)
    n = pod.running
    decoders = pod.decoders
    left = m.budget - decoders
    reserved = prefill = 0
    pod.open = 0
    steps = 1
    growth = 0.0
    computed = 0  # prompt tokens that cost prefill time
    whole = True  # the steps are over before anything but decoding happens
    chunked = False
    if pod.partial:
        i = w[RUNNING + n - 1]
        rest = q[i].prompt + q[i].generated - pod.progress
        take = min(rest, left)
        if q[i].generated == 0 or take > 1:
            computed += take
        held = blocks_of(pod.progress)
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
        pod.progress += steps * take
        reserved = blocks_of(pod.progress) - held
        prefill = take
        left -= take
    if pod.waiting > 0 and not (chunked or preempted):
        free = m.blocks - pod.used - reserved - blocks_grown(pod, w, 1)
        while pod.waiting > 0 and left > 0 and n < m.seqs:
            i = w[queue(m) + pod.head]
            total = q[i].prompt + q[i].generated
            start = hit(m, w, i, total) if m.hashed > 0 else 0
            take = min(total - start, left)
            need = blocks_of(start + take)
            if need > free:
                break
            free -= need
            pod.head = pod.head + 1 if pod.head + 1 < m.ring else 0
            pod.waiting -= 1
            w[RUNNING + n] = i
            n += 1
            whole = False
            reserved += need
            prefill += take
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
    pod.prefill = prefill
    pod.reserved = reserved
    if n == 0:
        pod.end = NEVER
        pod.steps = 0
        return
    if whole and not preempted:
        steps = fitting_steps(m, pod, w, pod.next_done - pod.clock, 0, 0)
        growth = m.c * decoders
        pod.open = 1 if pod.waiting == 0 and n < m.seqs else 0
    step = m.a + m.b * n + m.c * pod.kv + m.d * computed
    pod.step = step
    pod.growth = growth
    pod.steps = steps
    pod.start = now
    pod.end = now + duration(step, growth, steps)


@compiled
def complete(m: Machine, q: Any, pod: Any, w: Ints, i: int, context: int, now: float) -> None:
    """Request `i` has all of its tokens."""
    prompt, output = q[i].prompt, q[i].output
    q[i].generated = output
    q[i].finish = now
    q[i].end = COMPLETED
    pod.kv -= context
    pod.used -= blocks_of(context)
    if m.hashed > 0:
        publish(m, q, w, i, prompt)
    pod.done += 1
    pod.done_tokens += output
    pod.prompt_squares += float(prompt) * prompt
    pod.output_squares += float(output) * output
    pod.products += float(prompt) * output


@inlined
def finish(m: Machine, q: Any, pod: Any, w: Ints) -> None:
    """End the steps under way. `begin` must follow."""
    now = pod.end
    steps = pod.steps
    decoders = pod.decoders
    pod.used += blocks_grown(pod, w, steps) + pod.reserved
    pod.kv += steps * (decoders + pod.prefill)
    clock = pod.clock + steps
    pod.clock = clock
    pod.tokens += decoders * steps
    pod.prompts += pod.prefill * steps
    pod.gaps += decoders * steps
    pod.decode_seconds += decoders * (now - pod.start)
    n = pod.running
    through = n - pod.partial
    if m.hashed > 0 and pod.partial:
        publish(m, q, w, w[RUNNING + n - 1], pod.progress)
    next_done = pod.next_done
    if next_done > clock and through == decoders:
        return
    due_at = ends(m)
    kept = decoders
    if next_done <= clock:
        kept = 0
        next_done = FAR
        for place in range(decoders):
            i = w[RUNNING + place]
            due = w[due_at + place]
            if due <= clock:
                context = q[i].prompt + q[i].output - 1
                w[(context - clock) & LAST] -= 1
                complete(m, q, pod, w, i, context, now)
                continue
            w[RUNNING + kept] = i
            w[due_at + kept] = due
            next_done = min(next_done, due)
            kept += 1
    for place in range(decoders, through):
        i = w[RUNNING + place]
        context = q[i].prompt + q[i].generated
        if q[i].generated < q[i].output:
            q[i].generated += 1
            pod.tokens += 1
        if math.isnan(q[i].first):
            q[i].first = now
        due = clock + q[i].output - q[i].generated
        if m.hashed > 0:
            publish(m, q, w, i, q[i].prompt)
        if due <= clock:
            complete(m, q, pod, w, i, context, now)
            continue
        w[(context - clock) & LAST] += 1
        w[RUNNING + kept] = i
        w[due_at + kept] = due
        next_done = min(next_done, due)
        kept += 1
    pod.decoders = kept
    if pod.partial:
        w[RUNNING + kept] = w[RUNNING + n - 1]
        kept += 1
    pod.running = kept
    pod.next_done = next_done


@compiled
def arrive(m: Machine, q: Any, pod: Any, w: Ints, i: int, now: float) -> None:
    """Queue request `i` at a replica. It is admitted, at the earliest, with the next step."""
    place = pod.head + pod.waiting
    w[queue(m) + (place if place < m.ring else place - m.ring)] = i
    pod.waiting += 1
    if pod.end == NEVER:
        begin(m, q, pod, w, now)
    elif pod.open:
        pod.open = 0
        steps = steps_until(pod.step, pod.growth, now - pod.start)
        if steps < pod.steps:
            pod.steps = steps
            pod.end = pod.start + duration(pod.step, pod.growth, steps)
