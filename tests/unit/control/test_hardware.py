"""On what a fleet runs: by its spec, by its launchers, by what they said before, and never made up."""

import dataclasses

import pytest
from torpor.cluster.gateway_view import PodReport
from torpor.control.hardware import Engines, fleet_hardware, heard, in_effect
from torpor.decide.hardware import TABLE
from torpor.simulate.profiles import PROFILES

from tests.unit.control import worlds

LLAMA = "hf://meta-llama/Llama-3.1-70B-Instruct"
H100 = "NVIDIA-H100-80GB-HBM3"
NOBODY = Engines()


def service(uri=LLAMA, product=None, name=None, kind="vLLM", **engine):
    if product is not None:
        engine["podTemplate"] = {"nodeSelector": {"nvidia.com/gpu.product": product}}
    model = {"uri": uri} | ({"name": name} if name else {})
    return worlds.service(worlds.fleet(model=model, engine={"type": kind} | engine))


def found(*args, engines=NOBODY, **spec):
    return fleet_hardware(service(args=list(args), **spec), engines)


def says(revision="r", age=1.0, state="Ready", **stats):
    return PodReport(age, {"revision": revision, "state": state} | stats)


def test_the_node_selector_and_the_flags_name_a_row():
    row = found("--tensor-parallel-size=4", "--quantization", "fp8", product=H100)
    assert dataclasses.astuple(row)[:5] == dataclasses.astuple(TABLE["llama-3-70b-fp8", "h100", 4])[:5]
    assert not row.guessed
    assert found("-tp", "2", "-q=fp8", product=H100).name == "llama-3-70b-fp8-h100-tp2"


def test_flags_may_come_from_the_environment():
    env = [{"name": "TP", "value": "4"}, {"name": "Q", "value": "fp8"}]
    row = found("--tensor-parallel-size=$(TP)", "--quantization=$(Q)", product=H100, env=env)
    assert row.name == "llama-3-70b-fp8-h100-tp4"


def test_launchers_tell_the_gpu_where_the_spec_does_not():
    engines = heard(Engines(), "r", [says(gpu="NVIDIA H100 80GB HBM3", gpuCount=4)])
    assert found("--tensor-parallel-size=4", engines=engines).name == "llama-3-70b-bf16-h100-tp4"
    # The selector is the surer word: it is where the next pod goes.
    assert (
        found("-tp=4", engines=engines, product="NVIDIA-A100-SXM4-80GB").name == "llama-3-70b-bf16-a100-tp4"
    )


def test_before_anybody_spoke_nothing_is_made_up_and_afterwards_a_guess_is_one():
    assert found() is None
    silent = heard(Engines(), "r", [says(gpu=None)])  # a CPU, or an accelerator that has no name here
    assert found(engines=silent).guessed
    other = heard(Engines(), "r", [says(gpu="NVIDIA B200")])
    assert found(engines=other).guessed
    assert found(engines=other).name == "70b-b200-tp1"


@pytest.mark.parametrize(
    "flags",
    [
        ["--enforce-eager"],
        ["--speculative-config={}"],
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}'],
        ["--speculative-config.method=ngram", "--speculative-config.num_speculative_tokens=4"],
        ["--spec-method=ngram", "--spec-tokens=4"],
        ["--cpu-offload-gb=8"],
        ["--dtype=float32"],
        ["--config=/x.yaml"],
    ],
)
def test_flags_that_change_a_step_make_the_row_a_guess(flags):
    engines = Engines("r", H100, 4)
    args = flags if "--config=/x.yaml" in flags else ["-tp=4", *flags]
    row = found(*args, engines=engines)
    assert row.name == "llama-3-70b-bf16-h100-tp4"
    assert row.guessed


@pytest.mark.parametrize(
    "flags", [["--quantization=awq"], ["-q=mxfp8", "-tp=4"], ["-tp=3"], ["-tp=2", "-pp=2"], []]
)
def test_near_is_not_equal(flags):
    assert found(*flags, product=H100).guessed


def test_a_slice_of_a_gpu_is_not_the_gpu():
    resources = {"limits": {"nvidia.com/mig-1g.10gb": 1}}
    assert found("-tp=4", product=H100, resources=resources).name == "unknown"
    assert found("-tp=4", product=f"{H100}-MIG-1g.10gb").name == "unknown"


