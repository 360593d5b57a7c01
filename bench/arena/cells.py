"""One cell of the table: one load, cold start, condition and policy; run once, kept on disk.

A cell is kept under a key made of everything it depends on: the sources of the simulator, of the rivals or
(for Torpor) of the decision, the load's own digest, the parameters, the versions of numpy and numba. So an
interrupted table goes on where it stopped, and a change of the decision alone does not run the rivals again.

Rivals remember minutes, so they begin a few hours before what is scored; Torpor has the whole first half
before it, as it would have after a week. Tuning is a choice among a rival's own grid on two days of the
first half: the fewest replica-hours of those that attain 99 %, else the best attainment.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torpor
from torpor.api import validation
from torpor.simulate import achievable, bound, plan, results, rivals
from torpor.simulate.fleet import Simulation
from torpor.simulate.hardware import find

from bench.arena import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.api.types import InferenceService
    from torpor.decide.hardware import Hardware
    from torpor.simulate.traces import Trace

HERE = Path(__file__).parent
SOURCES = Path(torpor.__path__[0])
MAX_REPLICAS = 40
LOOK = 10.0
ATTAINMENT = 99.0  # percent
FLEET = {
    "apiVersion": "serving.torpor.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "bench", "namespace": "bench", "uid": "bench"},
    "spec": {
        "model": {"uri": "hf://meta-llama/Llama-3.1-70B-Instruct"},
        "scaling": {
            "minReplicas": 0,
            "maxReplicas": MAX_REPLICAS,
            "objectives": {
                "timeToFirstTokenMilliseconds": int(loads.TTFT_MS),
                "interTokenLatencyMilliseconds": int(loads.ITL_MS),
            },
        },
        "traffic": {"coldStart": {"holdSeconds": 1800, "maxHeldRequests": 100_000}},
    },
}


@dataclass(frozen=True, slots=True)
class Cell:
    """kind: known (what a load is and what its owner knows of it), bound, achievable, tune or score. policy:
    as on the command line, for the last two.
    """

    kind: str
    load: str
    cold_start: float
    condition: str
    policy: str
    seed: int
    quick: bool = False
    hardware: str = loads.HARDWARE


class Store:
    """Results by key, one file each, whole or not at all."""

    def __init__(self, folder: Path, traces: str | None) -> None:
        self.folder = folder
        self.traces = traces
        self._digests: dict[tuple[str, int, bool], str] = {}
        # Taken once, so that sources which change during a run do not get the credit for its results.
        self._code = {ours: code("torpor" if ours else "") for ours in (True, False)}

    def _path(self, cell: Cell) -> Path:
        known = (cell.load, cell.seed, cell.quick)
        if known not in self._digests:
            self._digests[known] = loads.digest(cell.load, self.traces, cell.seed, quick=cell.quick)
        parts = (
            self._code[cell.policy == "torpor"],
            self._digests[known],
            repr(find(cell.hardware)),
            json.dumps(asdict(cell), sort_keys=True),
        )
        return self.folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.json"

    def get(self, cell: Cell) -> dict[str, Any] | None:
        """The kept result."""
        try:
            kept: dict[str, Any] = json.loads(self._path(cell).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept

    def put(self, cell: Cell, result: Mapping[str, Any]) -> None:
        """Keep it."""
        path = self._path(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(result), encoding="utf-8")
        beside.replace(path)

    def run(self, cell: Cell) -> dict[str, Any]:
        """The result, kept or new."""
        kept = self.get(cell)
        if kept is None:
            factor = None
            if cell.kind != "known" and cell.load in loads.RECORDED:
                factor = self.run(known(cell))["rate_scale"]
            kept = run(cell, self.traces, factor)
            self.put(cell, kept)
        return kept


def known(cell: Cell) -> Cell:
    """The cell that says what the load of `cell` is."""
    return Cell("known", cell.load, 0.0, "none", "", cell.seed, cell.quick, cell.hardware)


def code(policy: str) -> str:
    """A digest of what a cell's figures are made by."""
    simulate = SOURCES / "simulate"
    files = [path for path in simulate.glob("*.py") if path.name != "picture.py"]
    files += [HERE / "cells.py", HERE / "loads.py"]
    if policy == "torpor":
        files += [*(SOURCES / "decide").glob("*.py"), *(SOURCES / "dispatch").glob("*.py")]
    else:
        files = [path for path in files if path.name != "policies.py"]
        files += (simulate / "rivals").glob("*.py")
    text = hashlib.sha256(f"{np.__version__} {numba.__version__}".encode())
    for path in sorted(files):
        text.update(path.name.encode() + path.read_bytes())
    return text.hexdigest()


