"""The fleet's prefill budget on its way into a real start: from the mounted file to the engine's flags."""

import json

from tests.integration.engine.harness import Pod
from tests.integration.engine.test_with_sim import simulated


def advised(pod: Pod, **changes: object) -> Pod:
    """A pod with the file that the operator's ConfigMap mounts."""
    document = {
        "v": 1,
        "fleetUid": "0b5d-uid",
        "maxNumBatchedTokens": 640,
        "maxNumSeqs": 200,
        "message": "so",
    }
    file = pod.folder / "tuning.json"
    file.write_text(json.dumps(document | changes))
    pod.environ["TORPOR_TUNING_FILE"] = str(file)
    return pod


def flag(pod: Pod, name: str) -> str | None:
    argv = pod.engine_argv()
    return argv[argv.index(name) + 1] if name in argv else None


def test_an_engine_starts_with_the_budget_and_keeps_it(pod: Pod) -> None:
    stats = advised(pod).start().wait_state("Ready")
    assert (stats["maxNumBatchedTokens"], stats["maxNumSeqs"]) == (640, 200)
    assert stats["tuning"] == {"used": True, "refused": False, "message": "so"}
    assert (flag(pod, "--max-num-batched-tokens"), flag(pod, "--max-num-seqs")) == ("640", "200")
    advised(pod, maxNumBatchedTokens=320)  # the ConfigMap changes
    assert pod.stats()["maxNumBatchedTokens"] == 640
    assert pod.entries().count("POST /v1/completions smollm2 1 None") == 1
    assert "prefill budget: --max-num-batched-tokens 640: so" in pod.log.read_text()


def test_an_engine_that_does_not_come_up_with_it_comes_up_without(pod: Pod) -> None:
    advised(pod).start(SCRIPT_EXIT="1", SCRIPT_SAYS="ValueError: max_num_batched_tokens is too small")
    assert pod.end() != 0
    assert flag(pod, "--max-num-batched-tokens") == "640"
    pod.diary.unlink()
    stats = pod.start().wait_state("Ready")
    assert flag(pod, "--max-num-batched-tokens") is None
    assert stats["tuning"]["refused"]
    assert "640" in stats["tuning"]["message"]


def test_the_simulated_engine_takes_it_as_vllm_does(bare_pod: Pod) -> None:
    stats = simulated(advised(bare_pod, maxNumSeqs=None, maxNumBatchedTokens=64)).start().wait_state("Ready")
    assert (stats["maxNumBatchedTokens"], stats["maxNumSeqs"]) == (64, 64)


def test_without_the_mount_an_engine_starts_as_ever(pod: Pod) -> None:
    pod.environ["TORPOR_TUNING_FILE"] = str(pod.folder / "none")
    stats = pod.start().wait_state("Ready")
    assert stats["maxNumBatchedTokens"] is None
    assert not stats["tuning"]["used"]
