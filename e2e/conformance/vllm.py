"""A real vLLM on this machine's CPU, and `vllm bench serve` as a client of the gateway."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from e2e.cluster.vllm_env import ensure_env
from e2e.conformance.site import KEY, SERVED, Site, get
from e2e.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 1200.0  # a minute on an idle machine
# Tool calls of which the client leaves the choice to the model; the others need no parser.
MORE = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve SmolLM2 under all names of `site.SERVED`; yields HOST:PORT."""
    env = ensure_env().as_json()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(env["vllm"]), "serve", str(env["model"]), "--served-model-name", *SERVED]
    command += ["--host", "127.0.0.1", "--port", str(port), *map(str, env["args"]), *MORE]  # type: ignore[call-overload]
    log = folder / "vllm.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | env["env"],  # type: ignore[operator]
            start_new_session=True,
        ) as process,
    ):

        def ready() -> bool:
            if process.poll() is not None:
                raise SystemExit(f"vLLM ended with {process.returncode}; its last words are in {log}")
            return healthy(f"127.0.0.1:{port}")

        try:
            until("vLLM serves", ready, seconds=START_SECONDS, every=1.0)
            yield f"127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def healthy(address: str) -> bool:
    """Whether an engine at HOST:PORT says so."""
    try:
        get(f"http://{address}/health")
    except OSError:
        return False
    return True


def version(address: str) -> str:
    """The version of the engine at HOST:PORT."""
    return str(json.loads(get(f"http://{address}/version"))["version"])


class Load(NamedTuple):
    """What `vllm bench serve` and the gateway say of one load. `told` is what the program printed."""

    backend: str
    result: dict[str, Any]
    gateway_requests: float
    gateway_tokens: float
    told: str

    @property
    def sound(self) -> bool:
        """Whether every request was answered whole, and the gateway counted the same."""
        result = self.result
        return (
            result["failed"] == 0
            and self.gateway_requests == result["completed"]
            and self.gateway_tokens == result["total_output_tokens"]
        )


ENDPOINTS = {"openai-chat": "/v1/chat/completions", "openai": "/v1/completions"}


def bench(site: Site, backend: str, folder: Path, prompts: int, rate: float) -> Load:
    """Send `prompts` requests of 64 random words and 32 tokens at `rate` a second. Raises SystemExit."""
    env = ensure_env().as_json()
    file = folder / f"bench-{backend}.json"
    command = [str(env["vllm"]), "bench", "serve", "--backend", backend, "--endpoint", ENDPOINTS[backend]]
    command += ["--base-url", site.address, "--model", "llm", "--tokenizer", str(env["model"])]
    command += ["--dataset-name", "random", "--random-input-len", "64", "--random-output-len", "32"]
    command += ["--num-prompts", str(prompts), "--request-rate", str(rate), "--seed", "1", "--ignore-eos"]
    command += ["--disable-tqdm", "--ready-check-timeout-sec", "0"]
    command += ["--save-result", "--result-dir", str(folder), "--result-filename", file.name]
    requests, tokens = (
        r'torpor_gateway_requests_total\{code="200",name="llm",[^}]*\}',
        r'torpor_gateway_tokens_total\{kind="output",name="llm",[^}]*\}',
    )
    before = site.metric(requests), site.metric(tokens)
    ended = subprocess.run(
        command,
        env=os.environ | env["env"] | {"OPENAI_API_KEY": KEY, "NO_PROXY": "*", "no_proxy": "*"},  # type: ignore[operator]
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=3600,
    )
    (folder / f"bench-{backend}.log").write_text(ended.stdout)
    if ended.returncode or not file.exists():
        raise SystemExit(f"vllm bench serve ended with {ended.returncode}: {ended.stdout[-2000:]}")
    table = re.search(r"^=+ Serving Benchmark Result =+$.*?^=+$", ended.stdout, re.MULTILINE | re.DOTALL)
    counted = site.metric(requests) - before[0], site.metric(tokens) - before[1]
    return Load(backend, json.loads(file.read_text()), *counted, table[0] if table else ended.stdout)
