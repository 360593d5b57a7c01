"""What an engine runs on, by its flags and its driver; nothing is guessed."""

import pytest
from torpor_engine.accelerators import Accelerators, accelerators, size
from torpor_engine.adapters import GIB, Gpu

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, "580")
L4 = Gpu("NVIDIA L4", 23 * GIB, "580")


def test_one_card_and_no_flag() -> None:
    assert accelerators([], [H100]) == Accelerators("NVIDIA H100 80GB HBM3", 1, None)


def test_four_cards_and_no_flag_use_one() -> None:
    assert accelerators([], [H100] * 4).gpu_count == 1


@pytest.mark.parametrize(
    ("argv", "count"),
    [
        (["--tensor-parallel-size", "4"], 4),
        (["--tensor_parallel_size=4"], 4),
        (["-tp", "4"], 4),
        (["-tp=2", "-pp", "3"], 6),
        (["-tp", "2", "--tensor-parallel-size", "8"], 8),
        (["-tp", "0"], None),
        (["-tp", "four"], None),
        (["-tp", "99999"], None),
        (["-tp", "2", "--config", "/etc/engine.yaml"], None),
        (["--data-parallel-size", "2"], 1),
    ],
)
def test_cards_of_one_copy(argv: list[str], count: int | None) -> None:
    assert accelerators(argv, [H100] * 8).gpu_count == count


def test_without_a_visible_gpu_nothing_is_known_of_it() -> None:
    assert accelerators(["-tp", "4", "--max-num-batched-tokens", "512"], []) == Accelerators(None, None, 512)


def test_different_cards_have_no_one_name() -> None:
    assert accelerators(["-tp", "2"], [H100, L4]) == Accelerators(None, 2, None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8192", 8192), ("8k", 8000), ("8K", 8192), ("1.5k", 1500), ("25.6k", 25600), ("2M", 2 << 20),
        ("1.5K", None), ("0", None), ("", None), (None, None), ("-1", None), ("8 k", None), ("1e3", None),
        ("\u0668", None), ("0.0001k", None), ("9" * 40, None),
    ],
)  # fmt: skip
def test_sizes_as_the_engines_parser_reads_them(text: str | None, number: int | None) -> None:
    assert size(text) == number
