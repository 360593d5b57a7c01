"""The vocabulary of faults, and the command line around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from torpor_sim.faults import FAULTS, FaultPlan, parse_fault, parse_faults
from torpor_sim.settings import IGNORED, parse

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "simulated-engine.md"


def test_values_and_keys_are_read() -> None:
    fault = parse_fault("cut-stream-after-tokens=5,every=3,times=2,after=1m")
    assert (fault.value, fault.every, fault.times, fault.after) == (5, 3, 2, 60)
    assert parse_fault("kv=90").value == 0.9
    assert parse_fault("crash-after=250ms,code=9").value == 0.25
    assert parse_fault("exit-at-start=2,message=so: it is").text == "so: it is"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("meteor", "fault 'meteor': unknown"),
        ("kv=101", "percentage from 0 to 100"),
        ("kv=nan", "percentage from 0 to 100"),
        ("status=200", "400 to 599"),
        ("crash-after=soon", "'soon' is not a duration"),
        ("crash-at-request=-1", "whole number"),
        ("status=500,every=0", "at least 1"),
        ("status=500,color=red", "unknown key 'color'; it knows every, times, after"),
        ("nan-metrics=1", "takes no value"),
        ("oom-at-start=gpu", "device or host"),
    ],
)
def test_mistakes_name_fault_value_and_rule(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_fault(spec)


def test_a_fault_strikes_by_count_number_of_times_and_time() -> None:
    plan = FaultPlan(parse_faults(["status=500,every=2,times=2,after=10s"]))
    assert [n for n in range(1, 9) if plan.striking("status", n, 11.0)] == [2, 4]
    assert plan.striking("status", 2, 9.0) is None
    assert plan.striking("reset-before-head", 2, 11.0) is None


def test_the_environment_adds_faults_and_the_command_line_comes_first() -> None:
    settings = parse(["--model", "m", "--fault", "kv=10"], "kv=20; waiting=3")
    assert [(fault.name, fault.value) for fault in settings.faults] == [
        ("kv", 0.1),
        ("kv", 0.2),
        ("waiting", 3),
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "m"], ("0.0.0.0", 8000)),
        (["m", "--host", "127.0.0.1", "--port", "9"], ("127.0.0.1", 9)),
        (["--listen", "[::1]:7", "--model=m"], ("::1", 7)),
    ],
)
def test_addresses_in_both_spellings(arguments: list[str], expected: tuple[str, int]) -> None:
    settings = parse(arguments, "")
    assert (settings.host, settings.port) == expected
    assert (settings.model, settings.served_names) == ("m", ("m",))


def test_flags_of_vllm_are_taken_with_underscores_and_human_lengths() -> None:
    settings = parse(
        ["m", "--served_model_name", "a", "ns/a", "--max-model-len=4k", "--num-gpu-blocks-override", "512",
         "--tensor-parallel-size", "2", "--enforce-eager", "--max-num-seqs", "3"], ""
    )  # fmt: skip
    assert settings.served_names == ("a", "ns/a")
    assert (settings.max_model_len, settings.limits.kv_tokens, settings.limits.max_num_seqs) == (
        4000,
        8192,
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m", "--flag-of-tomorrow"], "unrecognized arguments: --flag-of-tomorrow"),
        ([], "no model"),
        (["m", "--max-num-seqs", "0"], "whole number from 1"),
        (["m", "--max-model-len", "lots"], "not a number of tokens"),
        (["m", "--listen", "localhost"], "must be HOST:PORT"),
        (["m", "--step-ms", "1,2,3"], "four numbers"),
        (["m", "--speed", "nan"], "--speed nan: must be from"),
        (["m", "--kv-tokens", "10"], "kv_tokens=10: must hold at least one block"),
        (["m", "--fault", "kv=x"], "fault kv"),
    ],
)
def test_mistakes_end_with_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, "")
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_reference_names_every_fault_and_ignored_flag() -> None:
    text = REFERENCE.read_text()
    assert [name for name in FAULTS if f"`{name}" not in text] == []
    assert [name for name in IGNORED if f"--{name}" not in text] == []
