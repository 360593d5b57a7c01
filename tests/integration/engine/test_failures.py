"""Every way a launch can fail ends with its own exit code and one line that says what to do."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from tests.integration.engine.harness import Pod

TRACEBACK = """(EngineCore_DP0 pid=77) ERROR 11-21 02:00:00 [core.py:708] Traceback (most recent call last):
(EngineCore_DP0 pid=77) ERROR 11-21 02:00:00 [core.py:708]   File "x.py", line 1, in f
(EngineCore_DP0 pid=77) ERROR 11-21 02:00:00 [core.py:708] {cause}
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def fails(pod: Pod, code: int, reason: str, *words: str) -> None:
    """The pod ends with `code`, and its termination message is one line with the reason and the words."""
    assert pod.end() == code, pod.log.read_text()
    message = pod.message()
    assert message.startswith(f"{reason}: "), message
    assert message.count("\n") == 1
    for word in words:
        assert word in message


def test_the_launchers_own_flags(pod: Pod) -> None:
    pod.start("--dtype", "auto", "--served_model_name")
    fails(pod, 64, "InvalidEngineArgs", "spec.engine.args[2]", "spec.model.name")
    assert pod.entries() == []


def test_arguments_the_engine_refuses(pod: Pod) -> None:
    fails(
        pod.start("--no-such-flag"), 64, "InvalidEngineArgs", "exit code 2", "unrecognized", "--no-such-flag"
    )


def test_environment_is_reported_as_a_whole(pod: Pod) -> None:
    del pod.environ["TORPOR_FLEET_UID"]
    pod.start(TORPOR_DRAIN_SECONDS="soon", TORPOR_ENGINE_TYPE="TGI", TORPOR_MODEL_NAMES=" , ")
    faults = ("TORPOR_FLEET_UID is not set", "TORPOR_DRAIN_SECONDS='soon'", "'TGI'", "has no name")
    fails(pod, 65, "ConfigError", *faults)


def test_port_in_use(pod: Pod) -> None:
    import socket

    with socket.create_server(("127.0.0.1", pod.port)):
        fails(pod.start(), 65, "ConfigError", "TORPOR_LAUNCHER_PORT", "free the port")


def test_no_such_folder(pod: Pod) -> None:
    pod.start(TORPOR_MODEL_URI=f"image://{pod.folder}/modle/v2")
    fails(pod, 66, "ModelNotFound", "spec.model.uri", "is not a folder", f"{pod.folder} has", "model")


def test_claim_is_looked_for_below_its_mount(pod: Pod) -> None:
    models = pod.folder / "models"
    pod.environ.update(TORPOR_MODELS_DIR=str(models), TORPOR_MODEL_URI="pvc://weights/llama")
    (models / "weights" / "llama").mkdir(parents=True)
    fails(pod.start(), 66, "ModelNotFound", "pvc://weights/llama", "no config.json", "it has nothing")


def test_engine_says_the_model_is_gated(pod: Pod) -> None:
    says = TRACEBACK.format(
        cause="huggingface_hub.errors.GatedRepoError: 401 Client Error. token hf_abcdefghijklm"
    )
    fails(
        pod.start(SCRIPT_EXIT="1", SCRIPT_SAYS=says), 67, "ModelAccessDenied", "GatedRepoError", "token ***"
    )


def test_no_engine_in_the_image(bare_pod: Pod) -> None:
    fails(bare_pod.start(), 68, "EngineNotFound", "spec.engine.image", "vllm")


def test_no_simulated_engine_in_the_image(pod: Pod) -> None:
    fails(pod.start(TORPOR_ENGINE_TYPE="Simulated"), 68, "EngineNotFound", "torpor-sim")


def test_cache_that_cannot_be_written(pod: Pod) -> None:
    pod.start(TORPOR_CACHE_DIR="/proc/cache")
    fails(pod, 69, "CacheNotWritable", "spec.model.cache: /proc/cache", f"user {os.getuid()}")


def test_crash_before_ready(pod: Pod) -> None:
    pod.start(SCRIPT_EXIT="7", SCRIPT_SAYS=TRACEBACK.format(cause="ValueError: the flux is not aligned"))
    fails(pod, 70, "EngineCrashed", "exit code 7", "ValueError: the flux is not aligned")
    assert "Engine core initialization failed" in pod.log.read_text()  # the log is passed on unchanged


def test_crash_in_the_middle_of_a_line(pod: Pod) -> None:
    pod.start(SCRIPT_EXIT="139", SCRIPT_SAYS="Fatal Python error: Segmentation fault")
    fails(pod, 70, "EngineCrashed", "exit code 139", "Segmentation fault")


def test_crash_without_a_word(pod: Pod) -> None:
    fails(pod.start(SCRIPT_EXIT="0"), 70, "EngineCrashed", "exit code 0", "its log is empty")


