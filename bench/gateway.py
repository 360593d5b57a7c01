"""What the gateway costs beside its peers: CPU per request and per token, and what it adds to the gaps.

Each gateway stands between the same two engines and the same client, one after the other within a round, and
figures are medians over the rounds. Posts of 600 bytes on 32 connections; 100 and 400 streams at 50 tokens a
second. CPU is that of the gateway's processes, so other work on the machine hardly shows in it; it does show
in every time, which wants a quiet machine. `bench/dataplane` has the parts, bench/README.md says what each
figure is, docs/reference/gateway-benchmark.md what came out.

A peer that cannot be installed or started is in the report with the reason. Usage:

    python bench/gateway.py [--json] [--against NAME,...] [--rounds N] [--seconds S] [--quick]
    python bench/gateway.py [--json] --streams 1000 [--rate 5] [--seconds 60]
    python bench/gateway.py [--json] --hold [--held 10000]
"""

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `bench` is a folder, not an installed package

import uvloop

from bench.dataplane import cells, peers, table
from bench.dataplane.cells import Gateway
from bench.dataplane.install import InstallError
from bench.dataplane.processes import StartError
from e2e.cluster import native

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

RATE = 50.0
TOO_MANY = 500  # requests beyond what may be held


def main() -> int:
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report: dict[str, Any] = {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 2)}
    with tempfile.TemporaryDirectory(prefix="torpor-bench-") as folder:
        try:
            report |= uvloop.run(work(options, Path(folder)))
        except (StartError, OSError) as error:
            print(f"gateway.py: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
    report["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(report, indent=1) if options.json else table.text(report))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--against", default=",".join(peers.PEERS), metavar="NAME,...", help=f"of {', '.join(peers.PEERS)}"
    )
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--seconds", type=float, help="of each measurement; default 4, with --streams 60")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all")
    parser.add_argument("--streams", type=int, metavar="N", help="N streams through ours, nothing else")
    parser.add_argument("--rate", type=float, default=5.0, help="tokens a second of each of these")
    parser.add_argument("--hold", action="store_true", help="held requests at ours, nothing else")
    parser.add_argument("--held", type=int, default=10_000)
    parser.add_argument(
        "--python",
        metavar="PATH",
        default=sys.executable,
        help="the interpreter of ours, of the same version as this one; the images have Debian's",
    )
    parser.add_argument(
        "--interpreted", action="store_true", help="ours from its sources, not compiled as in its image"
    )
    options = parser.parse_args()
    peers.ours["python"] = options.python
    if not options.interpreted:
        peers.ours["tree"] = str(native.tree() or "")
    options.against = [name for name in options.against.split(",") if name]
    unknown = sorted(set(options.against) - set(peers.PEERS))
    if unknown:
        parser.error(f"--against {unknown[0]}: unknown; choose of {', '.join(peers.PEERS)}")
    if options.rounds is None:
        options.rounds = 1 if options.quick else 5
    if options.seconds is None:
        whole, quick = (60.0, 5.0) if options.streams else (4.0, 1.0)
        options.seconds = quick if options.quick else whole
    bounds = (("rounds", 1, 100), ("seconds", 0.2, 600), ("held", 1, 100_000), ("rate", 0.1, 200))
    for name, low, high in bounds:
        if not low <= getattr(options, name) <= high:
            parser.error(f"--{name} must be within {low:g} and {high:g}, got {getattr(options, name):g}")
    if options.streams is not None and not 1 <= options.streams <= 10_000:
        parser.error(f"--streams must be within 1 and 10000, got {options.streams}")
    return options


async def work(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    if options.streams:
        return {"streams": await cells.many(folder, options.streams, options.seconds, options.rate)}
    if options.hold:
        return {"hold": await cells.hold(folder, options.held, max(1, min(TOO_MANY, options.held // 20)))}
    return await compare(options, folder)


async def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The table."""
    upstream, engines = cells.start_engines(folder, RATE)
    gateways = [Gateway(table.DIRECT, "", None, engines[0])]
    missing: dict[str, str] = {}
    try:
        for name in peers.rows([peers.OURS, *options.against]):
            say(f"starting {name}")
            try:
                gateway = cells.start(name, engines, folder)
                gateways.append(gateway)
                await cells.check(gateway)
            except (InstallError, StartError) as error:
                missing[name] = " ".join(str(error).split())
        rounds = await measure(options, [g for g in gateways if g.name not in missing], missing)
    finally:
        for gateway in gateways:
            gateway.end()
        upstream.end()
    rows = table.table(rounds)
    return {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": {gateway.name: gateway.version for gateway in gateways},
        "rows": rows,
        "missing": missing,
        "goals": table.goals(rows, missing),
        "every_round": rounds,
    }


async def measure(
    options: argparse.Namespace, gateways: list[Gateway], missing: dict[str, str]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """All rounds. A gateway that fails in one is out from then on, with its reason."""
    few, lots = (10, 20) if options.quick else (100, 400)
    kinds: dict[str, Callable[[Gateway], Awaitable[dict[str, Any]]]] = {
        "unary": lambda gateway: cells.unary(gateway, options.seconds),
        "streams_100": lambda gateway: cells.streams(gateway, few, options.seconds, RATE),
        "streams_400": lambda gateway: cells.streams(gateway, lots, options.seconds, RATE),
    }
    rounds: dict[str, dict[str, list[dict[str, Any]]]] = {g.name: {} for g in gateways}
    for number in range(options.rounds):
        for kind, run in kinds.items():
            for gateway in gateways:
                if gateway.name in missing:
                    continue
                gc.collect()
                try:
                    result = await run(gateway)
                    await gateway.calm_down()
                except (StartError, OSError) as error:
                    missing[gateway.name] = f"{kind}: {' '.join(str(error).split())}"
                    continue
                rounds[gateway.name].setdefault(kind, []).append(result)
                say(f"[{number + 1}/{options.rounds}] {kind} {gateway.name}: {told(result)}")
    return rounds


def told(result: dict[str, Any]) -> str:
    parts = [f"{key} {value:.2f}" for key, value in result.items() if isinstance(value, float)]
    return ", ".join([*parts, f"failed {result['failed']}"])


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
