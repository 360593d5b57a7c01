"""A gateway and its replicas, event by event, until somebody has to decide.

Requests arrive one by one and go to the ready replica with the fewest, while it is below its dispatch line;
else they wait at the gateway in one line, in the order of `dispatch.WaitingLine`. How long depends on the
regime, as in the gateway's own table: cold (no replica is ready) and growing (one more is on its way) have
the limits of a cold start, busy has that of the queue, and a change of regime starts a fresh limit for
everyone.

The line is an array in order of arrival, so the late are its beginning and the fresh its end. Who goes from
the middle leaves a hole that the two ends pass over later, each once: a request costs O(1).

Replicas run ahead of nobody: one is brought up to date when its steps are over, and its load cannot change
before that. The kernel stops at the time it is given, and early at the first request that finds the fleet
cold; what happens then is the policy's business.
"""

# ruff: noqa: PLR0917 - a kernel has no other way to get at its state
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from torpor.simulate.cache_kernel import BLOCK_TOKENS, blocks_grown
from torpor.simulate.compiled import compiled, inlined
from torpor.simulate.replica_kernel import (
    DRAINING,
    EXPIRED,
    GONE,
    NEVER,
    READY,
    REFUSED,
    STARTING,
    Machine,
    arrive,
    begin,
    duration,
    finish,
)

if TYPE_CHECKING:
    from torpor.simulate.replica_kernel import Floats, Ints

COLD, GROWING, BUSY = range(3)
# Places in Gateway.counts.
NEXT, HEAD, TAIL, TURN, REGIME, ALARM, N_READY, N_STARTING, TOP, ARRIVED, PROMPTS, WOKEN, LEFT, ROWS = range(
    14
)
# Requests that wait; where the search for a fresh one goes on; places taken ahead of late ones.
WAITING, FRESH, PASSED = range(14, 17)
COUNTS = 17
# Places in Gateway.clock.
NOW, SINCE = range(2)
# What happens next: the kernel's time is up, or one of these.
NOTHING, ARRIVAL, EXPIRY, WAKE, STEPS = range(5)
CLOSED = 1 << 62  # no load
# Columns of what `survey` tells about a pod, the slot, and what the pod counted besides.
COLUMNS = ("state", "born", "running", "waiting", "kv", "tokens", "prompts", "decode_seconds", "preemptions")
COUNTED = ("gaps", "done", "done_tokens", "prompt_squares", "output_squares", "products")
WIDTH = len(COLUMNS) + 1 + len(COUNTED)


class Rules(NamedTuple):
    """What the gateway keeps to. Limits in seconds and requests; `reject`: 1 refuses while cold."""

    line: int  # requests that a replica may have
    short: int  # of which may wait there
    hold: float
    queue: float
    most: int
    reject: int
    patience: float  # who has waited longer is late; inf: nobody is
    place: int  # every so many places one goes to the oldest
    urgent_growing: float  # who has waited so long is first again
    urgent_busy: float


class Gateway(NamedTuple):
    """The line and the counters; see the place names above."""

    line: Ints  # requests that wait or waited, in order of arrival
    counts: Ints
    clock: Floats


class Fleet(NamedTuple):
    """The pods, the places of each, and, of the pods, side by side what every event asks for."""

    pods: Any
    places: Ints
    loads: Ints  # requests that run or wait there; CLOSED where none may be sent
    ends: Floats  # of the steps


def new_gateway(requests: int) -> Gateway:
    """A gateway that has seen nothing; the fleet is cold."""
    return Gateway(np.zeros(requests, np.int64), np.zeros(COUNTS, np.int64), np.zeros(2, np.float64))


@compiled
def mirror(f: Fleet, top: int) -> None:
    """Write down side by side what is asked of every pod at every event."""
    for r in range(top):
        pod = f.pods[r]
        f.loads[r] = pod.running + pod.waiting if pod.state == READY else CLOSED
        f.ends[r] = pod.end


@compiled
def least_loaded(f: Fleet, top: int, line: int, short: int, turn: int) -> int:
    """`dispatch.least_loaded` among the ready pods below their lines; -1 where there is none."""
    p, loads = f.pods, f.loads
    least = line
    tied = 0
    for r in range(top):
        load = loads[r]
        if load <= least and p[r].waiting < short:
            if load < least:
                least = load
                tied = 1
            elif load < line:
                tied += 1
    if tied == 0:
        return -1
    skip = turn % tied if tied > 1 else 0
    for r in range(top):
        if loads[r] == least and p[r].waiting < short:
            if skip == 0:
                return r
            skip -= 1
    return -1


