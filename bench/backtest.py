"""How well `torpor backtest` knows a past that is known: a simulated week, recorded as Prometheus would have.

A week of traffic runs through the simulator under Torpor; what it cost and how it felt is the truth. Its
scrapes are written as OpenMetrics, made into blocks by promtool and served by a real Prometheus. Then
`torpor backtest` reads them over HTTP, under the same policy, and must say what the week was: from the
engines' metrics alone with an engine that it has to learn, with the engine named, and with the operator's
metrics besides. Usage:

    python bench/backtest.py [--load NAME] [--rate-scale K] [--days N] [--every SECONDS] [--cold-start
    SECONDS]
                             [--seeds N] [--keep FOLDER] [--json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

from torpor.api import validation
from torpor.history import backtest as tests
from torpor.history.driver import Production
from torpor.history.rebuild import until
from torpor.simulate import plan, traces
from torpor.simulate.fleet import Simulation

from bench import recorder, tsdb
from bench.arena import cells, loads
from tests.ports import free_port

START = 1_767_571_200.0  # Monday 2026-01-05, 00:00 UTC
FLEET = ("bench", "bench")
LABELS = 'namespace="bench",name="bench"'
HOURS_WITHIN, ATTAINMENT_WITHIN = 10.0, 2.0  # percent, percentage points
DAY = 86_400.0


def main() -> int:
    options = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        truth = record(options, folder)
        began = time.monotonic()
        tsdb.blocks(folder / "week.om", folder / "data")
        truth["promtool_seconds"] = round(time.monotonic() - began, 1)
        with tsdb.serving(folder / "data", free_port()) as address:
            rows = [asked(options, folder, address, truth, variant) for variant in VARIANTS]
    report = {"truth": truth, "backtests": rows}
    print(json.dumps(report, indent=1) if options.json else table(report))
    return 0 if all(row["within"] for row in rows) else 1


VARIANTS = (
    ("engines alone, learned", ("bench/other", "--selector", LABELS), False),
    ("engines alone, named", ("bench/other", "--selector", LABELS), True),
    ("with the operator", ("bench/bench",), True),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--load", default="overnight", choices=loads.OWN)
    parser.add_argument("--rate-scale", type=float, default=0.25)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds between scrapes and decisions")
    parser.add_argument("--cold-start", type=float, default=120.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="leave the recording here")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def record(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Simulate, write `week.om` and `fleet.yaml` into the folder, and return what the week was."""
    load = loads.own(options.load, 0)
    trace = traces.scaled(load.part(0.0, options.days * DAY), options.rate_scale, 0)
    replica = loads.replica_for(trace)
    service = validation.check(cells.FLEET).fleet
    assert service is not None
    (folder / "fleet.yaml").write_text(yaml.safe_dump(cells.FLEET))
    setup = plan.setup(
        service, replica, cold_start=options.cold_start, look=options.every, seed=77, gateways=2
    )
    policy = recorder.Watched(Production("torpor", service, replica, START), options.every)
    run = Simulation(until(trace, options.days * DAY), replace(setup, initial=0), policy).run()
    conditions = tests.Conditions(options.cold_start, options.every, loads.TTFT_MS, loads.ITL_MS)
    figures = tests.scored(run, conditions, [], options.days * DAY)
    samples = 0
    with (folder / "week.om").open("w") as out:
        for line in recorder.lines(
            policy, run, START, kv_tokens=replica.kv_tokens, labels=LABELS, fleet=FLEET, shapes=4
        ):
            out.write(line)
            samples += 1
    return {
        "requests": len(trace),
        "replica_hours": round(figures["hours"], 2),
        "attainment": round(figures["attained"], 3),
        "scale_changes": figures["changes"],
        "samples": samples,
    }


def asked(
    options: argparse.Namespace,
    folder: Path,
    address: str,
    truth: dict[str, Any],
    variant: tuple[str, tuple[str, ...], bool],
) -> dict[str, Any]:
    """One backtest through the command line, beside the truth."""
    name, fleet, named = variant
    command = [
        sys.executable,
        "-c",
        "from torpor.cli import main; main()",
        "backtest",
        "--prometheus",
        address,
    ]
    command += [
        "--fleet",
        *fleet,
        "--since",
        f"{round(options.days * 24)}h",
        "--policy",
        str(folder / "fleet.yaml"),
    ]
    command += ["--end", _told(START + options.days * DAY), "--cold-start", f"{options.cold_start:g}"]
    command += ["--seeds", str(options.seeds), "--look", f"{options.every:g}", "-o", "json"]
    command += ["--hardware", loads.HARDWARE] if named else []
    began = time.monotonic()
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    after = os.times()
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    row, was = report["policies"][0], report["happened"]
    hours = 100.0 * (row["replica_hours"]["median"] / truth["replica_hours"] - 1)
    points = row["slo_attainment_percent"]["median"] - truth["attainment"]
    return {
        "variant": name,
        "wall_seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(
            after.children_user + after.children_system - before.children_user - before.children_system, 1
        ),
        "requests": report["history"]["requests"],
        "replica_hours": row["replica_hours"],
        "off_percent": round(hours, 2),
        "attainment": row["slo_attainment_percent"],
        "off_points": round(points, 3),
        "happened_replica_hours": was["replica_hours"],
        "happened_attainment": was["slo_attainment_percent"],
        "hardware": report["hardware"],
        "within": abs(hours) <= HOURS_WITHIN and abs(points) <= ATTAINMENT_WITHIN,
    }


def _told(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def table(report: dict[str, Any]) -> str:
    """For people."""
    truth = report["truth"]
    told = [
        f"the week: {truth['requests']} requests, {truth['replica_hours']} replica-hours, "
        f"{truth['attainment']} % within the objectives; {truth['samples']} samples",
        f"{'':26}{'replica-hours':>16}{'off':>9}{'attained':>11}{'off':>9}{'wall s':>9}{'CPU s':>8}",
    ]
    told += [
        f"{row['variant']:26}{row['replica_hours']['median']:>16}{row['off_percent']:>+8.2f}%"
        f"{row['attainment']['median']:>10} %{row['off_points']:>+8.2f}{row['wall_seconds']:>9}"
        f"{row['cpu_seconds']:>8}"
        for row in report["backtests"]
    ]
    return "\n".join(told)


if __name__ == "__main__":
    raise SystemExit(main())
