"""The picture of the README: a week of traffic, the GPUs it took, and what always-on would have burnt.

A week of a published trace runs through the simulator under the decision that runs in production: a 70B
model on four H100 a replica, cold starts of two minutes, asleep when nobody asks. What came of it
(requests a second, GPUs billed, a few figures) is kept in bench/week.json, because the trace is not in
the repository; docs/week.svg is drawn from that record and the README quotes it. Besides, a night that
needs no trace (its requests come from a seed) is simulated with the same fleet and kept: a test simulates
it again, so that a decision which has changed since shows the picture to be old. Usage:

    python bench/week.py                    draw from the record and print its figures
    python bench/week.py --traces FOLDER    simulate the week anew first, and write the record

The trace is that of alibaba/ServeGen's mid-size models (Apache-2.0): client rates and length quantiles as
published, sampled, a quarter of the requests; here superposed twelve times, so three times the published
load.
"""

import argparse
import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

from torpor.api import validation
from torpor.simulate import bound, plan, results, traces
from torpor.simulate.fleet import Run, Simulation
from torpor.simulate.hardware import HardwareError, find
from torpor.simulate.policies import Torpor
from torpor.simulate.traces import Trace, TraceError

from bench.arena import loads
from bench.arena.cells import FLEET
from bench.week_picture import draw