def run(cell: Cell, folder: str | None, factor: float | None = None) -> dict[str, Any]:
    """Simulate it. Raises what reading and simulating raise."""
    load = loads.load(cell.load, folder, cell.seed, quick=cell.quick, hardware=cell.hardware, factor=factor)
    seen = load.part(*load.tune)
    # One engine for the whole load: its budget is that of the lengths that were known when it began.
    replica = loads.replica_for(seen, cell.hardware)
    if cell.kind == "known":
        return _known(load, seen, replica)
    if cell.kind == "bound":
        needs = bound.need(load.trace, replica, loads.ITL_MS)
        from_slot = int(load.half // bound.SLOT_SECONDS)
        return {
            "bound_replica_hours": bound.replica_seconds(needs, cell.cold_start, from_slot=from_slot) / 3600.0
        }
    if cell.kind == "tune":
        begins, ends = load.tune
        score_from = begins + min(loads.HOUR, (ends - begins) / 2)
    else:
        whole = cell.policy == "torpor"
        begins = 0.0 if whole else max(0.0, load.half - loads.WARM_UP)
        ends, score_from = np.inf, load.half
    requests = load.part(begins, ends)
    return _simulate(cell, requests, seen, replica, score_from - begins)


def _simulate(
    cell: Cell, requests: Trace, seen: Trace, replica: Hardware, score_from: float
) -> dict[str, Any]:
    service = _service()
    troubles = loads.conditions(cell.condition, score_from, float(requests.arrival[-1]))
    setup = plan.setup(
        service,
        replica,
        cold_start=cell.cold_start,
        look=LOOK,
        seed=cell.seed,
        gateways=2,
        conditions=troubles,
    )
    if cell.kind == "achievable":
        hours = achievable.replica_hours(
            requests, setup, replica, loads.TTFT_MS, loads.ITL_MS, score_from=score_from
        )
        return {"achievable_replica_hours": hours}
    driver = plan.policy(cell.policy, service, replica, seen)
    done = Simulation(requests, replace(setup, look=plan.pace(driver, LOOK)), driver).run()
    figures = results.score(
        done, cell.policy, ttft_ms=loads.TTFT_MS, itl_ms=loads.ITL_MS, score_from=score_from
    )
    inside = done.requests[done.requests["arrival"] >= score_from]
    ttft = results.latencies(inside)[0]
    ttft = ttft[np.isfinite(ttft)]
    figures["ttft_ms"]["p99.9"] = round(float(np.percentile(ttft, 99.9)), 1) if len(ttft) else None
    return figures


def _known(load: loads.Load, seen: Trace, replica: Hardware) -> dict[str, Any]:
    needs = bound.need(load.trace, replica, loads.ITL_MS)
    scored = needs[int(load.half // bound.SLOT_SECONDS) :]
    place = plan.place(_service(), replica, seen)
    return {
        "rate_scale": load.scale,
        "requests": len(load.part(load.half)),
        "need_p99_9": float(np.percentile(scored, 99.9)),
        "prompt": place.prompt,
        "output": place.output,
        "peak": place.peak,
        "max_num_seqs": replica.max_num_seqs,
        "max_num_batched_tokens": replica.max_num_batched_tokens,
    }


def grid(family: str, facts: Mapping[str, Any], hardware: str = loads.HARDWARE) -> list[str]:
    """What may be tuned over, as command-line names. facts: the load's `known` cell."""
    sizes = {key: facts[key] for key in ("max_num_seqs", "max_num_batched_tokens")}
    place = rivals.Place(
        max_replicas=MAX_REPLICAS,
        ttft_ms=loads.TTFT_MS,
        itl_ms=loads.ITL_MS,
        replica=replace(find(hardware), **sizes),
        prompt=facts["prompt"],
        output=facts["output"],
        peak=facts["peak"],
    )
    return [
        f"{family}:" + ",".join(f"{key}={value:g}" for key, value in given.items())
        for given in rivals.RIVALS[family].grid(place)
    ]


def _service() -> InferenceService:
    checked = validation.check(FLEET)
    if checked.fleet is None:
        raise ValueError(f"the benchmark's fleet is not valid: {checked.problems}")
    return checked.fleet


def best(tried: Mapping[str, Mapping[str, Any]]) -> str:
    """The name whose figures are the best: the fewest replica-hours at 99 %, else the best attainment (of
    equals the cheaper, then the first by name).
    """

    def rank(name: str) -> tuple[float, float, str]:
        figures = tried[name]
        share, hours = figures["slo_attainment_percent"] or 0.0, figures["replica_hours"]
        return (0.0, hours, name) if share >= ATTAINMENT else (100.0 - share, hours, name)

    return min(tried, key=rank)
