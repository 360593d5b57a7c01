"""Prompts that begin alike: read from the trace, found again by a replica, forgotten in order."""

from __future__ import annotations

import json
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.hardware import Hardware
from torpor.simulate import prefix_kernel as pk
from torpor.simulate import traces
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.fleet import Run, Setup, Simulation
from torpor.simulate.hardware import work_ms
from torpor.simulate.policies import Static
from torpor.simulate.profiles import StepCost
from torpor.simulate.sequences import Sequence
from torpor.simulate.traces import Prefixes, Trace, TraceError

from tests.unit.simulate.stepping import run_by_steps

COST = StepCost(11.0, 0.055, 0.003, 0.0446)


def prefixes(rows: list[list[int]], tokens: int) -> Prefixes:
    counts = [len(row) for row in rows]
    flat = [block for row in rows for block in row]
    return Prefixes(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.array(flat, np.int64), tokens
    )


def run(trace: Trace, **more) -> Run:
    values = {"cold_start": 0.0, "initial": 1, "queue_target": 1000, "queue_seconds": 1e9, "look": 7.3}
    sizes = {"kv_tokens": 640_000, "max_num_seqs": 32, "max_num_batched_tokens": 256}
    policy = Static(int(more.get("initial", 1)))
    return Simulation(trace, Setup(cost=COST, **(values | sizes | more)), policy).run()  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("kfr"), st.integers(0, 20)), max_size=150), st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_the_list_forgets_what_was_used_least_recently(steps, slots) -> None:
    row = np.zeros(5 + pk.width(slots), np.int64)
    likewise: OrderedDict[int, None] = OrderedDict()
    for what, block in steps:
        if what == "r":
            pk.remember(row, 5, slots, block)
            likewise[block] = None
            likewise.move_to_end(block)
            if len(likewise) > slots:
                likewise.popitem(last=False)
        elif what == "k":
            blocks = np.array([block, block + 1, block + 2], np.int64)
            found = [b in likewise for b in blocks.tolist()]
            assert pk.known(row, 5, slots, blocks, 0, 3) == (found.index(False) if False in found else 3)
        assert bool(pk.find(row, 5, slots, block)) is (block in likewise)
        assert row[5 + pk.COUNT] == len(likewise)
    assert (row[:5] == 0).all()


def by_steps(trace: Trace, limits: EngineLimits) -> tuple[list[float | None], int, int]:
    """First tokens, tokens found and tokens asked for, of one EngineModel that knows the same hashes."""
    model = EngineModel(limits, COST)
    assert trace.prefixes is not None
    edges, blocks = trace.prefixes.offsets.tolist(), trace.prefixes.blocks.tolist()
    sequences = [
        Sequence(int(p), int(o), float(at), block_hashes=blocks[edges[i] : edges[i + 1]])
        for i, (at, p, o) in enumerate(zip(trace.arrival, trace.prompt, trace.output, strict=True))
    ]
    run_by_steps(model, sequences)
    return [s.first_token for s in sequences], model.prefix_hits, model.prefix_queries


requests = st.tuples(
    st.floats(0.001, 3.0),
    st.integers(0, 3),  # which text
    st.integers(1, 400),  # prompt
    st.integers(0, 400),  # of which so many tokens are the text's own
    st.integers(0, 60),
)


