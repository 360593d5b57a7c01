"""One real Prometheus over recordings of simulated fleets, for all tests of the history commands.

A morning under Torpor (asleep, woken, a load that rises and falls) is simulated once and written down as
several fleets: as it was, in the names of an older vLLM, with a stretch that nobody scraped and values that
are no numbers, and as a hundred thousand series that are no fleet at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from torpor.api import validation
from torpor.history import backtest
from torpor.history.driver import Production
from torpor.history.rebuild import until
from torpor.simulate import plan
from torpor.simulate.fleet import Simulation
from torpor.simulate.hardware import find, for_objective
from torpor.simulate.traces import Trace

from bench import recorder, tsdb
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_767_571_200.0  # a Monday, 00:00 UTC
SPAN = 4 * 3600.0
EVERY = 15.0
GAP = (START + 7200.0, START + 9000.0)
HARDWARE = "llama-3.1-8b-l40s"
COLD_START = 60.0
FLEET: dict[str, Any] = {
    "apiVersion": "serving.torpor.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "chat", "namespace": "team", "uid": "recorded"},
    "spec": {
        "model": {"uri": "hf://meta-llama/Llama-3.1-8B-Instruct"},
        "scaling": {
            "maxReplicas": 6,
            "objectives": {"timeToFirstTokenMilliseconds": 2000, "interTokenLatencyMilliseconds": 50},
        },
    },
}


@dataclass(frozen=True)
class Recorded:
    """address: of the server. policy: a file with the fleet that was. truth: its figures, whole and without
    the gap. requests: how many came.
    """

    address: str
    policy: Path
    truth: dict[str, float]
    without_gap: dict[str, float]
    requests: int


def _trace() -> Trace:
    draws = np.random.default_rng(5)
    minutes = np.arange(SPAN / 60)
    level = 6.0 * np.clip(np.sin(np.pi * (minutes - 20) / (len(minutes) - 40)), 0.0, 1.0)  # requests a second
    count = draws.poisson(level * 60)
    arrival = np.sort(np.repeat(minutes * 60, count) + draws.uniform(0, 60, int(count.sum())))
    prompt = np.clip(1200 * np.exp(0.6 * draws.standard_normal(len(arrival)) - 0.18), 1, 20_000)
    output = np.clip(200 * np.exp(0.5 * draws.standard_normal(len(arrival)) - 0.125), 1, 5_000)
    return Trace(arrival, prompt.astype(np.int64), output.astype(np.int64))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Simulate, record, make blocks, serve."""
    folder = tmp_path_factory.mktemp("history")
    trace = _trace()
    service = validation.check(FLEET).fleet
    assert service is not None
    replica = for_objective(find(HARDWARE), trace, 50.0, seqs=None, budget=None)
    setup = plan.setup(service, replica, cold_start=COLD_START, look=EVERY, seed=9, gateways=2)
    watched = recorder.Watched(Production("torpor", service, replica, START), EVERY)
    run = Simulation(until(trace, SPAN), replace(setup, initial=0), watched).run()
    conditions = backtest.Conditions(COLD_START, EVERY, 2000.0, 50.0)

    def lines(labels: str, **more: Any) -> Iterator[str]:
        for line in recorder.lines(watched, run, START, kv_tokens=replica.kv_tokens, labels=labels, **more):
            if not line.startswith(("#", "up{")):
                yield line

    at = [f"{START + second:.3f}" for second in np.arange(0, SPAN, EVERY)]
    broken = (
        f'vllm:num_requests_waiting{{namespace="gap",name="chat",pod="x-{i}"}} {value} {at[300]}\n'
        for i, value in enumerate(("NaN", "-1", "+Inf"))
    )
    everything = (
        f'vllm:num_requests_running{{job="everything",instance="10.0.{i >> 8}.{i & 255}:{i}"}} 1 {at[400]}\n'
        for i in range(100_000)
    )
    with (folder / "recorded.om").open("w") as out:
        out.writelines(
            chain(
                (f'up{{job="prometheus"}} 1 {second}\n' for second in at),
                lines('namespace="team",name="chat"', fleet=("team", "chat")),
                lines('namespace="team",name="older"', old=True),
                recorder.dropped(lines('namespace="gap",name="chat"'), [GAP]),
                broken,
                everything,
                ["# EOF\n"],
            )
        )
    tsdb.blocks(folder / "recorded.om", folder / "data")
    (folder / "chat.yaml").write_text(yaml.safe_dump(FLEET))
    hidden = [(GAP[0] - START - EVERY, GAP[1] - START)]
    with tsdb.serving(folder / "data", free_port()) as address:
        yield Recorded(
            address,
            folder / "chat.yaml",
            backtest.scored(run, conditions, [], SPAN),
            backtest.scored(run, conditions, hidden, SPAN),
            len(trace),
        )
