"""What a Prometheus would have stored of a simulated fleet: OpenMetrics text, one scrape every so many
seconds.

A policy is watched at its looks, which come as often as a scrape would. Each engine's gauges and counters are
the simulator's own. Its histograms are filled with the requests that the counters say it served: which of two
engines served a request the simulator does not tell, and no question that is asked of the sum can. A pod that
goes away takes along what it counted since its last scrape, as in life. `operator` adds what Torpor's
operator would have exported of the fleet, `old` writes an earlier vLLM's names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torpor.simulate.view import STARTING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torpor.simulate.fleet import FleetPolicy, Run
    from torpor.simulate.view import View

LENGTHS = tuple(m * 10**e for e in range(6) for m in (1, 2, 5))  # vLLM's bounds: 1, 2, 5, 10 ... 500,000
TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
PACE = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
)
NEW = {
    "kv": "vllm:kv_cache_usage_perc",
    "gaps": "vllm:inter_token_latency_seconds",
    "pace": "vllm:request_time_per_output_token_seconds",
}
OLD = {
    "kv": "vllm:gpu_cache_usage_perc",
    "gaps": "vllm:time_per_output_token_seconds",
    "pace": "vllm:request_time_per_output_token_seconds",
}


class Watched:
    """A policy, with what its looks saw kept: (seconds, rows, arrivals, replicas asked, judged, starts)."""

    def __init__(self, policy: FleetPolicy, every: float) -> None:
        self.name = policy.name
        self._policy, self._every = policy, every
        self.looks: list[tuple[float, list[list[float]], int, int, tuple[int, int], list[float]]] = []

    def look(self, view: View) -> int:
        """Let it decide, and keep what it saw where a scrape is due."""
        wished = self._policy.look(view)
        if view.now % self._every == 0:
            rows = [list(row) for row in view.rows]
            starts = view.cold_starts[-1:]
            self.looks.append((view.now, rows, view.arrivals, wished, view.judged, starts))
        return wished


class _Buckets:
    """Cumulative histogram of one engine."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, places: Iterable[int], values: Iterable[float]) -> None:
        for bucket in places:
            self.counts[bucket] += 1
        self.total += sum(values)

    def lines(self, name: str, labels: str, at: str) -> Iterator[str]:
        running = 0
        for bound, count in zip((*self.bounds, None), self.counts, strict=True):
            running += count
            le = "+Inf" if bound is None else f"{float(bound)}"
            yield f'{name}_bucket{{{labels},le="{le}"}} {running} {at}\n'
        yield f"{name}_count{{{labels}}} {running} {at}\n"
        yield f"{name}_sum{{{labels}}} {self.total:.6f} {at}\n"


class _Pool:
    """Requests in the order of one of their times, handed out as engines count them."""

    def __init__(self, at: Any, *columns: tuple[tuple[float, ...], Any]) -> None:
        order = np.argsort(at, kind="stable")
        order = order[np.isfinite(at[order])]
        self.at = at[order]
        self.values = [column[order] for _, column in columns]
        self.places = [np.searchsorted(bounds, column[order]) for bounds, column in columns]
        self.next = 0

    def take(self, most: int, until: float) -> slice:
        last = min(self.next + most, int(np.searchsorted(self.at, until, side="right")))
        found = slice(self.next, max(last, self.next))
        self.next = found.stop
        return found

    def drop(self, until: float) -> None:
        """Forget those up to a time: whoever served them is gone and was not asked any more."""
        self.next = max(self.next, int(np.searchsorted(self.at, until, side="right")))


class _Pod:
    def __init__(self) -> None:
        self.first = self.done = 0
        self.ttft, self.pace = _Buckets(TTFT), _Buckets(PACE)
        self.prompts, self.outputs = _Buckets(LENGTHS), _Buckets(LENGTHS)


