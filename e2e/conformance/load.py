"""`vllm bench serve` as the load client: through the gateway and, in turns, straight to the same engine.

What the program prints of one load says how fast the machine under the engine is, and on a machine that
others use not even that. So each load through the gateway has a twin that goes straight to the engine right
before or after it, which of the two comes first changes from pair to pair, and the two columns are compared.
Prompts differ from load to load, because an engine that has a prompt cached answers it sooner; their number
of tokens, that of the answers, and the times between requests do not.

A load is sound if every request was answered whole with the tokens that it asked for and, through the
gateway, if the gateway counted the same requests and tokens. How long anything took makes none unsound.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from e2e.cluster.vllm_env import ensure_env
from e2e.conformance.site import KEY, Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDPOINTS = {"openai-chat": "/v1/chat/completions", "openai": "/v1/completions"}
STRAIGHT, GATEWAY = "straight", "gateway"
PROMPT_TOKENS, ANSWER_TOKENS = 64, 32
EVEN = 1000  # `--burstiness`: the shape of a gamma distribution, whose intervals are nearly equal then
SECONDS = 3600.0  # a bound for hangs
FIGURES = {
    "median_ttft_ms": "TTFT, median (ms)",
    "p99_ttft_ms": "TTFT, 99 % (ms)",
    "median_itl_ms": "between tokens, median (ms)",
    "p99_itl_ms": "between tokens, 99 % (ms)",
    "median_tpot_ms": "per token after the first, median (ms)",
    "output_throughput": "tokens a second",
}
_REQUESTS = r'torpor_gateway_requests_total\{code="200",name="llm",[^}]*\}'
_TOKENS = r'torpor_gateway_tokens_total\{kind="output",name="llm",[^}]*\}'


class Plan(NamedTuple):
    """What is sent: `pairs` of loads with `prompts` requests each, at `rate` a second."""

    pairs: int
    prompts: int
    rate: float


class Load(NamedTuple):
    """One run of the program. `counted`: requests and tokens that the gateway counted, None where it had no
    part; `told`: what the program printed.
    """

    backend: str
    side: str
    prompts: int
    result: dict[str, Any]
    counted: tuple[float, float] | None
    told: str

    @property
    def sound(self) -> bool:
        """Whether every request was answered whole, and the gateway counted the same."""
        result = self.result
        wanted = self.prompts, self.prompts * ANSWER_TOKENS
        return (
            result["failed"] == 0
            and (result["completed"], result["total_output_tokens"]) == wanted
            and self.counted in (None, wanted)
        )


def command(backend: str, address: str, plan: Plan, seed: int) -> list[str]:
    """The command line, without the program and where it writes; `address` is http://HOST:PORT."""
    line = f"bench serve --backend {backend} --endpoint {ENDPOINTS[backend]} --base-url {address} --model llm"
    line += f" --dataset-name random --random-input-len {PROMPT_TOKENS} --random-output-len {ANSWER_TOKENS}"
    line += f" --ignore-eos --num-prompts {plan.prompts} --request-rate {plan.rate:g} --burstiness {EVEN}"
    return [*line.split(), "--seed", str(seed), "--disable-tqdm", "--ready-check-timeout-sec", "0"]


def run(site: Site, backend: str, side: str, plan: Plan, *, folder: Path, seed: int) -> Load:
    """Send one load. Raises SystemExit where the program itself fails."""
    env = ensure_env().as_json()
    file = folder / f"bench-{backend}-{side}-{seed}.json"
    address = site.address if side == GATEWAY else f"http://{site.endpoints['llm']}"
    line = [str(env["vllm"]), *command(backend, address, plan, seed)]
    line += ["--tokenizer", str(env["model"])]
    line += ["--save-result", "--result-dir", str(folder), "--result-filename", file.name]
    before = site.metric(_REQUESTS), site.metric(_TOKENS)
    ended = subprocess.run(
        line,
        env=os.environ | env["env"] | {"OPENAI_API_KEY": KEY, "NO_PROXY": "*", "no_proxy": "*"},  # type: ignore[operator]
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=SECONDS,
    )
    if ended.returncode or not file.exists():
        raise SystemExit(f"vllm bench serve ended with {ended.returncode}: {ended.stdout[-2000:]}")
    counted = (site.metric(_REQUESTS) - before[0], site.metric(_TOKENS) - before[1])
    if side == STRAIGHT:
        assert counted == (0, 0), f"what went straight to the engine was seen by the gateway: {counted}"
    table = re.search(r"^=+ Serving Benchmark Result =+$.*?^=+$", ended.stdout, re.MULTILINE | re.DOTALL)
    return Load(
        backend,
        side,
        plan.prompts,
        json.loads(file.read_text()),
        counted if side == GATEWAY else None,
        table[0] if table else ended.stdout,
    )


def pairs(site: Site, backend: str, plan: Plan, folder: Path) -> Iterator[Load]:
    """Each pair is one load through the gateway and one straight to the engine."""
    for index in range(plan.pairs):
        for place, side in enumerate((GATEWAY, STRAIGHT) if index % 2 else (STRAIGHT, GATEWAY)):
            yield run(site, backend, side, plan, folder=folder, seed=1 + 2 * index + place)


def report(backend: str, plan: Plan, loads: list[Load]) -> str:
    """A table in Markdown: of each figure the median over the loads of either side, and their ratio."""
    of = {side: [load for load in loads if load.side == side] for side in (STRAIGHT, GATEWAY)}
    sound = [load.sound for load in loads]
    lines = [
        f"{len(of[GATEWAY])} loads each way, {sum(sound)} of {len(sound)} with every request answered whole "
        "and counted right; medians over them, lowest and highest in brackets:",
        "",
        f"```sh\nvllm {' '.join(command(backend, 'ADDRESS', plan, 1))}  # and so on with other seeds\n```",
        "",
        f"| `{backend}` | straight to the engine | through the gateway | ratio |",
        "| --- | --- | --- | --- |",
    ]
    for key, name in FIGURES.items():
        straight, through = ([float(load.result[key]) for load in of[side]] for side in of)
        ratio = median(through) / median(straight)
        lines.append(f"| {name} | {_spread(straight)} | {_spread(through)} | {ratio:.2f} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
