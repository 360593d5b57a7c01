"""Torpor's decision and thirteen published rules on the same traffic, beside what is possible at all.

Every policy runs in the same simulator on the same requests, with the same cold starts, the same gateway
and the same engine (70B fp8 on four H100), rivals at their defaults and tuned on two days of the first half;
the second half is scored. The table has a row per policy: requests within the objectives (TTFT 2 s, mean ITL
50 ms), replica-hours, their ratio to a lower bound that no policy can pass and to what a policy that knows
the future pays in the same simulator, and a verdict. `bench/arena` has the parts,
docs/reference/autoscaling-benchmark.md the protocol and the rivals' sources.

Everything comes from the seed. Finished cells are kept in `--cache`, so an interrupted table goes on where it
stopped. `--quick` is three short loads of our own at one cold start, rivals at their defaults (`--tuning`
tunes them all the same). Usage:

    python bench/autoscaling.py [--traces FOLDER] [--trace NAME]... [--cold-start SECONDS]...
                                [--condition NAME]... [--policy NAME]... [--hardware NAME] [--quick]
                                [--[no-]tuning] [--no-achievable] [--jobs N] [--json] [--plot FILE.svg]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

from torpor.simulate import rivals
from torpor.simulate.fleet import SimulationError
from torpor.simulate.hardware import HardwareError, find
from torpor.simulate.traces import TraceError

from bench.arena import loads, picture, table
from bench.arena.cells import Cell, Store, best, grid, known

COLD_STARTS = (30.0, 120.0, 300.0)
TUNED_AT = 120.0
QUICK_LOADS = ("smooth", "overnight", "bursty")
TROUBLED = ("smooth",)  # loads on which something goes wrong, besides the runs without


def main() -> int:
    options = arguments()
    names = options.trace or (QUICK_LOADS if options.quick else everything(options.traces))
    colds = options.cold_start or ([TUNED_AT] if options.quick else list(COLD_STARTS))
    policies = options.policy or ["torpor", *rivals.RIVALS]
    began = time.monotonic()
    store = Store(options.cache, options.traces)
    try:
        for name in names:
            if name not in {*loads.RECORDED, *loads.OWN}:
                raise ValueError(
                    f"--trace {name}: unknown; choose of {', '.join((*loads.RECORDED, *loads.OWN))}"
                )
        for name in policies:
            if name != "torpor" and not name.startswith("static:"):
                rivals.parse(name)
        find(options.hardware)
        for cold in colds:
            if not 0 <= cold <= 86_400:
                raise ValueError(f"--cold-start {cold:g}: must be a number of seconds from 0 to 86400")
        groups = benchmark(store, options, names, colds, policies)
        if options.plot:
            drawing = picture.draw(groups, TUNED_AT if TUNED_AT in colds else colds[0])
            beside = options.plot.with_name(f".{options.plot.name}.{os.getpid()}")
            beside.write_text(drawing, encoding="utf-8")
            beside.replace(options.plot)
    except (OSError, ValueError, TraceError, HardwareError, SimulationError, rivals.RivalError) as error:
        print(f"autoscaling.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    report = {
        "hardware": options.hardware,
        "seed": options.seed,
        "quick": options.quick,
        "wall_seconds": round(time.monotonic() - began, 1),
        "groups": [{**group, "verdict": table.verdict(group)} for group in groups],
    }
    print(json.dumps(report, indent=1) if options.json else table.text(groups))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", help="folder with the recorded traces")
    parser.add_argument("--trace", action="append", metavar="NAME", help="a load; repeatable, default: all")
    parser.add_argument("--cold-start", action="append", type=float, metavar="SECONDS", help="repeatable")
    parser.add_argument("--condition", action="append", choices=loads.CONDITIONS, help="repeatable")
    parser.add_argument("--policy", action="append", metavar="NAME", help="repeatable, default: all")
    parser.add_argument("--hardware", default=loads.HARDWARE, help="built-in name or .json; goals: default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="short loads, one cold start, no tuning")
    parser.add_argument(
        "--tuning", action=argparse.BooleanOptionalAction, help="rivals tuned too; default unless --quick"
    )
    parser.add_argument("--no-achievable", action="store_true", help="leave out the policy that knows all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the frontier")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--cache", type=Path, default=home / "torpor" / "autoscaling")
    options = parser.parse_args()
    if options.tuning is None:
        options.tuning = not options.quick
    if not 1 <= options.jobs <= 256:
        parser.error(f"--jobs must be within 1 and 256, got {options.jobs}")
    if options.seed < 0:
        parser.error(f"--seed must be 0 or more, got {options.seed}")
    return options


def everything(folder: str | None) -> list[str]:
    """All loads there are: the recordings only where their folder was named."""
    return [*(loads.RECORDED if folder else ()), *loads.OWN]


def benchmark(
    store: Store, options: argparse.Namespace, names: Iterable[str], colds: list[float], policies: list[str]
) -> list[dict[str, Any]]:
    """All groups. First every tuning cell, then every scored one, so that workers never wait."""
    groups = [
        (name, cold, condition)
        for name in names
        for cold in colds
        for condition in options.condition
        or (loads.CONDITIONS if name in TROUBLED and not options.quick else ("none",))
    ]
    facts = {
        one.load: found
        for one, found in work(
            store, [known(cell(options, "known", name, 0.0)) for name, _, _ in groups], options.jobs
        ).items()
    }
    tuned: dict[tuple[str, str], str] = {}
    if options.tuning:
        tuned = tuning(store, options, facts, policies)
    wanted: list[Cell] = []
    for name, cold, condition in groups:
        wanted.append(cell(options, "bound", name, cold))
        if not options.no_achievable:
            wanted.append(cell(options, "achievable", name, cold))
        wanted += [
            cell(options, "score", name, cold, condition, policy)
            for policy, _ in variants(name, policies, tuned)
        ]
    found = work(store, wanted, options.jobs)
    result = []
    for name, cold, condition in groups:
        least = found[cell(options, "bound", name, cold)]
        ideal = found.get(cell(options, "achievable", name, cold), {}).get("achievable_replica_hours")
        rows = [
            table.row(
                found[cell(options, "score", name, cold, condition, policy)],
                variant,
                least["bound_replica_hours"],
                ideal,
            )
            for policy, variant in variants(name, policies, tuned)
        ]
        result.append(
            {
                "load": name,
                "cold_start": cold,
                "condition": condition,
                "hardware": options.hardware,
                **{key: facts[name][key] for key in ("rate_scale", "requests", "need_p99_9")},
                **least,
                "achievable_replica_hours": ideal,
                "rows": rows,
            }
        )
    return result


def cell(  # noqa: PLR0917 - a cell's own order
    options: argparse.Namespace, kind: str, name: str, cold: float, condition: str = "none", policy: str = ""
) -> Cell:
    return Cell(kind, name, cold, condition, policy, options.seed, options.quick, options.hardware)


def variants(name: str, policies: list[str], tuned: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """(policy, variant) of the rows of a load. A policy that was given with parameters is not tuned."""
    rows = []
    for policy in policies:
        ours = policy == "torpor"
        rows.append((policy, "ours" if ours else "given" if ":" in policy else "default"))
        if (name, policy) in tuned:
            rows.append((tuned[name, policy], "tuned"))
    return rows


def tuning(
    store: Store, options: argparse.Namespace, facts: dict[str, dict[str, Any]], policies: list[str]
) -> dict[tuple[str, str], str]:
    """The best of each rival's defaults and grid for each load."""
    tried = {
        (name, family): [family, *grid(family, facts[name], options.hardware)]
        for name in facts
        for family in policies
        if family in rivals.RIVALS
    }
    cells = [
        cell(options, "tune", name, TUNED_AT, policy=policy)
        for (name, _), listed in tried.items()
        for policy in listed
    ]
    found = work(store, cells, options.jobs)
    return {
        (name, family): best(
            {policy: found[cell(options, "tune", name, TUNED_AT, policy=policy)] for policy in listed}
        )
        for (name, family), listed in tried.items()
    }


def work(store: Store, cells: list[Cell], jobs: int) -> dict[Cell, dict[str, Any]]:
    """Every cell's result. New ones run in `jobs` processes, a load at a time, and are kept as they end."""
    found: dict[Cell, dict[str, Any]] = {}
    missing: list[Cell] = []
    for one in dict.fromkeys(cells):
        kept = store.get(one)
        if kept is None:
            missing.append(one)
        else:
            found[one] = kept
    if not missing:
        return found
    began, done = time.monotonic(), 0
    missing.sort(key=lambda one: one.load)

    def ended(one: Cell, result: dict[str, Any]) -> None:
        nonlocal done
        found[one], done = result, done + 1
        told = f"{one.kind} {one.load} {one.cold_start:g} s {one.condition} {one.policy}"
        print(
            f"[{done}/{len(missing)}, {time.monotonic() - began:.0f} s] {told}", file=sys.stderr, flush=True
        )

    if jobs == 1:
        for one in missing:
            ended(one, store.run(one))
        return found
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[dict[str, Any]], Cell] = {pool.submit(store.run, one): one for one in missing}
        try:
            for future in as_completed(waiting):
                ended(waiting[future], future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


if __name__ == "__main__":
    sys.exit(main())