ROOT = Path(__file__).resolve().parents[1]
RECORD, PICTURE = ROOT / "bench/week.json", ROOT / "docs/week.svg"
TRACE, SUPERPOSED = loads.RECORDED["mid52"], 12.0
SOURCE = "alibaba/ServeGen, Apache-2.0"
HARDWARE, GPUS = loads.HARDWARE, 4  # of a replica
MAX_REPLICAS, COLD_START, LOOK = 8, 120.0, 10.0
DAYS, SLOT = 7, 900.0  # of the drawn rate, seconds
CONTROL_LOAD, CONTROL_SHARE, CONTROL_HOURS = "overnight", 0.2, (18, 33)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, help=f"folder with {TRACE}: simulate anew")
    options = parser.parse_args()
    try:
        if options.traces:
            _write(RECORD, json.dumps(recorded(options.traces / TRACE), separators=(",", ":")) + "\n")
        record = json.loads(RECORD.read_text(encoding="utf-8"))
        _write(PICTURE, draw(record))
    except (OSError, TraceError, HardwareError) as error:
        print(f"week.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(table(record))
    return 0


def recorded(path: Path) -> dict[str, Any]:
    """Simulate the week and the control night. Raises OSError and TraceError."""
    week = traces.scaled(traces.read(path), SUPERPOSED, 0)
    within = int(np.searchsorted(week.arrival, DAYS * loads.DAY))
    week = Trace(week.arrival[:within], week.prompt[:within], week.output[:within])
    run, figures = simulated(week)
    places = (week.arrival // SLOT).astype(np.int64)
    rates = np.bincount(places, minlength=int(DAYS * loads.DAY / SLOT)) / SLOT
    return {
        "trace": {
            "file": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "source": SOURCE,
            "superposed": SUPERPOSED,
        },
        "hardware": HARDWARE,
        "gpus_per_replica": GPUS,
        "max_replicas": MAX_REPLICAS,
        "cold_start_seconds": COLD_START,
        "hours": DAYS * 24,
        "figures": figures,
        "slot_seconds": SLOT,
        "requests_per_second": [round(float(rate), 2) for rate in rates],
        "billed_replicas": billed(run, DAYS * loads.DAY),
        "control": control(),
    }


def control() -> dict[str, Any]:
    """Figures of the night that needs no trace."""
    return simulated(control_night())[1]


def control_night() -> Trace:
    """A night from a seed: an evening's traffic until 20 o'clock, nothing until 8, a morning's first hour."""
    begins, ends = (hour * loads.HOUR for hour in CONTROL_HOURS)
    return traces.scaled(loads.own(CONTROL_LOAD, 0, quick=True).part(begins, ends), CONTROL_SHARE, 0)


def simulated(trace: Trace) -> tuple[Run, dict[str, Any]]:
    """The trace under the production decision, and its figures."""
    manifest: dict[str, Any] = copy.deepcopy(FLEET)
    manifest["spec"]["scaling"]["maxReplicas"] = MAX_REPLICAS
    del manifest["spec"]["traffic"]  # the gateway's own limits
    service = validation.check(manifest).fleet
    assert service is not None
    replica = plan.engine(service, find(HARDWARE), trace)
    setup = plan.setup(service, replica, cold_start=COLD_START, look=LOOK, seed=0, gateways=2)
    driver = plan.policy("torpor", service, replica, trace)
    assert isinstance(driver, Torpor)
    run = Simulation(trace, setup, driver).run()
    scored = results.score(run, "torpor", ttft_ms=loads.TTFT_MS, itl_ms=loads.ITL_MS)
    kept = ("requests", "refused", "expired", "slo_attainment_percent", "replica_hours", "starts", "wakes")
    needed = bound.need(trace, replica, loads.ITL_MS)
    return run, {
        **{key: scored[key] for key in kept},
        "needed_at_peak": int(needed.max()),
        "held_p99_seconds": scored["held_seconds"]["p99"],
    }


def billed(run: Run, end: float) -> list[list[float]]:
    """(second, replicas) at each change of what is paid for, starting and draining replicas included."""
    changes = sorted(
        [(born, 1) for born, died in run.lives if died > born]
        + [(min(died, run.end), -1) for born, died in run.lives if died > born]
    )
    steps: dict[float, float] = {0.0: 0}
    count = 0
    for at, change in changes:
        count += change
        if at <= end:
            steps[round(at, 1)] = count
    return [[at, count] for at, count in steps.items()]


def replica_hours(steps: list[list[float]], end: float) -> float:
    """The area under the steps, in hours."""
    ends = [at for at, _ in steps[1:]] + [end]
    return sum(count * (until - at) for (at, count), until in zip(steps, ends, strict=True)) / 3600.0


def asleep_hours(steps: list[list[float]], end: float) -> float:
    """Hours without a replica."""
    return replica_hours([[at, float(count == 0)] for at, count in steps], end)


def quoted(record: dict[str, Any]) -> list[tuple[str, str]]:
    """What the README says, from the record."""
    figures, hours, gpus = record["figures"], record["hours"], record["gpus_per_replica"]
    end = hours * 3600.0
    used = figures["replica_hours"] * gpus
    most, peak = (n * hours * gpus for n in (record["max_replicas"], figures["needed_at_peak"]))
    return [
        ("GPU hours used", f"{used:,.0f}"),
        (
            f"always on at `maxReplicas` ({record['max_replicas']} replicas)",
            f"{most:,.0f}: {100 * (1 - used / most):.0f} % saved",
        ),
        (
            f"always on at the peak that was needed ({figures['needed_at_peak']} replicas)",
            f"{peak:,.0f}: {100 * (1 - used / peak):.0f} % saved",
        ),
        (
            "requests within the objectives (first token in 2 s, then one every 50 ms)",
            f"{figures['slo_attainment_percent']:.2f} % of {figures['requests']:,}",
        ),
        ("requests refused or expired", f"{figures['refused'] + figures['expired']:,}"),
        ("asleep", f"{asleep_hours(record['billed_replicas'], end):.0f} of {hours} hours"),
        (
            "cold starts, two minutes each",
            f"{figures['starts']}, {figures['wakes']} of them from zero",
        ),
    ]


def table(record: dict[str, Any]) -> str:
    """The figures as the README's table."""
    rows = [f"| {name} | {value} |" for name, value in quoted(record)]
    return "\n".join(["| the week | |", "| --- | --- |", *rows])


def _write(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
