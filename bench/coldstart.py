"""How long a request waits because a fleet slept, and where the time goes.

Two measurements on a real cluster with the simulated engine. First the part that is Torpor's alone: from
the last byte of a request for a sleeping fleet to the write of `replicas: 1`, for N fleets that sleep, one
after the other. Their pods ask for a resource that no node has, so nothing starts and nothing disturbs the
next. Then whole wakes, with the time of each stage up to the client's first data event (comments that keep
a stream alive do not count).

All times are taken on this host's clock: the request's end by this client, the write by a watch in this
process (so the API server's and the watch's own milliseconds are in the figure, which makes it an upper
bound), the launcher's start and Ready by the launcher in the pod, which shares the clock on the local
cluster. Nothing is asserted: the goal stands beside the measured value and people judge, because a busy
machine measures itself.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from e2e.support import install, machine, processes  # noqa: E402
from e2e.support.artifacts import describe_machine, folder  # noqa: E402
from e2e.support.chat import Outcome, chat  # noqa: E402
from e2e.support.fleets import Fleet  # noqa: E402
from e2e.support.waiting import until  # noqa: E402
from e2e.support.watch import Seen, Watch, replica_changes  # noqa: E402
from e2e.support.world import World  # noqa: E402

BATCH = 20
NOWHERE = {"resources": {"requests": {"cpu": "10m"}, "limits": {"example.com/nowhere": 1}}}
TIME_GOALS = {  # milliseconds
    "scale_write": {"p50": 30.0, "p99": 150.0},
    "ready_to_first_data": {"p50": 150.0, "max": 500.0},
}
SIZE_GOALS = {"operator_mib": 120.0, "gateway_mib": 60.0, "image_mb": 250.0}
STAGES = ("scale_write", "pod_created", "pod_scheduled", "launcher_started", "launcher_ready", "first_data")


def summary(values: list[float]) -> dict[str, float]:
    """Count, median, 99th percentile (nearest rank) and maximum of milliseconds."""
    ordered = sorted(values)
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    numbers = {"p50": statistics.median(ordered), "p99": ordered[rank], "max": ordered[-1], "min": ordered[0]}
    return {"n": len(ordered), **{name: round(value, 1) for name, value in numbers.items()}}


async def _leave_when(written: asyncio.Event, world: World, fleet: Fleet) -> float:
    """Send a request, stay until its scale write is seen, leave; returns when its last byte was sent."""
    sent: list[float] = []
    request = asyncio.create_task(chat(world.gateway, fleet.model, stream=True, on_sent=sent.append))
    try:
        async with asyncio.timeout(30):
            await written.wait()
    finally:
        request.cancel()
    return sent[0]


def _one_write(world: World, fleet: Fleet) -> float:
    """Milliseconds from the last byte of a request for a sleeping fleet to its scale write."""

    async def measure() -> float:
        loop, written = asyncio.get_running_loop(), asyncio.Event()
        seen_at: list[float] = []

        def look(seen: Seen) -> None:
            if not seen_at and seen.object["spec"].get("replicas", 1) > 0:
                seen_at.append(seen.at)
                loop.call_soon_threadsafe(written.set)

        selector = f"metadata.name={fleet.name}-engines"
        with Watch(world.cluster, "deployments", fleet.namespace, look, fieldSelector=selector):
            sent = await _leave_when(written, world, fleet)
        return (seen_at[0] - sent) * 1000

    return asyncio.run(measure())


def scale_writes(world: World, wanted: int) -> list[float]:
    """Milliseconds from the last byte of the first held request to the scale write, for `wanted` sleeping
    fleets.
    """
    found: list[float] = []
    while len(found) < wanted:
        count = min(BATCH, wanted - len(found))
        with world.namespace("coldstart") as ns:
            fleets = [
                world.make(
                    ns, f"sleeper-{i}", gpus=0, wait=False, engine=NOWHERE, scaling={"idleSeconds": 600}
                )
                for i in range(count)
            ]
            for fleet in fleets:
                fleet.wait("Ready", reason="Asleep", seconds=60)
            for fleet in fleets:
                found.append(_one_write(world, fleet))
                fleet.wait(
                    "Awake", "False", "Starting"
                )  # what the wake still writes is not the next one's delay
            for fleet in fleets:
                world.cluster.delete("inferenceservices", fleet.name, ns)
            until("the batch is gone", partial(_empty, world, ns), seconds=60)
        print(f"  {len(found)}/{wanted} scale writes", file=sys.stderr)
    return found


def _empty(world: World, namespace: str) -> bool:
    return not world.cluster.list("pods", namespace)


def whole_wakes(world: World, wanted: int) -> list[dict[str, float]]:
    """Per wake the milliseconds from the request's last byte to each stage, and from the launcher's Ready
    to the data.
    """
    found = []
    with world.namespace("coldstart") as ns:
        fleets = [
            world.make(ns, f"waker-{i}", gpus=0, scaling={"idleSeconds": 2}, args=["--startup-seconds=0.5"])
            for i in range(4)
        ]
        for turn in range(wanted):
            fleet = fleets[turn % len(fleets)]
            fleet.wait_asleep(seconds=90)
            with Watch(world.cluster, "deployments", ns) as writes, Watch(world.cluster, "pods", ns) as pods:
                outcome = asyncio.run(chat(world.gateway, fleet.model, stream=True, max_tokens=5, seconds=90))
                if outcome.kind != "answered":
                    raise RuntimeError(f"wake {turn} of {fleet.model}: {outcome.detail}")
                (pod,) = fleet.ready_pods() or fleet.pods()
                stats = launcher_stats(world, pod)
            found.append(stages(fleet, outcome, writes, pods, stats))
            print(f"  {len(found)}/{wanted} wakes: {found[-1]}", file=sys.stderr)
    return found


def launcher_stats(world: World, pod: dict[str, Any]) -> dict[str, Any]:
    """The launcher's current report, fetched through the API server so that it works from any host."""
    path = world.cluster.path("pods", pod["metadata"]["namespace"], f"{pod['metadata']['name']}:8001")
    told: Any = world.cluster.request("GET", f"{path}/proxy/v1/stats?once=1")
    return dict(told if isinstance(told, dict) else json.loads(told))


