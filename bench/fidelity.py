"""Does the simulator foretell what a real vLLM does? Five loads, two of them to fit, three to foretell.

A real vLLM serves SmolLM2 on this machine's CPU. Each load is a seeded list of requests (when, how long a
prompt, how many tokens), sent as token numbers drawn at random, so that lengths are exact and no prefix is
shared. From two loads the constants of a step, a + b*B + c*KV + d*P, are fitted: those with which the
simulator's own requests are nearest to the real ones. With them it runs the other three, and throughput
(generated tokens a second from the first request to the last token), the median of requests' mean ITL and the
median TTFT are compared. Rates follow from the fitted constants, so that any machine meets the same shares of
its own capacity; the herd is more than it can do.

    python bench/fidelity.py [--out FOLDER] [--json] [--only LOAD] [--seconds 180] [--port N]

Every finished load stays in FOLDER (default: in the user's cache) and is not measured again; with all five
there, only the table is made. With --port the engine that serves the model `m` on that port of loopback is
measured instead: a simulated one shows what the method itself is worth. Measure on a quiet machine: a
neighbour is in every figure. About a quarter of an hour.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from torpor.simulate import results  # noqa: E402
from torpor.simulate.fleet import Setup, Simulation  # noqa: E402
from torpor.simulate.policies import Static  # noqa: E402
from torpor.simulate.profiles import StepCost  # noqa: E402
from torpor.simulate.traces import Trace  # noqa: E402

from e2e.cluster.vllm_env import ensure_env  # noqa: E402
from e2e.support.artifacts import describe_machine  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torpor" / "fidelity"
SEQS, BUDGET = 8, 1024
FITTED = ("alone", "crowd")
FORETOLD = ("steady-40", "steady-70", "herd")
GOALS = {"throughput": 10.0, "itl_p50_ms": 20.0, "ttft_p50_ms": 20.0}  # percent
VOCABULARY = 40_000  # token numbers below are ordinary ones
START_SECONDS = 300.0
REQUEST_SECONDS = 240.0


class LoadError(Exception):
    """A load that cannot be used."""


def crowd(draws: np.random.Generator, count: int, longest: int) -> Trace:
    """Everybody at once, as far as one client can."""
    at = np.arange(count, dtype=np.float64) * 0.02
    return Trace(at, draws.integers(50, longest, count), draws.integers(20, 90, count))


def load(name: str, seconds: float, cost: StepCost | None) -> Trace:
    """The requests of one load. The steady ones need the fitted cost."""
    draws = np.random.default_rng([ord(letter) for letter in name])
    if name == "alone":
        at = np.arange(8) * seconds / 8
        return Trace(at, draws.integers(50, 700, 8), draws.integers(20, 60, 8))
    if name == "crowd":
        return crowd(draws, 24, 600)
    if name == "herd":
        return crowd(draws, 32, 300)
    assert cost is not None
    share = int(name.partition("-")[2]) / 100
    prompt, output = draws.integers(50, 500, 400), draws.integers(20, 90, 400)
    full = cost.seconds(SEQS, int(SEQS * (prompt.mean() + output.mean() / 2)), 0)  # a step of a full batch
    each = float(output.mean()) * full / SEQS + cost.d * float(prompt.mean()) / 1000
    at = np.cumsum(draws.exponential(each / share, 400))
    within = max(10, int(np.searchsorted(at, seconds)))
    return Trace(at[:within], prompt[:within], output[:within])


# --- the real engine ---


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[int]:
    """Serve the model on a free port of loopback."""
    env = ensure_env().as_json()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        str(env["vllm"]),
        "serve",
        str(env["model"]),
        "--served-model-name",
        "m",
        "--host",
        "127.0.0.1",
    ]
    command += ["--port", str(port), *map(str, env["args"])]  # type: ignore[call-overload]
    command += ["--max-num-batched-tokens", str(BUDGET), "--no-enable-prefix-caching"]
    with (folder / "vllm.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | env["env"],  # type: ignore[operator]
            start_new_session=True,
        )
    try:
        _until_ready(process, port, folder / "vllm.log")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"vLLM did not start; its last words are in {log}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            if b" 200 " in probe.recv(100):
                return
        time.sleep(0.5)


async def ask(port: int, prompt: list[int], output: int) -> dict[str, float]:
    """One streamed completion: seconds from sending to the first and to the last token, and how many came."""
    body = json.dumps(
        {"model": "m", "prompt": prompt, "max_tokens": output, "ignore_eos": True, "temperature": 0}
        | {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    began = time.monotonic()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + body)
    first, last, tokens = math.nan, math.nan, 0
    try:
        while line := await reader.readline():
            found = re.search(rb'"completion_tokens":(\d+)', line)
            if found and int(found[1]) > tokens:
                last, tokens = time.monotonic(), int(found[1])
                first = last if math.isnan(first) else first
    finally:
        writer.close()
    if tokens != output:
        raise LoadError(f"{tokens} tokens came of {output}; see vllm.log in the folder of the results")
    return {"ttft": first - began, "total": last - began}


async def measure(port: int, trace: Trace, seed: int) -> list[dict[str, float]]:
    """Send the requests at their times; what each of them met, with when it was sent."""
    draws = np.random.default_rng(seed)
    prompts = [draws.integers(1000, VOCABULARY, n).tolist() for n in trace.prompt.tolist()]
    begin = time.monotonic() + 0.2

    async def one(at: float, prompt: list[int], output: int) -> dict[str, float]:
        await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
        sent = time.monotonic() - begin
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                told = await ask(port, prompt, output)
        except TimeoutError:
            raise LoadError(
                f"a request of {len(prompt)} and {output} tokens took more than {REQUEST_SECONDS:.0f} s: "
                "this machine is too busy to measure on"
            ) from None
        return {"sent": sent, "prompt": len(prompt), "output": output} | told

    rows = zip(trace.arrival.tolist(), prompts, trace.output.tolist(), strict=True)
    return await asyncio.gather(*(one(*row) for row in rows))


def measured_or_end(name: str, port: int, trace: Trace) -> list[dict[str, float]]:
    """`measure`, or the end of the program in one line."""
    print(f"{name}: {len(trace)} requests", file=sys.stderr)
    try:
        return asyncio.run(measure(port, trace, len(name)))
    except (LoadError, OSError) as error:
        raise SystemExit(f"{name}: {error}; nothing of this load was kept") from None


# --- the simulator ---


def sent(records: list[dict[str, float]]) -> Trace:
    """The trace as it was really sent."""
    records = sorted(records, key=lambda record: record["sent"])
    at = np.array([record["sent"] for record in records])
    prompt = np.array([int(record["prompt"]) for record in records])
    output = np.array([int(record["output"]) for record in records])
    return Trace(at - at[0], prompt, output)


def simulated(trace: Trace, cost: StepCost, kv_tokens: int) -> dict[str, Any]:
    """TTFT and mean ITL of each request in seconds, and the time of the last token."""
    setup = Setup(
        cost, kv_tokens, SEQS, BUDGET, 0.0, initial=1, queue_target=10_000, queue_seconds=1e9, look=60.0
    )
    run = Simulation(trace, setup, Static(1)).run()
    ttft, itl = results.latencies(run.requests)
    return {"ttft": ttft / 1000, "itl": itl / 1000, "end": float(run.requests["finish"].max())}


def real(records: list[dict[str, float]]) -> dict[str, Any]:
    """The same of what was measured."""
    records = sorted(records, key=lambda record: record["sent"])
    ttft = np.array([record["ttft"] for record in records])
    itl = np.array([(record["total"] - record["ttft"]) / (record["output"] - 1) for record in records])
    end = max(record["sent"] + record["total"] for record in records) - records[0]["sent"]
    return {"ttft": ttft, "itl": itl, "end": end}


def fit(measured: dict[str, list[dict[str, float]]], kv_tokens: int) -> StepCost:
    """The constants with the smallest mean |log(simulated/real)| over TTFT and ITL of the fitted loads.

    A search along the four axes in the logarithm, with steps that shrink: the loss has kinks, no gradient.
    """
    pairs = [(sent(measured[name]), real(measured[name])) for name in FITTED]

    def loss(point: list[float]) -> float:
        total = 0.0
        for trace, truth in pairs:
            told = simulated(trace, StepCost(*map(math.exp, point)), kv_tokens)
            for what in ("ttft", "itl"):
                total += float(np.mean(np.abs(np.log(told[what] / truth[what]))))
        return total

    alone = real(measured["alone"])
    step = 1000 * float(np.median(alone["itl"]))
    prompts = np.array([record["prompt"] for record in measured["alone"]])
    slope = max(0.001, (1000 * float(np.median(alone["ttft"])) - step) / float(np.median(prompts)))
    point = [math.log(value) for value in (step, step / 10, step / 1e5, slope)]
    best, stride = loss(point), math.log(2.0)
    while stride > 0.01:
        improved = False
        for axis in range(4):
            for change in (stride, -stride):
                tried = [*point]
                tried[axis] += change
                value = loss(tried)
                if value < best - 1e-9:
                    best, point, improved = value, tried, True
                    break
        if not improved:
            stride /= 2
    return StepCost(*map(math.exp, point))


def figures(trace: Trace, told: dict[str, Any]) -> dict[str, float]:
    """What is compared."""
    return {
        "throughput": float(trace.output.sum()) / told["end"],
        "itl_p50_ms": 1000 * statistics.median(told["itl"].tolist()),
        "ttft_p50_ms": 1000 * statistics.median(told["ttft"].tolist()),
    }


def report(measured: dict[str, list[dict[str, float]]], cost: StepCost, kv_tokens: int) -> dict[str, Any]:
    """Real and simulated figures per load, and how far apart they are in percent of the real ones."""
    loads = {}
    for name, records in measured.items():
        trace = sent(records)
        truth, told = figures(trace, real(records)), figures(trace, simulated(trace, cost, kv_tokens))
        loads[name] = {
            what: {
                "real": round(truth[what], 2),
                "simulated": round(told[what], 2),
                "off_percent": round(100 * (told[what] / truth[what] - 1), 1),
                "goal_percent": goal,
            }
            for what, goal in GOALS.items()
        } | {"requests": len(records), "fitted": name in FITTED}
    constants = {name: round(getattr(cost, name), 6) for name in "abcd"}
    return {"machine": describe_machine(), "constants_ms": constants, "loads": loads}


def table(told: dict[str, Any]) -> str:
    """The same as Markdown."""
    lines = [
        f"{told['machine']}; a, b, c, d = "
        + ", ".join(f"{value:.4g}" for value in told["constants_ms"].values())
        + " ms",
        "",
        "| load | requests | tokens/s real, simulated | ITL p50 (ms) | TTFT p50 (ms) | off by (%) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in told["loads"].items():
        cells = [f"{row[what]['real']:g}, {row[what]['simulated']:g}" for what in GOALS]
        off = ", ".join(f"{row[what]['off_percent']:+.1f}" for what in GOALS)
        lines.append(
            f"| {name}{' (fitted)' if row['fitted'] else ''} | {row['requests']} | "
            + " | ".join(cells)
            + f" | {off} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=CACHE)
    parser.add_argument("--only", choices=[*FITTED, *FORETOLD], help="measure this load and stop")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long a steady load lasts")
    parser.add_argument("--port", type=int, help="measure the engine that serves `m` there")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no engine may outlive its measurement
    options.out.mkdir(parents=True, exist_ok=True)
    kv_tokens = 40_000  # far more than eight sequences need, so that it never limits
    measured: dict[str, list[dict[str, float]]] = {}
    cost: StepCost | None = None
    wanted = [options.only] if options.only else [*FITTED, *FORETOLD]
    with contextlib.ExitStack() as stack:
        port: int | None = None
        for name in [*FITTED, *FORETOLD]:
            file = options.out / f"{name}.json"
            if file.exists():
                measured[name] = json.loads(file.read_text())
            elif name in wanted:
                if name in FORETOLD and cost is None:
                    missing = [other for other in FITTED if other not in measured]
                    if missing:
                        raise SystemExit(f"{name} needs {', '.join(missing)} first; leave out --only")
                    cost = fit(measured, kv_tokens)
                if port is None:
                    print("starting vLLM" if options.port is None else "measuring", file=sys.stderr)
                    port = options.port or stack.enter_context(engine(options.out))
                    measured_or_end("warm-up", port, crowd(np.random.default_rng(0), 4, 600))
                measured[name] = measured_or_end(name, port, load(name, options.seconds, cost))
                file.write_text(json.dumps(measured[name]))
    if any(name not in measured for name in FITTED):
        print("no comparison yet: " + ", ".join(measured) + " measured", file=sys.stderr)
        return
    told = report(measured, cost or fit(measured, kv_tokens), kv_tokens)
    print(json.dumps(told, indent=2) if options.json else table(told))


if __name__ == "__main__":
    main()