def test_a_claim_is_named_by_the_model():
    assert found(uri="pvc://weights/a", name="llama-3-8b", product=H100).name == "llama-3-8b-bf16-h100-tp1"
    assert (
        found(uri="pvc://weights/Llama-3-8B", name="chat-70b", product=H100).name
        == "llama-3-8b-bf16-h100-tp1"
    )


def test_the_users_sizes_are_the_engines():
    row = found("-tp=4", "--max-num-seqs=64", "--max-num-batched-tokens=4k", product=H100)
    assert (row.max_num_seqs, row.max_num_batched_tokens) == (64, 4000)


def test_of_a_simulated_engine_the_truth_is_known():
    for name, profile in PROFILES.items():
        row = found(f"--profile={name}", kind="Simulated")
        if name != "instant":  # whose constants are 0, which no replica has
            assert (row.a, row.b, row.c, row.d) == pytest.approx(dataclasses.astuple(profile.cost))
        assert row.kv_tokens == profile.kv_tokens
        assert not row.guessed
    assert found(kind="Simulated").name == "simulated-tiny"
    fast = found("--step-ms", "8,0.4,0.002,0.1", "--speed=2", "--kv-tokens=64k", kind="Simulated")
    assert (fast.a, fast.b, fast.c, fast.d, fast.kv_tokens) == (4, 0.2, 0.001, 0.05, 64_000)
    blocks = found("--num-gpu-blocks-override=100", "--block-size=32", kind="Simulated")
    assert blocks.kv_tokens == 3200


@pytest.mark.parametrize(
    "args", [["--profile=gone"], ["--step-ms=1,2"], ["--step-ms=a,b,c,d"], ["--speed=0"], ["--speed=x"]]
)
def test_a_simulated_engine_that_does_not_start_has_no_cost(args):
    assert found(*args, kind="Simulated") is None


def test_only_fresh_reports_of_this_revision_count():
    engines = heard(
        Engines(),
        "r",
        [
            says(gpu="H100", kvCapacityTokens=1000, maxNumSeqs=256, maxNumBatchedTokens=512),
            says(kvCapacityTokens=900, maxNumSeqs=300, maxNumBatchedTokens=640),
            says(state="Loading", kvCapacityTokens=1, maxNumSeqs=1),
            says(age=60.0, kvCapacityTokens=2),
            says(revision="old", kvCapacityTokens=3),
        ],
    )
    assert engines == Engines("r", "H100", None, 900, 256, 512)


def test_what_was_said_is_kept_while_nobody_speaks_and_the_gpu_beyond_a_revision():
    before = Engines("r", "H100", 4, 1000, 256, 512, refused=True)
    assert heard(before, "r", []) == before
    assert heard(before, "next", []) == Engines("", "H100", 4)
    assert heard(before, "r", [says(gpu=None, kvCapacityTokens="many", maxNumSeqs=-1)]).kv_tokens == 1000


def test_no_two_starts_find_the_same_memory_and_that_is_no_news():
    before = Engines("r", "H100", 1, 100_000)
    assert heard(before, "r", [says(kvCapacityTokens=97_000)]).kv_tokens == 100_000
    assert heard(before, "r", [says(kvCapacityTokens=90_000)]).kv_tokens == 90_000


def test_a_budget_is_refused_where_an_engine_came_up_without_it():
    refusal = {"used": False, "refused": True, "message": ""}
    assert heard(Engines(), "r", [says(tuning=refusal)]).refused
    assert heard(Engines("r", refused=True), "r", [says(tuning={"used": False})]).refused, "and stays so"
    assert not heard(Engines("r", refused=True), "next", [says(revision="next")]).refused
    assert not heard(Engines(), "r", [says(state="Loading", tuning=refusal)]).refused
    assert not heard(Engines(), "r", [says(tuning="nonsense")]).refused


def test_sizes_in_effect_are_the_engines_own_words():
    row = TABLE["llama-3-70b-fp8", "h100", 4]
    assert in_effect(row, Engines(), None) == row
    asleep = in_effect(row, Engines(), 720)
    assert (asleep.max_num_batched_tokens, asleep.max_num_seqs) == (720, 720)
    awake = in_effect(row, Engines("r", kv_tokens=500_000, max_num_seqs=512, max_num_batched_tokens=640), 720)
    assert (awake.kv_tokens, awake.max_num_seqs, awake.max_num_batched_tokens) == (500_000, 512, 640)
