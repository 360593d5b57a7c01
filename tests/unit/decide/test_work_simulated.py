"""The closed form, the budget and the staffing against engines that serve request by request."""

import dataclasses
import heapq
import math
import random

import pytest
from torpor.decide.budget import prefill_budget
from torpor.decide.hardware import TABLE, conservative
from torpor.decide.learning import begin, learn
from torpor.decide.samples import Counters, collect
from torpor.decide.work import (
    Mix,
    Objectives,
    Staffing,
    burst_of,
    capacity,
    need,
    operating,
    utilization,
    work_ms,
)
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.profiles import StepCost
from torpor.simulate.sequences import Sequence

FP8_TP4 = TABLE["llama-3-70b-fp8", "h100", 4]
BOTH = Objectives(2000, 50)


def engine(machine):
    limits = EngineLimits(
        machine.max_num_seqs,
        machine.max_num_batched_tokens,
        machine.kv_tokens,
        prefix_caching=False,
    )
    return EngineModel(limits, StepCost(machine.a, machine.b, machine.c, machine.d))


def lengths(chance, mean, spread):
    """Lognormal, with that mean and squared coefficient of variation."""
    sigma = math.sqrt(math.log(1 + spread))
    return max(1, round(math.exp(chance.gauss(math.log(mean) - sigma * sigma / 2, sigma))))


def serve(machine, replicas, rate, seconds, *, prompt=(1700, 0.65), output=(80, 0.78)):
    """Poisson arrivals of `rate` a second, each to the replica with the fewest: their sequences, the mean
    step in ms, the seconds of all steps.
    """
    chance = random.Random(11)
    engines = [engine(machine) for _ in range(replicas)]
    busy: list[tuple[float, int]] = []
    running: set[int] = set()
    sequences, steps, worked = [], 0, 0.0

    def begin(index, now):
        nonlocal steps, worked
        step = engines[index].begin(now)
        if step is None:
            running.discard(index)
            return
        steps, worked = steps + 1, worked + step.seconds
        running.add(index)
        heapq.heappush(busy, (now + step.seconds, index))

    arrival = chance.expovariate(rate)
    while arrival < seconds or busy:
        if arrival < seconds and (not busy or arrival <= busy[0][0]):
            sequence = Sequence(lengths(chance, *prompt), lengths(chance, *output), arrival)
            index = min(range(replicas), key=lambda i: len(engines[i].running) + len(engines[i].waiting))
            engines[index].submit(sequence)
            sequences.append(sequence)
            if index not in running:
                begin(index, arrival)
            arrival += chance.expovariate(rate)
        else:
            now, index = heapq.heappop(busy)
            engines[index].finish(now)
            begin(index, now)
    return sequences, 1000 * worked / steps, worked