def test_startup_budget(pod: Pod) -> None:
    pod.start(TORPOR_STARTUP_SECONDS="10", SCRIPT_NEVER_HEALTHY="1", SCRIPT_SAYS="Loading shard 3 of 9\n")
    fails(pod, 71, "StartupTimedOut", "startupSeconds=10", "phase engine_start", "Loading shard 3 of 9")


def test_startup_budget_covers_the_first_token(pod: Pod) -> None:
    pod.start(TORPOR_STARTUP_SECONDS="10", SCRIPT_SLOW_TOKEN="600")
    fails(pod, 71, "StartupTimedOut", "phase warmup")


def test_out_of_memory(pod: Pod) -> None:
    cause = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    pod.start(SCRIPT_EXIT="1", SCRIPT_SAYS=TRACEBACK.format(cause=cause))
    fails(pod, 72, "OutOfMemory", cause[:40])


def test_killed_by_the_kernel(pod: Pod) -> None:
    fails(pod.start(SCRIPT_KILLED="1"), 72, "OutOfMemory", "exit code 137", "SIGKILL")


def test_first_token_fails(pod: Pod) -> None:
    pod.start(SCRIPT_BROKEN="/v1/completions")
    fails(pod, 73, "WarmupFailed", "/v1/completions answered 500")


def test_engine_serves_another_name(pod: Pod) -> None:
    fails(pod.start(SCRIPT_SERVES="other"), 73, "WarmupFailed", "smollm2, default/smollm2", "serves other")


def test_models_that_do_not_generate_are_warmed_their_own_way(pod: Pod) -> None:
    pod.start(SCRIPT_REFUSES="/v1/completions,/v1/chat/completions").wait_state("Ready")
    asked = [re.sub(r" smollm2.*", "", entry) for entry in pod.entries() if entry.startswith("POST")]
    assert asked == ["POST /v1/completions", "POST /v1/chat/completions", "POST /v1/embeddings"]


def test_an_engine_that_is_dead_but_does_not_end(pod: Pod) -> None:
    sick = pod.folder / "sick"
    pod.start(SCRIPT_SICK_FILE=str(sick)).wait_state("Ready")
    sick.touch()
    fails(pod, 70, "EngineCrashed", "/health answered 503 3 times in a row")


def test_secrets_stay_secret(pod: Pod) -> None:
    pod.start(
        "--api-key", "sesame-9f8e7d", HF_TOKEN="token-of-mine", SCRIPT_EXIT="1",
        SCRIPT_SAYS="ValueError: sesame-9f8e7d and token-of-mine\n",
    )  # fmt: skip
    fails(pod, 70, "EngineCrashed", "*** and ***")
    launchers = [line for line in pod.log.read_text().splitlines() if line.startswith("[torpor]")]
    assert not [line for line in launchers if "sesame" in line or "token-of-mine" in line]


def test_api_key_opens_the_warm_up(pod: Pod) -> None:
    pod.start("--api-key", "sesame").wait_state("Ready")
    assert "POST /v1/completions smollm2 1 Bearer sesame" in pod.entries()


def test_failure_is_told_on_the_stream(pod: Pod) -> None:
    gate = pod.folder / "gate"
    pod.start(SCRIPT_BROKEN="/v1/completions", SCRIPT_GATE=str(gate))
    with pod.listening() as stream:
        gate.touch()
        stream.read_to_the_end()
    last = stream.lines[-1]
    assert (last["state"], last["reason"]) == ("Failed", "WarmupFailed")
    assert "answered 500" in last["message"]
    fails(pod, 73, "WarmupFailed")


def test_unwritable_termination_log_keeps_the_exit_code(pod: Pod) -> None:
    pod.start("--port=9", TORPOR_TERMINATION_LOG="/proc/nothing")
    assert pod.end() == 64


def test_module_instead_of_program(bare_pod: Pod, pod_of: Callable[[str], Pod]) -> None:
    """Without a `vllm` in PATH the package is started as a module."""
    site = bare_pod.folder / "site"
    package = site / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for folder in (site / "vllm", site / "vllm" / "entrypoints", package):
        (folder / "__init__.py").touch()
    script = Path(__file__).with_name("scripted_engine.py").read_text()
    script = script.replace('parser.add_argument("command")', "").replace('"model")', '"--model")')
    (package / "api_server.py").write_text(script)
    bare_pod.environ["PYTHONPATH"] = str(site)
    stats = bare_pod.start().wait_state("Ready")
    assert stats["engineVersion"] is None
    assert bare_pod.engine_argv()[:2] == ["--model", str(bare_pod.model)]
    assert "--shutdown-timeout" not in bare_pod.engine_argv()
    bare_pod.terminate()
    # Nothing reports its requests here, so the drain's limit decides; a second signal cuts it short.
    bare_pod.wait_state("Draining")
    bare_pod.terminate()
    assert bare_pod.end() in (0, 137)
