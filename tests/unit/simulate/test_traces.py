"""Reading traces: the three formats by themselves, and what is refused."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from torpor.simulate.traces import Trace, TraceError, read, scaled

if TYPE_CHECKING:
    from pathlib import Path

TABLE = "arrival_s,input_tokens,output_tokens\n13.204,3516,110\n14.641,3515,105\n14.641,7,0\n"
AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 23:59:59.5000000,374,44\r\n"
    "2023-11-17 00:00:01.2500000,396,109"
)
MOONCAKE = (
    '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
    '{"timestamp": 1500, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}\n'
)
PACKED = gzip.compress(TABLE.encode(), mtime=0)


def written(tmp_path: Path, data: str | bytes) -> Path:
    path = tmp_path / "trace"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("text", "arrival", "prompt", "output"),
    [
        (TABLE, [13.204, 14.641, 14.641], [3516, 3515, 7], [110, 105, 0]),
        (AZURE, [0.5, 2.25], [374, 396], [44, 109]),
        (MOONCAKE, [0.0, 1.5], [6758, 7322], [500, 490]),
    ],
)
@pytest.mark.parametrize(
    "pack", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"]
)
def test_each_format_is_known_by_its_content(*, tmp_path: Path, text, arrival, prompt, output, pack) -> None:
    trace = read(written(tmp_path, pack(text)))
    assert trace.arrival.tolist() == pytest.approx(arrival)
    assert trace.prompt.tolist() == prompt
    assert trace.output.tolist() == output


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        (TABLE.split("\n", maxsplit=1)[0] + "\n", "empty"),
        ("kind: ConfigMap\n", "not a trace"),
        (b"\x00\xff\xfe\x80", "not a trace"),
        (TABLE + "12.0,5,5\n", "line 5: unsorted"),
        (TABLE + "20.0,-5,5\n", "line 5: a prompt has at least one token"),
        (TABLE + "20.0,5,-5\n", "line 5: the output is negative"),
        (TABLE.replace("13.204", "-13.204"), "line 2: the arrival is negative"),
        (TABLE + "nan,5,5\n", "line 5: the arrival is not a number"),
        (TABLE + "1.7e9,5,5\n", "line 5: the arrival is more than ten years in"),
        (MOONCAKE.replace("1500", "1.7e12"), "line 2: the arrival is more than ten years in"),
        (TABLE + "20.0,5", "truncated: line 5"),
        (TABLE.replace("3515", "x"), "line 3"),
        (TABLE + "20.0,5,99999999999999999999\n", "more than"),
        (MOONCAKE[:-30], "truncated: line 2"),
        (MOONCAKE.replace("6758", '"6758"'), "line 1"),
        (MOONCAKE.replace("output_length", "outputs", 1), "line 1"),
        (AZURE + ",7", "line 3"),
        (PACKED[:-12], "truncated"),
        (PACKED[:-8] + bytes(8), "damaged"),
    ],
)
def test_what_is_no_usable_trace_is_refused_in_one_line(tmp_path: Path, data: str | bytes, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(written(tmp_path, data))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read(tmp_path / "nothing")


def some(count: int = 1000) -> Trace:
    at = np.sort(np.random.default_rng(0).uniform(0, 86_400, count))
    return Trace(at, np.arange(1, count + 1), np.arange(count))


def test_superposing_keeps_the_original_and_every_length() -> None:
    trace = some()
    three = scaled(trace, 3.0, seed=5)
    assert len(three) == 3000
    assert (np.diff(three.arrival) >= 0).all()
    assert three.arrival[0] >= 0
    assert three.arrival[-1] <= trace.arrival[-1]
    assert np.isin(trace.arrival, three.arrival).all()
    assert (np.bincount(three.prompt)[1:] == 3).all()
    for prompt in (1, 500, 1000):
        original = trace.arrival[prompt - 1]
        assert np.abs(three.arrival[three.prompt == prompt] - original).max() <= 300


def test_scaling_comes_from_the_seed_alone() -> None:
    same, again, other = (scaled(some(), 2.5, seed=seed) for seed in (1, 1, 2))
    assert (same.arrival == again.arrival).all()
    assert len(same) != len(other) or (same.arrival != other.arrival).any()
    assert 2400 < len(same) < 2600


def test_more_requests_than_fit_are_refused_before_they_are_made() -> None:
    with pytest.raises(TraceError, match="makes 600000000 requests of 100000"):
        scaled(some(100_000), 6000.0, seed=1)


def test_a_fraction_thins() -> None:
    thin = scaled(some(), 0.25, seed=1)
    assert 180 < len(thin) < 320
    assert np.isin(thin.arrival, some().arrival).all()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_senseless_rates_are_refused(rate: float) -> None:
    with pytest.raises(TraceError, match="rate scale"):
        scaled(some(), rate, seed=1)