def lines(
    watched: Watched,
    run: Run,
    start: float,
    *,
    kv_tokens: int,
    labels: str,
    fleet: tuple[str, str] | None = None,
    old: bool = False,
    shapes: int = 1,
) -> Iterator[str]:
    """The file's lines. start: seconds since the epoch at the trace's beginning. labels: of every series of
    an engine, besides its pod's. fleet: namespace and name for the operator's series; None: there is none.
    """
    names = OLD if old else NEW
    r = run.requests
    ttft = r["first"] - r["sent"]
    pace = (r["finish"] - r["first"]) / np.maximum(r["output"] - 1, 1)
    began = _Pool(r["first"], (TTFT, ttft))
    ended = _Pool(r["finish"], (PACE, pace), (LENGTHS, r["prompt"]), (LENGTHS, r["output"]))
    pods: dict[tuple[float, float], _Pod] = {}
    for place, (now, rows, arrivals, asked, judged, starts) in enumerate(watched.looks):
        at = f"{start + now:.3f}"
        yield f'up{{job="prometheus",instance="self"}} 1 {at}\n'
        if fleet:
            mine = f'namespace="{fleet[0]}",name="{fleet[1]}"'
            yield f"torpor_fleet_arrivals_total{{{mine}}} {arrivals} {at}\n"
            yield f"torpor_fleet_desired_replicas{{{mine}}} {asked} {at}\n"
            yield f'torpor_fleet_objectives_total{{{mine},result="kept"}} {judged[0] - judged[1]} {at}\n'
            yield f'torpor_fleet_objectives_total{{{mine},result="missed"}} {judged[1]} {at}\n'
            if starts:
                yield f"torpor_fleet_cold_start_seconds{{{mine}}} {starts[0]:.3f} {at}\n"
        for row in rows:
            (
                state,
                born,
                running,
                waiting,
                kv,
                generated,
                prompts,
                seconds,
                preempted,
                slot,
                gaps,
                done,
                *_,
            ) = row
            if state == STARTING:
                continue
            pod = pods.setdefault((slot, born), _Pod())
            name = f"chat-7d9f-{int(slot):02d}x{int(born) % 1_000_000:06d}"
            own = f'{labels},pod="{name}",model_name="chat",engine="0"'
            part = began.take(max(0, int(done + running) - pod.first), now)
            pod.first += part.stop - part.start
            pod.ttft.add(began.places[0][part].tolist(), began.values[0][part].tolist())
            part = ended.take(int(done) - pod.done, now)
            for buckets, places, values in zip(
                (pod.pace, pod.prompts, pod.outputs), ended.places, ended.values, strict=True
            ):
                buckets.add(places[part].tolist(), values[part].tolist())
            pod.done = int(done)
            yield f"vllm:num_requests_running{{{own}}} {running:g} {at}\n"
            yield f"vllm:num_requests_waiting{{{own}}} {waiting:g} {at}\n"
            yield f"{names['kv']}{{{own}}} {kv:.6f} {at}\n"
            yield f"vllm:prompt_tokens_total{{{own}}} {prompts:.0f} {at}\n"
            yield f"vllm:generation_tokens_total{{{own}}} {generated:.0f} {at}\n"
            yield f"vllm:num_preemptions_total{{{own}}} {preempted:.0f} {at}\n"
            yield f'vllm:request_success_total{{{own},finished_reason="stop"}} {done:.0f} {at}\n'
            yield f"{names['gaps']}_count{{{own}}} {gaps:.0f} {at}\n"
            yield f"{names['gaps']}_sum{{{own}}} {seconds:.6f} {at}\n"
            sizes = f'block_size="16",num_gpu_blocks="{kv_tokens // 16}"'
            yield f"vllm:cache_config_info{{{own},{sizes}}} 1 {at}\n"
            if place % shapes:
                yield f"vllm:time_to_first_token_seconds_count{{{own}}} {pod.first} {at}\n"
                continue
            yield from pod.ttft.lines("vllm:time_to_first_token_seconds", own, at)
            yield from pod.pace.lines(names["pace"], own, at)
            yield from pod.prompts.lines("vllm:request_prompt_tokens", own, at)
            yield from pod.outputs.lines("vllm:request_generation_tokens", own, at)
        began.drop(now)
        ended.drop(now)
    yield "# EOF\n"


def dropped(text: Iterable[str], gaps: Iterable[tuple[float, float]]) -> Iterator[str]:
    """The lines without the samples of some stretches (seconds since the epoch): nobody watched."""
    hidden = list(gaps)
    for line in text:
        at = line.rpartition(" ")[2]
        if line.startswith("#") or not any(low <= float(at) < high for low, high in hidden):
            yield line
