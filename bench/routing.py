"""What routing by beginnings is worth: hits, balance and time to the first token on a trace with hashes.

Eight simulated engines with caches; texts made of the trace's blocks and sent through the production identity
and choice; one gateway process, and three that know nothing of each other. Arrivals that a trace rounds to
whole seconds are spread evenly within them (`--spread`, from a seed): nobody's clients come ten at a time.

    python bench/routing.py --trace FILE [--hardware NAME] [--json]

hit percent: prompt tokens found in the caches. of all-knowing: the same as a share of what the all-knowing
router gets under the same bound. load: over windows of ten minutes the largest replica's mean number of
requests over that of all, the worst window; sent: the same of requests sent.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torpor.simulate import traces
from torpor.simulate.fleet import Setup
from torpor.simulate.profiles import profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

from bench.router import rivals, world

WINDOW = 600.0  # seconds
ROWS = (
    ("all-knowing", rivals.AllKnowing, (1,)),
    ("Torpor PrefixAware", rivals.PrefixAware, (1, 3)),
    ("Torpor LeastLoaded", rivals.LeastLoaded, (1, 3)),
    ("round robin", rivals.RoundRobin, (1, 3)),
    ("vllm-router cache_aware", rivals.CacheAware, (1, 3)),
)


def spread(trace: traces.Trace, seconds: float, seed: int = 7) -> traces.Trace:
    """The trace with every arrival up to so many seconds later."""
    if trace.prefixes is None:
        raise traces.TraceError(
            "the trace tells no blocks of prompts (hash_ids): nothing can be said of caches"
        )
    arrival = trace.arrival + np.random.default_rng(seed).uniform(0, seconds, len(trace))
    order = np.argsort(arrival, kind="stable")
    prefixes = traces.Prefixes(*trace.prefixes.chosen(order), trace.prefixes.tokens)
    return traces.Trace(arrival[order], trace.prompt[order], trace.output[order], prefixes)


def balance(run: world.World) -> tuple[float, float]:
    """The worst window's largest over mean, of requests at replicas and of requests sent."""
    requests, count = run.replicas.requests, run.count
    load = sent = 1.0
    last = float(requests["arrival"][-1])
    for begin in np.arange(0, max(last - WINDOW, 1), WINDOW):
        end = min(begin + WINDOW, last)
        inside = (requests["arrival"] >= begin) & (requests["arrival"] < end)
        counts = np.bincount(run.sent[inside], minlength=count)
        present = np.clip(
            np.minimum(requests["finish"], end) - np.maximum(requests["arrival"], begin), 0, None
        )
        busy = np.bincount(run.sent, weights=present, minlength=count)
        sent = max(sent, float(counts.max() / counts.mean()))
        load = max(load, float(busy.max() / busy.mean()))
    return load, sent


def figures(run: world.World) -> dict[str, Any]:
    """What a run gave."""
    requests, pods = run.replicas.requests, run.replicas.pods
    ttft = requests["first"] - requests["arrival"]
    load, sent = balance(run)
    hits = float(pods["cached"].sum() / (pods["cached"].sum() + pods["prompts"].sum()))
    return {
        "hit_percent": round(100 * hits, 2),
        "ttft_mean_seconds": round(float(ttft.mean()), 3),
        "ttft_p99_seconds": round(float(np.quantile(ttft, 0.99)), 2),
        "load_max_over_mean": round(load, 2),
        "sent_max_over_mean": round(sent, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=Path, required=True, help="JSON lines with hash_ids")
    parser.add_argument("--hardware", default="llama-3.1-70b-bf16-h100-tp4")
    parser.add_argument("--engines", type=int, default=8)
    parser.add_argument("--spread", type=float, default=3.0, help="seconds; 0: arrivals as they are")
    parser.add_argument("--requests", type=int, help="only so many, from the beginning")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kind = profile(options.hardware)
    setup = Setup(
        cost=kind.cost,
        kv_tokens=kind.kv_tokens,
        max_num_seqs=kind.max_num_seqs,
        max_num_batched_tokens=kind.max_num_batched_tokens,
        cold_start=0.0,
    )
    trace = spread(traces.read(options.trace), options.spread)
    if options.requests:
        chosen = np.arange(min(options.requests, len(trace)))
        assert trace.prefixes is not None
        prefixes = traces.Prefixes(*trace.prefixes.chosen(chosen), trace.prefixes.tokens)
        trace = traces.Trace(trace.arrival[chosen], trace.prompt[chosen], trace.output[chosen], prefixes)
    found = world.identities(trace)
    rows: list[dict[str, Any]] = []
    for name, make, processes in ROWS:
        for gateways in processes:
            run = world.World(trace, found, setup, options.engines, gateways)
            run.run(make)
            row = {"router": name, "gateways": gateways} | figures(run)
            best = rows[0]["hit_percent"] if rows else row["hit_percent"]
            rows.append(row | {"of_all_knowing_percent": round(100 * row["hit_percent"] / best, 1)})
    if options.json:
        print(json.dumps({"requests": len(trace), "hardware": options.hardware, "rows": rows}))
        return
    print("| " + " | ".join(name.replace("_", " ") for name in rows[0]) + " |")
    print("|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