@compiled
def judge(g: Gateway, now: float) -> None:
    """Find the regime; a new one starts a fresh limit."""
    regime = BUSY
    if g.counts[N_READY] == 0:
        regime = COLD
    elif g.counts[N_STARTING] > 0:
        regime = GROWING
    if regime != COLD:
        g.counts[ALARM] = 0
    if regime != g.counts[REGIME]:
        g.counts[REGIME] = regime
        g.clock[SINCE] = now


@inlined
def advance(m: Machine, q: Any, f: Fleet, g: Gateway, r: int) -> None:
    """End the steps of pod `r` and begin the next; a drained pod is gone."""
    pod, w = f.pods[r], f.places[r]
    now = pod.end
    finish(m, q, pod, w)
    begin(m, q, pod, w, now)
    f.ends[r] = pod.end
    if pod.state == READY:
        f.loads[r] = pod.running + pod.waiting
    elif pod.end == NEVER and pod.state == DRAINING:
        pod.state = GONE
        g.counts[LEFT] += 1
        pod.died = now


@compiled
def urgent(rules: Rules, g: Gateway, arrival: float, now: float) -> bool:
    """Whether who arrived then has waited half of its limit."""
    half = rules.urgent_busy if g.counts[REGIME] == BUSY else rules.urgent_growing
    waited: bool = now - max(arrival, g.clock[SINCE]) >= half
    return waited


@compiled
def send(m: Machine, rules: Rules, q: Any, f: Fleet, g: Gateway, i: int, now: float) -> bool:
    """Give request `i` to a replica; False where none takes it. An urgent one may wait there."""
    short = rules.line if urgent(rules, g, q[i].arrival, now) else rules.short
    r = least_loaded(f, g.counts[TOP], rules.line, short, g.counts[TURN])
    if r < 0:
        return False
    g.counts[TURN] += 1
    q[i].sent = now
    pod = f.pods[r]
    arrive(m, q, pod, f.places[r], i, now)
    f.loads[r] += 1
    f.ends[r] = pod.end
    return True


@compiled
def next_place(rules: Rules, q: Any, g: Gateway, now: float) -> int:
    """`dispatch.WaitingLine.take`: the place of who goes next, given that anybody may."""
    head: int = g.counts[HEAD]
    oldest = q[g.line[head]].arrival
    if now - oldest <= rules.patience:
        return head  # nobody is late
    if urgent(rules, g, oldest, now) or g.counts[PASSED] >= rules.place - 1:
        return head
    place: int = max(g.counts[FRESH], head)
    while place < g.counts[TAIL]:
        i = g.line[place]
        if math.isnan(q[i].sent) and now - q[i].arrival <= rules.patience:
            break
        place += 1
    g.counts[FRESH] = place
    return place if place < g.counts[TAIL] else head


@compiled
def taken(q: Any, g: Gateway, place: int) -> None:
    """Who stood there was sent."""
    g.counts[WAITING] -= 1
    if place > g.counts[HEAD]:
        g.counts[PASSED] += 1
    else:
        g.counts[PASSED] = 0
        close_up(q, g)


@compiled
def close_up(q: Any, g: Gateway) -> None:
    """The head is gone: the next one is who still waits."""
    g.counts[HEAD] += 1
    while g.counts[HEAD] < g.counts[TAIL] and not math.isnan(q[g.line[g.counts[HEAD]]].sent):
        g.counts[HEAD] += 1


@compiled
def serve_line(m: Machine, rules: Rules, q: Any, f: Fleet, g: Gateway, now: float) -> None:
    """Send as many as there is room for, in the order of `dispatch.WaitingLine`."""
    while g.counts[WAITING] > 0:
        place = next_place(rules, q, g, now)
        if not send(m, rules, q, f, g, g.line[place], now):
            return
        taken(q, g, place)


@compiled
def receive(m: Machine, rules: Rules, q: Any, f: Fleet, g: Gateway, now: float) -> bool:
    """Take in the next request; True where it is the first to find the fleet cold."""
    i = g.counts[NEXT]
    g.counts[NEXT] += 1
    g.counts[ARRIVED] += 1
    g.counts[PROMPTS] += q[i].prompt
    if q[i].prompt + q[i].output > m.blocks * BLOCK_TOKENS:
        q[i].end = REFUSED  # no cache could ever hold it: the engine answers 400
        return False
    waiting = g.counts[WAITING]
    if waiting == 0 and send(m, rules, q, f, g, i, now):
        return False
    cold = g.counts[REGIME] == COLD
    if waiting >= rules.most or (cold and rules.reject == 1):
        q[i].end = REFUSED
    else:
        g.line[g.counts[TAIL]] = i
        g.counts[TAIL] += 1
        g.counts[WAITING] += 1
    if cold and g.counts[ALARM] == 0:
        g.counts[ALARM] = 1
        return True
    return False