@given(st.lists(requests, min_size=1, max_size=30), st.integers(1, 12), st.integers(0, 120))
@settings(max_examples=80, deadline=None)
def test_leaps_and_steps_find_the_same_prefixes(rows, seqs, more) -> None:
    """With room for all, where it does not matter that shared blocks are counted twice here."""
    blocks = []
    for at, (_, text, prompt, shared, _) in enumerate(rows):
        full = prompt // 16
        same = min(shared // 16, full)
        blocks.append(
            [1000 * text + i for i in range(same)] + [10**6 + 1000 * at + i for i in range(full - same)]
        )
    trace = Trace(
        np.cumsum([row[0] for row in rows]),
        np.array([row[2] for row in rows]),
        np.array([row[4] for row in rows]),
        prefixes(blocks, 16),
    )
    limits = EngineLimits(seqs, seqs + more, 640_000)
    first, hits, _ = by_steps(trace, limits)
    got = run(trace, max_num_seqs=seqs, max_num_batched_tokens=seqs + more)
    np.testing.assert_allclose(got.requests["first"], first, rtol=1e-9, atol=1e-9)
    assert got.cached_tokens == hits
    assert got.prompt_tokens + got.cached_tokens == trace.prompt.sum()


def test_a_known_beginning_is_not_computed_and_its_tokens_are_read_all_the_same() -> None:
    blocks = prefixes([[0, 1, 2], [0, 1, 3]], 512)
    trace = Trace(np.array([0.0, 100.0]), np.array([1536, 1536]), np.array([1, 1]), blocks)
    done = run(trace, max_num_batched_tokens=8192)
    ttft = 1000 * (done.requests["first"] - done.requests["arrival"])
    assert ttft.tolist() == pytest.approx(
        [11 + 0.055 + 0.0446 * 1536, 11 + 0.055 + 0.003 * 1024 + 0.0446 * 512]
    )
    assert (done.cached_tokens, done.prompt_tokens) == (1024, 2048)


def test_at_least_one_token_is_computed() -> None:
    trace = Trace(
        np.array([0.0, 100.0]), np.array([1024, 1024]), np.array([1, 1]), prefixes([[0, 1]] * 2, 512)
    )
    assert run(trace).cached_tokens == 512


def test_a_small_cache_forgets_and_another_replica_knows_nothing() -> None:
    rows = [[0, 1], [2, 3], [0, 1]]
    at = np.array([0.0, 100.0, 200.0])
    trace = Trace(at, np.full(3, 1025), np.full(3, 1), prefixes(rows, 512))
    assert run(trace).cached_tokens == 1024
    assert run(trace, kv_tokens=1536).cached_tokens == 512  # three blocks: the end of the first went
    both = Trace(at * 0, np.full(3, 1025), np.full(3, 1), prefixes([[0, 1]] * 3, 512))
    assert run(both, initial=3).cached_tokens < run(both).cached_tokens


def test_a_trace_without_hashes_computes_every_prompt() -> None:
    trace = Trace(np.array([0.0, 100.0]), np.array([1536, 1536]), np.array([1, 1]))
    done = run(trace)
    assert (done.cached_tokens, done.prompt_tokens) == (0, 3072)


def write(folder, *rows: dict[str, object]):
    path = folder / "trace.jsonl"
    base = {"timestamp": 0, "input_length": 1100, "output_length": 1}
    path.write_text("".join(json.dumps(base | row) + "\n" for row in rows))
    return path


def test_hashes_are_read_and_numbered(tmp_path) -> None:
    path = write(tmp_path, {"hash_ids": [70, 9, 70]}, {}, {"hash_ids": [-5]})
    found = traces.read(path).prefixes
    assert found is not None
    assert found.offsets.tolist() == [0, 3, 3, 4]
    assert found.blocks.tolist() == [2, 1, 2, 0]
    assert found.tokens == 512
    assert traces.read(write(tmp_path, {}, {})).prefixes is None


@pytest.mark.parametrize("wrong", ["1", [1.5], [True], ["1"], {"0": 1}, 7, [1 << 70]])
def test_hashes_that_are_none_are_refused(tmp_path, wrong) -> None:
    with pytest.raises(TraceError, match="line 2: hash_ids is no list of whole numbers"):
        traces.read(write(tmp_path, {"hash_ids": [1]}, {"hash_ids": wrong}))


def test_a_copy_begins_like_its_own_copies_alone(tmp_path) -> None:
    rows = [{"timestamp": 1000 * i, "hash_ids": [i % 4, 10 + i]} for i in range(40)]
    trace = traces.read(write(tmp_path, *rows))
    double = traces.scaled(trace, 2.5, 3)
    assert double.prefixes is not None
    edges, blocks = double.prefixes.offsets, double.prefixes.blocks
    assert len(edges) == len(double) + 1
    firsts = sorted(blocks[edges[:-1]].tolist())
    assert len(set(firsts)) == 12  # four texts, in two copies and a half
    assert firsts.count(0) == 10
    assert len(blocks) == 2 * len(double)


def test_the_bound_counts_what_is_new(tmp_path) -> None:
    path = write(tmp_path, {"hash_ids": [0, 1, 2]}, {"hash_ids": [0, 1, 3]}, {"hash_ids": [0, 9, 1]})
    trace = traces.read(path)
    assert trace.new_tokens().tolist() == [1100, 1100 - 1024, 1100 - 512]
    hardware = Hardware("x", 10.0, 1.0, 0.001, 0.1, 64_000, 4, 256)
    work = work_ms(hardware, trace)
    assert work[0] - work[1] == pytest.approx(102.4)
