"""The command line: vLLM's spelling where vLLM has the flag, own flags for what is simulated.

The operator's production manifest starts this program in place of `vllm serve`, so it must take the same
arguments and refuse the same nonsense. Flags of vLLM that change nothing here are accepted by name and listed
in --help as ignored; any other word ends the process with code 2 and argparse's "unrecognized arguments", as
vLLM does. As in vLLM, underscores in flag names are dashes, and lengths may be written 8k (8000) or 8K
(8192).
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torpor.simulate.engine_model import EngineLimits
from torpor.simulate.profiles import PROFILES, StepCost, profile

from torpor_sim.faults import FAULTS, Fault, parse_faults, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "0.32.0"
_SIZES = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}

# Flags of vLLM that a user may have in a manifest and that mean nothing without a GPU: name -> takes a value.
_IGNORED_WITH_VALUE = """
dtype tensor-parallel-size pipeline-parallel-size gpu-memory-utilization quantization kv-cache-dtype
load-format download-dir revision tokenizer tokenizer-revision tokenizer-mode swap-space cpu-offload-gb
uvicorn-log-level compilation-config max-log-len chat-template chat-template-content-format
tool-call-parser reasoning-parser hf-overrides override-generation-config generation-config
max-num-partial-prefills task runner distributed-executor-backend attention-backend optimization-level
"""
_IGNORED_WITHOUT_VALUE = """
enforce-eager trust-remote-code enable-chunked-prefill no-enable-chunked-prefill disable-log-requests
enable-log-requests disable-log-stats enable-auto-tool-choice enable-prompt-tokens-details async-scheduling
no-async-scheduling enable-sleep-mode disable-uvicorn-access-log
"""
IGNORED = {
    **dict.fromkeys(_IGNORED_WITH_VALUE.split(), True),
    **dict.fromkeys(_IGNORED_WITHOUT_VALUE.split(), False),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the simulated engine was told. Times in seconds."""

    host: str
    port: int
    model: str
    served_names: tuple[str, ...]
    limits: EngineLimits
    cost: StepCost
    max_model_len: int
    output_tokens: int
    embedding_size: int
    seed: int
    startup_seconds: float
    shutdown_timeout: float
    max_num_queued_reqs: int | None
    max_num_queued_tokens: int | None
    api_key: str | None
    track_load: bool
    keep_alive_comments: float
    keep_alive_seconds: int
    metrics_generation: str
    hidden_metrics: frozenset[str]
    gpu_memory_utilization: str
    version: str
    faults: tuple[Fault, ...]