@compiled
def run(m: Machine, rules: Rules, q: Any, f: Fleet, g: Gateway, until: float) -> bool:
    """Let time pass up to `until`; True where it stopped before, at the first request that finds it cold."""
    p, ends, counts = f.pods, f.ends, g.counts
    total = len(q)
    top = counts[TOP]
    mirror(f, top)
    head = 0
    while True:
        waits = counts[WAITING] > 0
        now = until
        what = NOTHING
        if counts[NEXT] < total and q[counts[NEXT]].arrival < now:
            now = q[counts[NEXT]].arrival
            what = ARRIVAL
        if waits:
            limit = rules.queue if counts[REGIME] == BUSY else rules.hold
            head = g.line[counts[HEAD]]
            deadline = max(q[head].arrival, g.clock[SINCE]) + limit
            if deadline <= now:
                now = max(deadline, g.clock[NOW])
                what = EXPIRY
        which = -1
        if counts[N_STARTING] > 0:
            for r in range(top):
                if p[r].state == STARTING and p[r].ready_at <= now:
                    now = p[r].ready_at
                    what = WAKE
                    which = r
        first, last = 0, top
        if waits:
            for r in range(top):
                if ends[r] <= now and p[r].state == READY:
                    now = ends[r]
                    what = STEPS
                    which = r
            if what == STEPS:
                first, last = which, which + 1
        for r in range(first, last):
            while ends[r] <= now:
                advance(m, q, f, g, r)
                if what == STEPS:
                    break
        g.clock[NOW] = now
        if what == NOTHING:
            return False
        if what == ARRIVAL:
            if receive(m, rules, q, f, g, now):
                return True
            continue
        if what == EXPIRY:
            q[head].end = EXPIRED
            q[head].finish = now
            counts[WAITING] -= 1
            close_up(q, g)
            continue
        if what == WAKE:
            p[which].state = READY
            f.loads[which] = 0
            counts[N_STARTING] -= 1
            counts[N_READY] += 1
            counts[WOKEN] += 1
            judge(g, now)
        serve_line(m, rules, q, f, g, now)


@compiled
def survey(m: Machine, p: Any, w: Ints, g: Gateway, out: Floats) -> None:
    """Write one row per pod that is starting, ready or draining (`COLUMNS`, the slot, then `COUNTED`).

    Counters and blocks are those after the last whole step; blocks count as held from a step's beginning.
    """
    rows = 0
    now = g.clock[NOW]
    for r in range(g.counts[TOP]):
        if p[r].state < STARTING or p[r].state > DRAINING:
            continue
        made = 0
        used = p[r].used
        if p[r].end != NEVER:
            low, high = 0, p[r].steps - 1
            while low < high:
                middle = (low + high + 1) // 2
                if p[r].start + duration(p[r].step, p[r].growth, middle) <= now:
                    low = middle
                else:
                    high = middle - 1
            made = max(0, low)
            used += blocks_grown(p[r], w[r], made + 1) + p[r].reserved
        out[rows, 0] = p[r].state
        out[rows, 1] = p[r].born
        out[rows, 2] = p[r].running
        out[rows, 3] = p[r].waiting
        out[rows, 4] = min(1.0, used / m.blocks)
        out[rows, 5] = p[r].tokens + made * p[r].decoders
        out[rows, 6] = p[r].prompts + made * p[r].prefill
        out[rows, 7] = p[r].decode_seconds + p[r].decoders * duration(p[r].step, p[r].growth, made)
        out[rows, 8] = p[r].preemptions
        out[rows, 9] = r
        out[rows, 10] = p[r].gaps + made * p[r].decoders
        out[rows, 11] = p[r].done
        out[rows, 12] = p[r].done_tokens
        out[rows, 13] = p[r].prompt_squares
        out[rows, 14] = p[r].output_squares
        out[rows, 15] = p[r].products
        rows += 1
    g.counts[ROWS] = rows


@compiled
def watch(
    m: Machine,
    rules: Rules,
    q: Any,
    p: Any,
    w: Ints,
    loads: Ints,
    ends: Floats,
    line: Ints,
    counts: Ints,
    clock: Floats,
    until: float,
    out: Floats,
) -> bool:
    """`run` and `survey` in one call: what happens between two looks."""
    g = Gateway(line, counts, clock)
    f = Fleet(p, w, loads, ends)
    early = run(m, rules, q, f, g, until)
    survey(m, p, w, g, out)
    return early
