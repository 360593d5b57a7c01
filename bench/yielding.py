"""What the order of the gateway's line is worth, with the same replicas at the same times.

Prompts and outputs are drawn from a trace; they arrive as a base of 3 replicas' load and 13 for an hour, all
from the seed. The replicas follow a plan that knows when the hour comes but not before it comes: so many more
are asked for ten seconds into it, and arrive a cold start later. Then the same run under several orders:

- first come, first served: no objective is given, and pods get what their long lines allow;
- the rule of `torpor.dispatch`;
- the same without the two bounds, to show what they cost and what they are for.

    python bench/yielding.py --trace FILE [--replicas 15 17 20] [--budget N] [--json]
"""

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torpor.decide.hardware import Hardware
from torpor.simulate import results, traces
from torpor.simulate.fleet import Setup, Simulation
from torpor.simulate.hardware import cost_of, find, for_objective, work_ms
from torpor.simulate.view import View

TTFT_MS, ITL_MS = 2000.0, 50.0
BASE, HIGH = 3, 13  # replicas' load at the ITL objective
BEGIN, LENGTH, END = 1800.0, 3600.0, 14_400.0  # seconds


class Plan:
    """So many replicas from the base on, and so many more while the burst lasts."""

    name = "plan"

    def __init__(self, high: int) -> None:
        self.high = high

    def look(self, view: View) -> int:
        """Return what the plan holds now."""
        return self.high if BEGIN + 10 <= view.now < BEGIN + LENGTH else BASE + 1


def burst(lengths: traces.Trace, replica: Hardware, seed: int) -> traces.Trace:
    """Poisson arrivals of the two rates, lengths drawn with replacement."""
    draws = np.random.default_rng(seed)
    capacity = 1000 * (1 - replica.a / ITL_MS) / float(np.mean(work_ms(replica, lengths)))
    at = np.sort(draws.uniform(0, END, draws.poisson(HIGH * capacity * END)))
    inside = (at >= BEGIN) & (at < BEGIN + LENGTH)
    at = at[inside | (draws.random(len(at)) < BASE / HIGH)]
    drawn = draws.integers(0, len(lengths), len(at))
    return traces.Trace(at, lengths.prompt[drawn], lengths.output[drawn])


def measure(load: traces.Trace, setup: Setup, high: int, *, bounds: bool) -> dict[str, Any]:
    """One run and its figures."""
    simulation = Simulation(load, setup, Plan(high))
    if not bounds:
        simulation.rules = simulation.rules._replace(
            place=1 << 60, urgent_growing=math.inf, urgent_busy=math.inf
        )
    run = simulation.run()
    ttft, itl = results.latencies(run.requests)
    figures = results.score(run, "plan", ttft_ms=TTFT_MS, itl_ms=ITL_MS)
    return {
        "attained_percent": round(figures["slo_attainment_percent"], 2),
        "ttft_percent": round(100 * float(np.mean(ttft <= TTFT_MS)), 2),
        "itl_percent": round(100 * float(np.mean(itl <= ITL_MS)), 2),
        "ttft_p999_seconds": round(float(np.nanpercentile(ttft, 99.9)) / 1000, 1),
        "ttft_max_seconds": round(float(np.nanmax(ttft)) / 1000, 1),
        "expired": figures["expired"],
        "replica_hours": round(figures["replica_hours"], 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=Path, required=True, help="where the lengths are drawn from")
    parser.add_argument("--hardware", default="llama-3.1-70b-fp8-h100-tp4")
    parser.add_argument("--budget", type=int, help="prefill budget; default: from the ITL objective")
    parser.add_argument("--cold-start", type=float, default=120.0)
    parser.add_argument("--replicas", type=int, nargs="+", default=[15, 17, 20])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lengths = traces.read(options.trace)
    replica = for_objective(find(options.hardware), lengths, ITL_MS, seqs=None, budget=options.budget)
    load = burst(lengths, replica, options.seed)
    base = Setup(
        cost=cost_of(replica),
        kv_tokens=replica.kv_tokens,
        max_num_seqs=replica.max_num_seqs,
        max_num_batched_tokens=replica.max_num_batched_tokens,
        cold_start=options.cold_start,
        max_waiting=1_000_000,
        initial=BASE + 1,
    )
    yielding = replace(base, ttft_objective=TTFT_MS / 1000)
    orders = (
        ("first come, first served", base, True),
        ("late yield to fresh", yielding, True),
        ("without bounds", yielding, False),
    )
    rows = [
        {"replicas": high, "order": name} | measure(load, setup, high, bounds=bounds)
        for high in options.replicas
        for name, setup, bounds in orders
    ]
    if options.json:
        print(json.dumps({"requests": len(load), "budget": replica.max_num_batched_tokens, "rows": rows}))
        return
    print(f"{len(load)} requests, budget {replica.max_num_batched_tokens} tokens, {HIGH} replicas' load\n")
    names = list(rows[0])
    print("| " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("|" + " --- |" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")


if __name__ == "__main__":
    main()