def length(text: str) -> int:
    """A count of tokens: 8192, 8k, 8K, 1.5k."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgKMG])?", text)
    if (
        not match
        or (match[2] is None and "." in match[1])
        or (value := int(float(match[1]) * _SIZES.get(match[2], 1))) < 1
    ):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of tokens; write 8192, 8k (8000) or 8K (8192)"
        )
    return value


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 2**31 - 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1 to 2147483647")
    return int(text)


def _duration(text: str) -> float:
    try:
        return seconds(text, "duration")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _keep_alive(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"VLLM_HTTP_TIMEOUT_KEEP_ALIVE={text!r}: must be a whole number of seconds")
    return int(text)


def _step_cost(text: str) -> StepCost:
    try:
        a, b, c, d = (float(part) for part in text.split(","))
        return StepCost(a, b, c, d)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be four numbers a,b,c,d in milliseconds ({error})"
        ) from None


def _parser() -> argparse.ArgumentParser:
    faults = "\n".join(f"  {name}{'' if word.kind == 'none' else '=' + word.kind.upper()}"
                       f"{''.join(f'[,{key}=...]' for key in word.keys)}\n      {word.meaning}"
                       for name, word in FAULTS.items())  # fmt: skip
    ignored = ", ".join(f"--{name}" for name in IGNORED)
    parser = argparse.ArgumentParser(
        prog="torpor-sim",
        description="A simulated vLLM: its HTTP surface, metrics and failures without its model.",
        epilog=f"faults (durations: 250ms, 5s, 2m):\n{faults}\n\naccepted and ignored: {ignored}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model_tag", nargs="?", metavar="MODEL", help="the model, as for `vllm serve MODEL`")
    add("--model", help="the same as a flag")
    add("--served-model-name", nargs="+", metavar="NAME", help="names clients may use (default: the model)")
    add("--listen", metavar="HOST:PORT", help="address in one word; --host and --port are vLLM's spelling")
    add("--host", default="0.0.0.0", help="address to listen on (default 0.0.0.0)")
    add("--port", type=int, default=8000, help="port to listen on (default 8000); 0 picks one and prints it")
    add("--max-num-seqs", type=_positive, help="sequences in a batch (default: the profile's)")
    add("--max-num-batched-tokens", type=length, help="tokens in a step (default: the profile's)")
    add("--max-model-len", type=length, help="context length (default: 8192, less if the cache is smaller)")
    add(
        "--max-num-queued-reqs",
        type=_positive,
        help="refuse with 503 above this many running and waiting requests",
    )
    add("--max-num-queued-tokens", type=length, help="refuse with 503 at this backlog of prompt tokens")
    add("--block-size", type=_positive, default=16, help="tokens in a block of the KV cache (default 16)")
    add("--num-gpu-blocks-override", type=_positive, help="blocks of the KV cache, in place of --kv-tokens")
    add(
        "--enable-prefix-caching",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="blocks of earlier prompts are not computed again (the default)",
    )
    add(
        "--shutdown-timeout",
        type=_duration,
        default=0.0,
        help="on SIGTERM: 0 (default) cuts, above 0 drains that long",
    )
    add(
        "--sse-keep-alive-interval",
        type=_duration,
        default=0.0,
        help="comment lines in silent streams; 0: none",
    )
    add("--enable-server-load-tracking", action="store_true", help="count requests in /load")
    add("--api-key", help="demand it as a bearer token on /v1")
    add("--seed", type=int, default=0, help="of the words")
    add(
        "--profile",
        default="tiny",
        choices=list(PROFILES),
        help="latency and size of the engine (default tiny)",
    )
    add(
        "--step-ms",
        type=_step_cost,
        metavar="a,b,c,d",
        help="a step takes a + b*sequences + c*kv + d*prompt tokens ms",
    )
    add("--kv-tokens", type=length, help="capacity of the KV cache in tokens")
    add(
        "--speed",
        type=float,
        default=1.0,
        help="steps are this many times as fast (start-up and faults are not)",
    )
    add(
        "--startup-seconds",
        type=_duration,
        default=0.0,
        help="loading time; connections are refused until then",
    )
    add(
        "--output-tokens",
        type=_positive,
        default=64,
        help="mean length of an answer that nothing limits (default 64)",
    )
    add("--embedding-size", type=_positive, default=384, help="numbers in an embedding (default 384)")
    add("--metrics-generation", choices=["new", "old"], default="new", help="old: names before vLLM 0.10")
    add(
        "--hide-metric",
        action="append",
        default=[],
        metavar="NAME",
        help="leave a metric out (vllm:... ), repeatable",
    )
    add("--engine-version", default=VERSION, help="what /version says")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="a failure on purpose, repeatable; all of them stand below this list",
    )
    for name, takes_value in IGNORED.items():
        if takes_value:
            add(f"--{name}", help=argparse.SUPPRESS)
        else:
            add(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    return parser


def parse(arguments: Sequence[str], environment: str | None = None) -> Settings:
    """Read the command line; ends the process with code 2 on a mistake, as argparse does."""
    words = [re.sub(r"^--[\w-]+", lambda name: name[0].replace("_", "-"), word) for word in arguments]
    if words[:1] == ["serve"]:
        del words[0]
    parser = _parser()
    given = parser.parse_args(words)
    try:
        return _settings(
            given, os.environ.get("TORPOR_SIM_FAULTS", "") if environment is None else environment
        )
    except ValueError as error:
        parser.error(str(error))


def _settings(given: argparse.Namespace, environment: str) -> Settings:
    model = given.model_tag or given.model
    if not model:
        raise ValueError("no model: give MODEL or --model NAME")
    host, port = given.host, given.port
    if given.listen is not None:
        host, colon, digits = given.listen.rpartition(":")
        if not colon or not digits.isdigit():
            raise ValueError(f"--listen {given.listen!r}: must be HOST:PORT")
        host, port = host.strip("[]") or "0.0.0.0", int(digits)
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port}: must be from 0 to 65535")
    base = profile(given.profile)
    if not 1e-3 <= given.speed <= 1e6:
        raise ValueError(f"--speed {given.speed}: must be from 0.001 to 1000000")
    kv_tokens = given.kv_tokens or base.kv_tokens
    if given.num_gpu_blocks_override:
        kv_tokens = given.num_gpu_blocks_override * given.block_size
    limits = EngineLimits(
        max_num_seqs=given.max_num_seqs or base.max_num_seqs,
        max_num_batched_tokens=given.max_num_batched_tokens or base.max_num_batched_tokens,
        kv_tokens=kv_tokens,
        block_size=given.block_size,
        prefix_caching=given.enable_prefix_caching,
    )
    capacity = kv_tokens // given.block_size * given.block_size
    return Settings(
        host=host,
        port=port,
        model=model,
        served_names=tuple(given.served_model_name or [model]),
        limits=replace(limits, kv_tokens=capacity),
        cost=(given.step_ms or base.cost).faster(given.speed),
        max_model_len=given.max_model_len or min(8192, capacity),
        output_tokens=given.output_tokens,
        embedding_size=given.embedding_size,
        seed=given.seed,
        startup_seconds=given.startup_seconds,
        shutdown_timeout=given.shutdown_timeout,
        max_num_queued_reqs=given.max_num_queued_reqs,
        max_num_queued_tokens=given.max_num_queued_tokens,
        api_key=given.api_key or os.environ.get("VLLM_API_KEY") or None,
        track_load=given.enable_server_load_tracking,
        keep_alive_comments=given.sse_keep_alive_interval,
        keep_alive_seconds=_keep_alive(os.environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "5")),
        metrics_generation=given.metrics_generation,
        hidden_metrics=frozenset(name if ":" in name else f"vllm:{name}" for name in given.hide_metric),
        gpu_memory_utilization=given.gpu_memory_utilization or "0.9",
        version=given.engine_version,
        faults=parse_faults(given.fault, environment),
    )
