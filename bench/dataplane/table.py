"""The sums: medians of rounds, ratios to the peers, goals. Pure; no clock, no process.

A ratio is one of medians. A goal whose peer was not measured is neither met nor missed: it says why there is
no value, so that nobody takes a short table for a good one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.dataplane.peers import OURS

DIRECT = "no gateway"
ROUND_ROBIN, CACHE_AWARE, HAPROXY = "vllm-router round_robin", "vllm-router cache_aware", "haproxy"
Rounds = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # row, cell, one entry a round


@dataclass(frozen=True)
class Goal:
    """Our figure of a cell is at most `limit` times the peer's."""

    cell: str
    figure: str
    peer: str
    limit: float


GOALS = (
    Goal("unary", "cpu_us", ROUND_ROBIN, 0.7),
    Goal("unary", "cpu_us", CACHE_AWARE, 0.5),
    Goal("unary", "cpu_us", HAPROXY, 2.5),
    *(
        Goal(cell, "cpu_us", peer, limit)
        for cell in ("streams_100", "streams_400")
        for peer, limit in ((ROUND_ROBIN, 0.8), (HAPROXY, 2.5))
    ),
    Goal("streams_100", "gap_p50_ms", ROUND_ROBIN, 1.1),
    Goal("streams_100", "gap_p99_ms", ROUND_ROBIN, 1.1),
)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that `percent` of the values do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure over the rounds; counts of requests, tokens and failures add up."""
    result: dict[str, Any] = {}
    for figure in rounds[0] if rounds else ():
        values = [one[figure] for one in rounds if one.get(figure) is not None]
        adds = figure in ("requests", "tokens", "failed")
        result[figure] = (sum(values) if adds else median(values)) if values else None
    return result


def table(rounds: Rounds) -> dict[str, dict[str, dict[str, Any]]]:
    """Return row, cell, figure; for streams also what the gateway adds to the gaps and the way without it."""
    rows = {name: {cell: summary(taken) for cell, taken in cells.items()} for name, cells in rounds.items()}
    for name, cells in rows.items():
        for cell, figures in cells.items():
            base = rows.get(DIRECT, {}).get(cell, {})
            for figure in ("gap_p50_ms", "gap_p99_ms", "way_p50_ms", "way_p99_ms"):
                if name != DIRECT and figures.get(figure) is not None and base.get(figure) is not None:
                    figures["added_" + figure] = figures[figure] - base[figure]
    return rows


def goals(
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]], missing: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return each goal with our ratio, or with the reason why there is none, by what is `missing`."""
    result = []
    for goal in GOALS:
        ours = rows.get(OURS, {}).get(goal.cell, {}).get(goal.figure)
        peer = rows.get(goal.peer, {}).get(goal.cell, {}).get(goal.figure)
        entry: dict[str, Any] = {
            "cell": goal.cell, "figure": goal.figure, "peer": goal.peer, "at_most": goal.limit
        }  # fmt: skip
        if ours is None or not peer:
            away = goal.peer if not peer else OURS
            entry |= {"ratio": None, "met": None, "reason": missing.get(away, f"{away} was not measured")}
        else:
            entry |= {"ratio": round(ours / peer, 3), "met": ours <= goal.limit * peer}
        result.append(entry)
    return result


def text(report: Mapping[str, Any]) -> str:
    """Return the report for a terminal, in Markdown."""
    lines = []
    if report.get("rows"):
        lines += [
            "| gateway | version | us / request | requests / s | us / token at 100 | us / token at 400 "
            "| gap p50, p99 (ms) | way p50, p99 (ms) |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, cells in report["rows"].items():
            unary, few, lots = (cells.get(cell, {}) for cell in ("unary", "streams_100", "streams_400"))
            lines.append(
                f"| {name} | {report['versions'].get(name, '')} | {_shown(unary.get('cpu_us'))} "
                f"| {_shown(unary.get('per_second'), 0)} | {_shown(few.get('cpu_us'))} "
                f"| {_shown(lots.get('cpu_us'))} "
                f"| {_shown(few.get('gap_p50_ms'), 2)}, {_shown(few.get('gap_p99_ms'), 2)} "
                f"| {_shown(few.get('way_p50_ms'), 2)}, {_shown(few.get('way_p99_ms'), 2)} |"
            )
        lines += [f"| {name} | not measured: {reason} |" for name, reason in report["missing"].items()]
        lines += ["", "| goal | at most | measured | |", "| --- | ---: | ---: | --- |"]
        lines += [
            f"| {goal['cell']} {goal['figure']} against {goal['peer']} | {goal['at_most']:g} "
            f"| {_shown(goal['ratio'], 2)} | {_verdict(goal)} |"
            for goal in report["goals"]
        ]
    for part in ("streams", "hold"):
        if report.get(part):
            lines += ["", f"{part}:"] + [f"- {name}: {value}" for name, value in report[part].items()]
    return "\n".join(lines)


def _shown(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _verdict(goal: Mapping[str, Any]) -> str:
    if goal["met"] is None:
        return str(goal["reason"])
    return "met" if goal["met"] else "missed"
