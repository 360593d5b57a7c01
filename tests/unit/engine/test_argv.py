"""The engine's command line, and what of the user's arguments has to be understood for it."""

from dataclasses import replace
from pathlib import Path

import pytest
from torpor_engine.adapters import (
    GIB,
    Engine,
    Gpu,
    default_max_num_seqs,
    engine_argv,
    interpreter_of,
    knows_flag,
    read_gpus,
    source_has,
)
from torpor_engine.flags import check_args, flag_value
from torpor_engine.outcomes import LaunchError, Outcome
from torpor_engine.sources import Source, read_source

from tests.unit.engine.test_stats import settings

H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, "580")
A100 = Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB, "580")
L4 = Gpu("NVIDIA L4", 23 * GIB, "580")
B200 = Gpu("NVIDIA B200", 180 * GIB, "580")
HUB = Source("a/b", "main", "a/b")


def vllm(drains: bool = True) -> Engine:
    return Engine("vLLM", ("/bin/vllm", "serve"), "/bin/python", "0.32.0", True, drains)


def test_hub_model_on_vllm() -> None:
    argv, seqs = engine_argv(vllm(), settings(), HUB, ["--dtype", "auto"], [])
    assert argv == [
        "/bin/vllm", "serve", "a/b", "--dtype", "auto", "--max-num-seqs", "256", "--revision", "main",
        "--shutdown-timeout", "600", "--served-model-name", "smollm2", "default/smollm2",
        "--host", "0.0.0.0", "--port", "8000",
    ]  # fmt: skip
    assert seqs == 256


def test_folder_on_the_simulated_engine() -> None:
    engine = Engine("Simulated", ("/bin/torpor-sim",), "/bin/python", "0.1.0", False, True)
    argv, _ = engine_argv(engine, settings(), Source("/m", None, None), [], [])
    assert argv[:3] == ["/bin/torpor-sim", "--model", "/m"]
    assert "--revision" not in argv


def test_no_flag_that_the_version_lacks() -> None:
    argv, _ = engine_argv(vllm(drains=False), settings(), HUB, [], [])
    assert "--shutdown-timeout" not in argv


@pytest.mark.parametrize("args", [["--max-num-seqs", "8"], ["--max-num-seqs=8"], ["--max_num_seqs", "8"]])
def test_the_users_number_of_sequences(args: list[str]) -> None:
    argv, seqs = engine_argv(vllm(), settings(), HUB, args, [H100])
    assert seqs == 8
    assert sum(arg.startswith(("--max-num-seqs", "--max_num_seqs")) for arg in argv) == 1


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_number_of_sequences_that_is_none(value: str) -> None:
    with pytest.raises(LaunchError) as caught:
        engine_argv(vllm(), settings(), HUB, [f"--max-num-seqs={value}"], [])
    assert caught.value.outcome is Outcome.InvalidEngineArgs


@pytest.mark.parametrize(
    ("gpus", "args", "seqs"),
    [
        ([], [], 256),
        ([L4], [], 256),
        ([A100], [], 256),
        ([H100], [], 1024),
        ([B200], [], 1024),
        ([H100, L4], [], 256),
        ([Gpu("NVIDIA H100 80GB HBM3 MIG", 80 * GIB, "580")], [], 256),
        ([H100], ["--max-num-batched-tokens", "512"], 512),
        ([], ["--performance-mode=throughput"], 512),
    ],
)
def test_vllms_own_default(gpus: list[Gpu], args: list[str], seqs: int) -> None:
    assert default_max_num_seqs(args, gpus) == seqs


def test_last_value_wins_as_in_the_parser() -> None:
    args = ["--load-format", "auto", "--load_format=dummy", "--x"]
    assert flag_value(args, "--load-format") == "dummy"
    assert flag_value(args, "--x") is None
    assert flag_value(args, "--y") is None


def test_values_are_not_flags() -> None:
    check_args(["--chat-template", "port", "--dtype", "auto", "--hf-overrides", '{"--port": 1}'])


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("0.17.1", False), ("0.18.0", True), ("0.18.0rc2", True), ("0.32.0+cpu", True), ("1.0.0", True),
        ("0.9.2", False), ("0.8.5.post1", False), (None, False), ("0.1.dev7+gabc", False), ("dev", False),
    ],
)  # fmt: skip
def test_shutdown_timeout_by_release(version: str | None, known: bool) -> None:
    assert knows_flag(version, (0, 18), None, "--shutdown-timeout") is known


def test_a_checkout_is_asked_through_its_source(tmp_path: Path) -> None:
    source = tmp_path / "engine" / "arg_utils.py"
    source.parent.mkdir()
    source.write_text('parser.add_argument(\n    "--shutdown-timeout", type=int)')
    assert knows_flag("0.1.dev7", (0, 18), str(tmp_path), "--shutdown-timeout")
    assert not knows_flag("0.1.dev7", (0, 18), str(tmp_path), "--no-such-flag")
    source.write_text("class Args:\n    disable_access_log_for_endpoints: str | None = None\n")
    assert source_has(str(tmp_path), "--disable-access-log-for-endpoints")
    assert not source_has(str(tmp_path), "--disable-access-log")


def test_the_launchers_polls_stay_out_of_the_access_log() -> None:
    engine = replace(vllm(), can_hush=True)
    argv, _ = engine_argv(engine, settings(), HUB, [], [])
    assert argv[argv.index("--disable-access-log-for-endpoints") + 1] == "/health,/metrics"
    argv, _ = engine_argv(engine, settings(), HUB, ["--disable_access_log_for_endpoints=/x"], [])
    assert "--disable-access-log-for-endpoints" not in argv


def test_interpreter_of_console_scripts(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    script = tmp_path / "vllm"
    for head in (f"#!{python}\n", f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n"):
        script.write_text(head)
        assert interpreter_of(str(script)) == str(python)
    script.write_text("#!/bin/bash\n")
    assert interpreter_of(str(script)) == str(python)  # the one beside it
    python.unlink()
    assert interpreter_of(str(script)) is None
    assert interpreter_of(str(tmp_path / "absent")) is None


def test_gpus_of_the_driver() -> None:
    text = (
        "NVIDIA H100 80GB HBM3, 81559, 580.65, Disabled\nFailed to initialize NVML\n"
        "NVIDIA L4, 23034, 580.65, [N/A]\nNVIDIA A100-SXM4-80GB, 81920, 580.65, Enabled\n"
    )
    assert read_gpus(text) == [
        Gpu("NVIDIA H100 80GB HBM3", 81559 << 20, "580.65"),
        Gpu("NVIDIA L4", 23034 << 20, "580.65"),
        Gpu("NVIDIA A100-SXM4-80GB MIG", 81920 << 20, "580.65"),
    ]


@pytest.mark.parametrize(
    ("uri", "model"),
    [
        ("hf://a/b", "a/b"),
        ("pvc://claim/x/y", "/models/claim/x/y"),
        ("pvc://claim", "/models/claim"),
        ("image:///opt/m", "/opt/m"),
    ],
)
def test_sources(uri: str, model: str) -> None:
    assert read_source(uri, "main", "/models").model == model


@pytest.mark.parametrize(
    "uri",
    ["s3://b/k", "a/b", "hf://", "hf://a/b/c", "hf://--x y", "pvc://c/../../etc", "image://opt", "image:///"],
)
def test_sources_that_are_none(uri: str) -> None:
    with pytest.raises(LaunchError) as caught:
        read_source(uri, "main", "/models")
    assert caught.value.outcome is Outcome.ConfigError