def stages(
    fleet: Fleet, outcome: Outcome, writes: Watch, pods: Watch, stats: dict[str, Any]
) -> dict[str, float]:
    """Milliseconds after the request's last byte."""
    assert outcome.sent_at is not None
    assert outcome.first_data_at is not None
    mine = [seen for seen in pods.events if seen.name == stats["pod"]]
    scheduled = [
        seen.at
        for seen in mine
        if any(
            c["type"] == "PodScheduled" and c["status"] == "True"
            for c in seen.object["status"].get("conditions", [])
        )
    ]
    moments = {
        "scale_write": next(
            at for at, count in replica_changes(writes, f"{fleet.name}-engines") if count > 0
        ),
        "pod_created": mine[0].at,
        "pod_scheduled": scheduled[0],
        "launcher_started": stats["startedAt"],
        "launcher_ready": stats["readyAt"],
        "first_data": outcome.first_data_at,
    }
    told = {name: round((at - outcome.sent_at) * 1000, 1) for name, at in moments.items()}
    return {**told, "ready_to_first_data": round((outcome.first_data_at - stats["readyAt"]) * 1000, 1)}


def memory(world: World) -> dict[str, float | None]:
    """Mebibytes resident per process of operator and gateway, the largest pod of each, with one fleet
    applied.
    """
    with world.namespace("coldstart") as ns:
        fleet = world.make(ns, "only", gpus=0)
        asyncio.run(chat(world.gateway, fleet.model, stream=True, max_tokens=5, seconds=90))
        weights: dict[str, float | None] = {}
        for part, deployment in (("operator", install.OPERATOR), ("gateway", install.GATEWAY)):
            seen = [processes.resident_bytes(pod, part) for pod in install.pods(world.cluster, deployment)]
            known = [size for size in seen if size is not None]
            weights[f"{part}_mib"] = round(max(known) / 2**20, 1) if known else None
    return weights


def measure(count: int, wakes: int) -> dict[str, Any]:
    """Run everything; the result is what --json prints."""
    prepared = machine.prepare(images=("operator", "gateway", "engine"), say=sys.stderr)
    install.install(prepared)
    world = World(prepared, folder())
    try:
        weights = memory(world)
        writes = scale_writes(world, count)
        turns = whole_wakes(world, wakes)
    finally:
        world.close()
        machine.release()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "commit": commit.stdout.strip(),
        "machine": describe_machine(),
        "scale_write_milliseconds": summary(writes),
        "wake_milliseconds": {name: summary([turn[name] for turn in turns]) for name in STAGES},
        "ready_to_first_data_milliseconds": summary([turn["ready_to_first_data"] for turn in turns]),
        "resident": weights,
        "images": machine.image_sizes(),
        "goals": {**TIME_GOALS, **SIZE_GOALS},
        "wakes": turns,
    }


def table(told: dict[str, Any]) -> str:
    """Goal against measured, for people."""
    rows = [("what", "measured", "goal")]
    for name, goals in TIME_GOALS.items():
        values = told[f"{name}_milliseconds"]
        rows += [
            (f"{name} {key} (n={values['n']})", f"{values[key]} ms", f"<= {goal:g} ms")
            for key, goal in goals.items()
        ]
    for name, value in told["wake_milliseconds"].items():
        rows.append((f"wake: request to {name}, median", f"{value['p50']} ms", ""))
    rows += [
        (name, f"{value} MiB", f"<= {SIZE_GOALS[name]:g} MiB") for name, value in told["resident"].items()
    ]
    rows += [
        (f"image {name}", f"{size / 1e6:.0f} MB", f"<= {SIZE_GOALS['image_mb']:g} MB")
        for name, size in told["images"].items()
    ]
    return "\n".join(f"{what:<44} {measured:>14} {goal:>12}" for what, measured, goal in rows)


def main() -> int:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--requests", type=int, default=200, help="first-held requests (default 200)")
    parser.add_argument("--wakes", type=int, default=20, help="whole wakes (default 20)")
    given = parser.parse_args()
    told = measure(given.requests, given.wakes)
    print(json.dumps(told, indent=1) if given.json else table(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
