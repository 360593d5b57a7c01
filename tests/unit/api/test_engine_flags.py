"""Flags are read as vLLM's parser and the kubelet read them."""

import pytest
from torpor.api.engine_flags import expanded, flag_value, has_flag, whole_number


@pytest.mark.parametrize(
    ("args", "number"),
    [
        (["--max-num-seqs", "8"], 8),
        (["--max_num_seqs=8"], 8),
        (["--max-num-seqs=8", "--max-num-seqs", "9"], 9),
        (["--max-num-seqs=2k"], 2000),
        (["--max-num-seqs=2K"], 2048),
        (["--max-num-seqs=1.5k"], 1500),
        (["--max-num-seqs=1.5K"], None),
        (["--max-num-seqs=1.5"], None),
        (["--max-num-seqs=0"], None),
        (["--max-num-seqs=-3"], None),
        (["--max-num-seqs=many"], None),
        (["--max-num-seqs=999999999999G"], None),
        (["--max-num-seqs=٣"], None),
        (["--max-num-seqs"], None),
        (["--max-num-seqs-per-user=3"], None),
        ([], None),
    ],
)
def test_whole_numbers(args, number):
    assert whole_number(args, "max-num-seqs") == number


def test_names_of_one_flag():
    args = ["-tp", "4", "--quantization=fp8", "--enforce-eager"]
    assert flag_value(args, "tensor-parallel-size", "tp") == "4"
    assert flag_value(args, "quantization", "q") == "fp8"
    assert flag_value(args, "enforce-eager") is None
    assert has_flag(args, "enforce-eager")
    assert not has_flag(args, "eager", "4")


def test_variables_are_expanded_as_the_kubelet_does():
    args = ["--quantization=$(Q)", "$(UNKNOWN)", "$$(Q)", "$Q", "$(Q)$(Q)"]
    assert expanded(args, {"Q": "fp8"}) == ["--quantization=fp8", "$(UNKNOWN)", "$(Q)", "$Q", "fp8fp8"]
