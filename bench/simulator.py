"""How many requests a second the simulator takes in, deciding included, on one core.

A trace is read, scaled, and run under a fixed number of replicas (the simulator alone) and under the
production decision with objectives (what a backtest costs). Compiling and reading are timed apart: they are
paid once. CPU seconds of this process are the figure, wall seconds stand beside them, because a busy machine
measures itself.

    python bench/simulator.py --trace FILE [--rate-scale K] [--look SECONDS]
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

from torpor.api import validation
from torpor.simulate import plan, traces
from torpor.simulate.fleet import FleetPolicy, Setup, Simulation
from torpor.simulate.hardware import find
from torpor.simulate.policies import Static

from bench.arena.cells import FLEET

GOAL = 200_000  # requests a second


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--rate-scale", type=float, default=1.0)
    parser.add_argument("--look", type=float, default=10.0)
    parser.add_argument("--hardware", default="llama-3.1-70b-fp8-h100-tp4")
    parser.add_argument("--static", type=int, default=12, help="replicas of the run without deciding")
    options = parser.parse_args()
    began = time.process_time()
    trace = traces.read(options.trace)
    read = time.process_time() - began
    trace = traces.scaled(trace, options.rate_scale, 0)
    checked = validation.check(FLEET)
    assert checked.fleet is not None, checked.problems
    fleet = checked.fleet
    replica = plan.engine(fleet, find(options.hardware), trace)
    setup = plan.setup(fleet, replica, cold_start=120.0, look=options.look, seed=0, gateways=2)
    began = time.process_time()
    first = traces.Trace(trace.arrival[:10], trace.prompt[:10], trace.output[:10])
    Simulation(first, setup, Static(1)).run()
    compiling = time.process_time() - began
    report: dict[str, Any] = {
        "requests": len(trace),
        "days": round(float(trace.arrival[-1]) / 86400, 2),
        "read_seconds": round(read, 2),
        "compile_seconds": round(compiling, 2),
        "goal_per_second": GOAL,
    }
    report |= {
        name: measure(trace, setup, plan.policy(name, fleet, replica, trace))
        for name in (f"static:{options.static}", "torpor")
    }
    print(json.dumps(report, indent=2))


def measure(trace: traces.Trace, setup: Setup, policy: FleetPolicy) -> dict[str, Any]:
    """Run once; figures of this process alone."""
    simulation = Simulation(trace, setup, policy)
    wall, cpu = time.perf_counter(), time.process_time()
    run = simulation.run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "per_second": round(len(trace) / cpu),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "looks": run.looks,
        "mean_replicas": round(sum(died - born for born, died in run.lives) / max(run.end, 1.0), 2),
        "completed_percent": round(100 * float(np.mean(run.requests["end"] == 1)), 3),
    }


if __name__ == "__main__":
    main()
