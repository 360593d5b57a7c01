"""The operator's advice for a start: read, bounded by the user's flags, never twice where it failed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torpor_engine.adapters import GIB, Gpu, engine_argv
from torpor_engine.outcomes import LaunchError
from torpor_engine.tuning import Tuning, advice, came_up, read_tuning

from tests.unit.engine.test_argv import HUB, vllm
from tests.unit.engine.test_stats import settings

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, "580")
REVISION = "0123456789"
GOOD = {
    "v": 1,
    "fleetUid": "uid",
    "revision": REVISION,
    "maxNumBatchedTokens": 720,
    "maxNumSeqs": 512,
    "message": "because",
}


class Pod:
    """A pod's two volumes, and starts of the engine in it."""

    def __init__(self, folder: Path, document: object = GOOD) -> None:
        self.folder, self.file = folder, folder / "tuning.json"
        self.file.write_text(document if isinstance(document, str) else json.dumps(document))

    def start(self, *args: str, gpus: tuple[Gpu, ...] = (H100,)) -> tuple[dict[str, str], Tuning]:
        tuning = advice(str(self.file), "uid", REVISION, args, str(self.folder))
        argv, seqs = engine_argv(vllm(), settings(), HUB, args, gpus, tuning=tuning)
        words = " ".join(argv).replace("=", " ").split()
        flags = {key: value for key, value in pairwise(words) if key.startswith("--")}
        assert flags["--max-num-seqs"] == str(seqs)
        return flags, tuning


def test_the_advice_is_on_the_command_line_after_the_users_flags(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    flags, tuning = pod.start("--dtype", "auto")
    assert (flags["--max-num-batched-tokens"], flags["--max-num-seqs"]) == ("720", "512")
    assert tuning.used
    assert tuning.told == "because"


@pytest.mark.parametrize(
    ("document", "args", "tokens", "seqs"),
    [
        # The engine's own default of 1024 sequences is above the budget: vLLM would refuse to start.
        (GOOD | {"maxNumSeqs": None}, [], "720", "720"),
        (GOOD | {"maxNumBatchedTokens": 4096, "maxNumSeqs": None}, [], "4096", "1024"),
        (GOOD, ["--max-num-seqs", "64"], "720", "64"),
        (GOOD, ["--max-num-seqs=2000"], "2000", "2000"),
    ],
)
def test_the_budget_is_never_below_the_sequences(
    tmp_path: Path, document: object, args: list[str], tokens: str, seqs: str
) -> None:
    flags, _ = Pod(tmp_path, document).start(*args)
    assert (flags["--max-num-batched-tokens"], flags["--max-num-seqs"]) == (tokens, seqs)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--max-num-batched-tokens", "4096"], "engine.args sets"),
        (["--max-num-batched-tokens=8k"], "engine.args sets"),
        (["--max_num_batched_tokens=4096"], "engine.args sets"),
        (["--max-num-batched=4096"], "engine.args sets"),
        (["--config", "/models/vllm.yaml"], "--config"),
        (["--no-enable-chunked-prefill"], "chunked prefill"),
        (["--disable-chunked-prefill"], "chunked prefill"),
        (["--enable-chunked-prefill=False"], "chunked prefill"),
    ],
)
def test_the_users_flags_win(tmp_path: Path, args: list[str], why: str) -> None:
    tuning = advice(str(Pod(tmp_path).file), "uid", REVISION, args, str(tmp_path))
    assert not tuning.used
    assert why in tuning.told
    argv, _ = engine_argv(vllm(), settings(), HUB, args, [H100], tuning=tuning)
    assert not {"720", "512"} & set(argv)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ("[" * 100_000, "bytes"),
        ("[" * 50_000, "damaged"),
        ({}, "damaged"),
        (GOOD | {"fleetUid": "another"}, "another fleet"),
        (GOOD | {"revision": "9876543210"}, "of revision '9876543210', and this is 0123456789"),
        (GOOD | {"revision": None}, "of revision None"),
        (GOOD | {"v": 2}, "format 2"),
        (GOOD | {"maxNumBatchedTokens": 0}, "damaged"),
        (GOOD | {"maxNumBatchedTokens": -5}, "damaged"),
        (GOOD | {"maxNumBatchedTokens": "720"}, "damaged"),
        (GOOD | {"maxNumBatchedTokens": True}, "damaged"),
        (GOOD | {"maxNumBatchedTokens": 1e300}, "damaged"),
        (GOOD | {"maxNumSeqs": 0}, "damaged"),
        ("x" * (65 << 10), "bytes"),
    ],
)
def test_a_bad_file_changes_nothing(tmp_path: Path, document: Any, why: str) -> None:
    flags, tuning = Pod(tmp_path, document).start()
    assert "--max-num-batched-tokens" not in flags
    assert flags["--max-num-seqs"] == "1024"
    assert why in tuning.told
    assert len(tuning.told) < 300


def test_a_file_of_an_operator_that_wrote_no_revision_is_believed(tmp_path: Path) -> None:
    assert Pod(tmp_path, {key: value for key, value in GOOD.items() if key != "revision"}).start()[1].used


def test_no_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    assert read_tuning(str(tmp_path / "none"), "uid", REVISION).told == "the fleet's ConfigMap has none"
    assert "cannot be read" in read_tuning(str(tmp_path), "uid", REVISION).told


def test_an_engine_that_did_not_come_up_with_it_is_started_without(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    assert pod.start()[1].used
    _, second = pod.start()
    assert not second.used
    assert second.refused
    assert "720" in second.told
    assert not pod.start()[1].used, "a pod does not try again"


def test_an_engine_that_came_up_gets_it_again_after_a_crash(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    for _ in range(3):
        assert pod.start()[1].used
        came_up(str(tmp_path))


def test_a_number_of_sequences_that_is_none_is_refused_as_ever(tmp_path: Path) -> None:
    with pytest.raises(LaunchError):
        Pod(tmp_path).start("--max-num-seqs=many")


def test_without_numbers_the_reason_is_passed_on(tmp_path: Path) -> None:
    told = Pod(tmp_path, GOOD | {"maxNumBatchedTokens": None, "maxNumSeqs": None}).start()[1].told
    assert told == "because"
