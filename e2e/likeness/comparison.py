"""Is the simulated engine like the vLLM that runs over there?

A recording of vLLM ages: a new release changes a field, and nobody sees it until a client breaks on the real
one. So the same questions are put to a running vLLM and to a simulated engine that is started beside it with
the same served names and context length, and what differs in shape is told in words. Left out, and nothing
else, is what the reference of the simulated engine declares to be different, and what depends on the machine.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import httpx

from e2e.likeness.probes import SECONDS, record
from e2e.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Not simulated, as docs/reference/simulated-engine.md says.
LEFT_OUT = (
    "python_",
    "process_",
    "http_request_size_bytes",
    "http_response_size_bytes",
    "http_request_duration_highr",
    "vllm:estimated_",
)
# Labels whose values are sizes of the machine or the version.
SIZED = {"block_size", "effective_attention_block_size", "gpu_memory_utilization", "kv_cache_max_concurrency",
         "kv_cache_memory_bytes", "kv_cache_size_tokens", "num_gpu_blocks"}  # fmt: skip


def comparable(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a recording without what is left out and without sizes."""
    kept = {}
    for name, entry in metrics.items():
        if not name.startswith(LEFT_OUT):
            labels = {
                key: None if key in SIZED else sorted(values) for key, values in entry["labels"].items()
            }
            kept[name] = {"type": entry["type"], "labels": labels}
    return kept


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Where two recordings differ, a sentence for each place; the order of fields counts."""
    if isinstance(left, dict) and isinstance(right, dict):
        found = [f"{where}: only the first has {key!r}" for key in left if key not in right]
        found += [f"{where}: only the second has {key!r}" for key in right if key not in left]
        common = [key for key in left if key in right]
        if common != [key for key in right if key in left]:
            found.append(f"{where}: fields in another order: {list(left)} and {list(right)}")
        return found + [
            told for key in common for told in differences(left[key], right[key], f"{where}/{key}")
        ]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [told for index, (a, b) in pairs for told in differences(a, b, f"{where}/{index}")]
    # 1 == True and 0 == False in Python, and not on the wire.
    return [] if left == right and type(left) is type(right) else [f"{where}: {left!r} and {right!r}"]


@contextlib.contextmanager
def simulated(names: Sequence[str], max_model_len: int, *more: str) -> Iterator[str]:
    """The base URL of a simulated engine on a free port of loopback; it is killed at the end."""
    command = [sys.executable, "-m", "torpor_sim", names[0], "--listen", "127.0.0.1:0"]
    command += ["--served-model-name", *names, "--max-model-len", str(max_model_len), *more]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as process:

        def address() -> str:
            log.seek(0)
            told = log.read()
            if process.poll() is not None:
                raise RuntimeError(f"torpor-sim ended with {process.returncode}: {told}")
            found = re.search(r"on (http://\S+)", told)
            return found[1] if found else ""

        try:
            yield until("the simulated engine serves", address, seconds=120)
        finally:
            process.kill()


def compare(address: str, *more: str) -> list[str]:
    """Compare the vLLM at the base URL `address` (http://10.1.2.3:8000) with the simulated engine.

    Served names and context length are asked of it; `more` are further arguments of the simulated engine.
    Returns what differs, "the first" being vLLM and "the second" the simulation; nothing when they are alike.
    Raises httpx.HTTPError when the engine cannot be asked at all, KeyError or ValueError when its list of
    models cannot be read.
    """
    with httpx.Client(base_url=address, timeout=SECONDS, trust_env=False) as client:
        served = client.get("/v1/models").raise_for_status().json()["data"]
    names = [str(card["id"]) for card in served]
    real_answers, real_metrics = record(address, names[0])
    with simulated(names, int(served[0]["max_model_len"]), *more) as beside:
        answers, metrics = record(beside, names[0])
    found = differences(real_answers, answers, "answers")
    return found + differences(comparable(real_metrics), comparable(metrics), "metrics")


if __name__ == "__main__":
    told = compare(*sys.argv[1:])
    sys.exit("\n".join(told) if told else None)