def within(sequences):
    """Share of the requests within both objectives, the first tenth left out."""
    good = 0
    sequences = sequences[len(sequences) // 10 :]
    for s in sequences:
        gaps = max(1, s.generated - 1)
        itl = 1000 * (s.finished - s.first_token) / gaps if s.generated > 1 else 0.0
        good += 1000 * (s.first_token - s.arrived) <= BOTH.ttft_ms and itl <= BOTH.itl_ms
    return good / len(sequences)


def mix_of(sequences):
    count = len(sequences)
    works = [
        FP8_TP4.d * s.prompt_tokens
        + s.output_tokens * (FP8_TP4.b + FP8_TP4.c * (s.prompt_tokens + s.output_tokens / 2))
        for s in sequences
    ]
    mean = sum(works) / count
    return Mix(
        sum(s.prompt_tokens for s in sequences) / count,
        sum(s.output_tokens for s in sequences) / count,
        sum(s.output_tokens * (s.prompt_tokens + s.output_tokens / 2) for s in sequences) / count,
        sum(w * w for w in works) / count / mean**2 - 1,
    )


@pytest.fixture(scope="module")
def mix():
    return mix_of(serve(FP8_TP4, 8, 20.0, 100)[0])


def rate_that_needs(machine, mix, replicas):
    """The largest rate for which `need` is content with that many replicas."""
    reached = capacity(machine, mix, BOTH)
    low, high = 0.0, replicas * reached.at.requests
    for _ in range(30):
        middle = (low + high) / 2
        found = need(
            middle * reached.work_ms,
            0.0,
            reached.work_ms,
            reached=reached,
            spread=mix.spread,
            burst=burst_of(machine, mix, reached, BOTH),
            staffing=Staffing(miss=0.005, reserve=0.03),
        )
        low, high = (middle, high) if found.replicas <= replicas else (low, middle)
    return low


@pytest.mark.parametrize("rho", [0.5, 0.65, 0.75])
def test_an_engines_steps_show_the_work_it_was_given(mix, rho):
    """Sections 11.3 and 11.4 on one engine: 1 − a/t is the work of its requests over its time."""
    steady = dataclasses.replace(FP8_TP4, max_num_batched_tokens=1024)
    sequences, step_ms, worked = serve(steady, 1, operating(FP8_TP4, mix, rho).requests, 200)
    given = len(sequences) * work_ms(FP8_TP4, mix_of(sequences)) / 1000 / worked
    assert given == pytest.approx(rho, rel=0.1)
    assert utilization(step_ms, FP8_TP4) == pytest.approx(given, rel=0.02)
    assert step_ms == pytest.approx(operating(FP8_TP4, mix, given).step_ms, rel=0.05)


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_fleet_filled_to_the_brim_meets_its_objectives_and_one_replica_less_would_not(mix, replicas):
    budget = prefill_budget(FP8_TP4, BOTH, mix)
    machine = dataclasses.replace(
        FP8_TP4,
        max_num_batched_tokens=budget.max_num_batched_tokens,
        max_num_seqs=budget.max_num_seqs,
    )
    rate = rate_that_needs(machine, mix, replicas)
    sequences, *_ = serve(machine, replicas, rate, 120)
    assert within(sequences) >= 0.985
    assert rate > 0.7 * replicas * capacity(machine, mix, BOTH).at.requests
    if replicas > 1:
        assert within(serve(machine, replicas - 1, rate, 60)[0]) < 0.6
    # The same fleet with the engine's own budget: long prompts stop everybody beside them.
    assert within(serve(FP8_TP4, replicas, rate, 30)[0]) < 0.95


class Counting:
    """What an engine would report, counted from its steps."""

    def __init__(self, model):
        self.model = model
        self.generated = self.prompts = self.gaps = self.gap_seconds = 0.0

    def finish(self, now):
        outcome = self.model.finish(now)
        self.generated += outcome.generated_tokens
        self.prompts += outcome.computed_tokens - outcome.generated_tokens
        self.gaps += len(outcome.gaps)
        self.gap_seconds += sum(outcome.gaps)

    def report(self, now, gaps):
        counters = Counters(
            "a",
            "boot",
            now,
            float(len(self.model.running)),
            float(len(self.model.waiting)),
            self.model.kv.used_blocks * 16.0,
            self.generated,
            self.prompts,
        )
        return (
            dataclasses.replace(counters, gaps=self.gaps, gap_seconds=self.gap_seconds) if gaps else counters
        )


@pytest.mark.parametrize(
    ("start", "gaps"),
    [(FP8_TP4, True), (conservative(None, None), True), (conservative(None, None), False)],
    ids=["a row, gaps counted", "a guess, gaps counted", "a guess, by gauges"],
)
def test_capacity_is_learned_from_what_an_engine_counts(start, gaps):
    """Three minutes of a real queue, an engine twice as fast as the table says."""
    truth = dataclasses.replace(
        FP8_TP4,
        a=FP8_TP4.a / 2,
        b=FP8_TP4.b / 2,
        c=FP8_TP4.c / 2,
        d=FP8_TP4.d / 2,
        max_num_batched_tokens=800,
    )
    chat, chance = Mix(1155, 211), random.Random(3)
    counting, learned, kept = Counting(engine(truth)), begin(start), ()
    rate = operating(truth, chat, 0.6).requests
    arrival, report, ends = chance.expovariate(rate), 5.0, math.inf
    while report < 180:
        now = min(arrival, report, ends)
        if now == ends:
            counting.finish(now)
            ends = math.inf
        elif now == arrival:
            sizes = lengths(chance, chat.prompt, 1), lengths(chance, chat.output, 1)
            counting.model.submit(Sequence(*sizes, now))
            arrival += chance.expovariate(rate * (1.5 if now % 80 < 40 else 0.5))
        else:
            samples, kept = collect(kept, (counting.report(now, gaps),))
            learned = learn(learned, samples)
            report += 5.0
        if ends == math.inf:
            step = counting.model.begin(now)
            ends = math.inf if step is None else now + step.seconds
    assert learned.proven
    found = capacity(learned.hardware(truth), chat, BOTH).at.requests
    assert found == pytest.approx(capacity(truth, chat, BOTH).at.requests, rel=0.15)
