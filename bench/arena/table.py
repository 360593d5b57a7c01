"""From cells to rows, verdicts and text.

A group is one load, cold start and condition. The verdicts of a group say whether Torpor did what it
promises: the share of requests within the objectives, its replica-hours over the lower bound against the
goal for that kind of load, the tail, refused and expired requests; which rivals beat it (at least its
attainment for at most its replica-hours, one of them strictly); and what the cheapest tuned rival of equal
attainment (99 %, or Torpor's own where that is less) pays more than Torpor, in percent of its own
replica-hours. `null` stands where nothing can be said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ATTAINMENT = 99.0
HARDWARE = "llama-3.1-70b-fp8-h100-tp4"  # what the goals are for
# Ratio to the bound by load and cold start; loads that are not named are reported without a goal.
GOALS: Mapping[str, Mapping[int, float]] = {
    **{name: {120: 1.15, 300: 1.30} for name in ("smooth", "large48")},
    **{name: {120: 1.20, 300: 1.35} for name in ("overnight", "mid52")},
    "bursty": {120: 1.50, 300: 1.65},
}
TAIL_MS = 30_000.0
COLUMNS = (
    ("policy", 40), ("slo %", 8), ("rep-h", 9), ("/bound", 7), ("/achiev", 7), ("peak", 5), ("starts", 6),
    ("changes", 7), ("wakes", 5), ("expired", 7), ("refused", 7), ("ttft p99.9 s", 12),
)  # fmt: skip

Row = dict[str, Any]


def row(figures: Mapping[str, Any], variant: str, least: float, achievable: float | None) -> Row:
    """One line of the table."""
    hours = figures["replica_hours"]
    return {
        **{key: value for key, value in figures.items() if key != "wall_seconds"},
        "variant": variant,
        "ratio_to_bound": round(hours / least, 4) if least else None,
        "ratio_to_achievable": round(hours / achievable, 4) if achievable else None,
    }


def beats(rival: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    """Whether the rival is at least as good on both axes and better on one."""
    share, hours = rival["slo_attainment_percent"] or 0.0, rival["replica_hours"]
    own_share, own_hours = ours["slo_attainment_percent"] or 0.0, ours["replica_hours"]
    return share >= own_share and hours <= own_hours and (share > own_share or hours < own_hours)


def frontier(rows: Sequence[Row]) -> list[Row]:
    """The rows that no other row beats, the cheapest first."""
    kept = [one for one in rows if not any(beats(other, one) for other in rows)]
    return sorted(kept, key=lambda one: one["replica_hours"])


def margin(rows: Sequence[Row], ours: Row) -> tuple[float | None, str | None]:
    """By how many percent of the cheapest tuned rival of equal attainment Torpor is cheaper, and its name."""
    asked = min(ATTAINMENT, ours["slo_attainment_percent"] or 0.0)
    equal = [r for r in rows if r["variant"] == "tuned" and (r["slo_attainment_percent"] or 0.0) >= asked]
    if not equal:
        return None, None
    cheapest = min(equal, key=lambda r: (r["replica_hours"], r["policy"]))
    if not cheapest["replica_hours"]:
        return None, cheapest["policy"]
    saved = 100.0 * (1 - ours["replica_hours"] / cheapest["replica_hours"])
    return round(saved, 2), cheapest["policy"]


def verdict(group: Mapping[str, Any]) -> dict[str, Any] | None:
    """What holds for Torpor in a group; None where it did not run."""
    ours = next((r for r in group["rows"] if r["policy"] == "torpor"), None)
    if ours is None:
        return None
    others = [r for r in group["rows"] if r is not ours]
    goal = GOALS.get(group["load"], {}).get(round(group["cold_start"]))
    if group["condition"] != "none" or group["hardware"] != HARDWARE:
        goal = None
    ratio = ours["ratio_to_bound"]
    saved, against = margin(others, ours)
    tail = ours["ttft_ms"]["p99.9"]
    return {
        "attains": (ours["slo_attainment_percent"] or 0.0) >= ATTAINMENT,
        "goal_ratio": goal,
        "within_goal": None if goal is None or ratio is None else bool(ratio <= goal),  # of numpy's perhaps
        "tail_within": tail is not None and tail <= 1000.0 * group["cold_start"] + TAIL_MS,
        "none_expired": ours["expired"] == 0,
        "none_refused": ours["refused"] == 0,
        "beaten_by": sorted(r["policy"] for r in others if beats(r, ours)),
        "cheaper_than_best_tuned_percent": saved,
        "best_tuned": against,
    }


def text(groups: Sequence[Mapping[str, Any]]) -> str:
    """The table for people."""
    lines = []
    for group in groups:
        lines.append(
            f"\n{group['load']}, cold start {group['cold_start']:g} s"
            + (f", {group['condition']}" if group["condition"] != "none" else "")
            + f": {group['requests']} requests at rate scale {group['rate_scale']:g}, need p99.9 "
            f"{group['need_p99_9']:g}, bound {group['bound_replica_hours']:.2f}, achievable "
            f"{_number(group['achievable_replica_hours'], 2)} replica-hours"
        )
        lines.append("  ".join(f"{name:{width}}" for name, width in COLUMNS))
        for one in sorted(group["rows"], key=lambda r: -(r["slo_attainment_percent"] or 0.0)):
            tail = one["ttft_ms"]["p99.9"]
            cells = (
                f"{one['policy']} ({one['variant']})" if one["variant"] != "ours" else one["policy"],
                _number(one["slo_attainment_percent"], 3), f"{one['replica_hours']:.2f}",
                _number(one["ratio_to_bound"], 3), _number(one["ratio_to_achievable"], 3),
                one["peak_replicas"], one["starts"], one["scale_changes"], one["wakes"], one["expired"],
                one["refused"], _number(None if tail is None else tail / 1000, 1),
            )  # fmt: skip
            lines.append(
                "  ".join(f"{cell!s:{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))
            )
        told = verdict(group)
        if told is not None:
            lines.append("  " + sentence(told))
    return "\n".join(lines)


def sentence(told: Mapping[str, Any]) -> str:
    """The verdict in words."""
    parts = ["99 % attained" if told["attains"] else "99 % NOT attained"]
    if told["goal_ratio"] is not None:
        parts.append(f"ratio {'within' if told['within_goal'] else 'NOT within'} {told['goal_ratio']:g}")
    if not told["tail_within"]:
        parts.append("TTFT p99.9 beyond cold start + 30 s")
    if not told["none_expired"]:
        parts.append("requests expired")
    if not told["none_refused"]:
        parts.append("requests refused")
    parts.append("beaten by " + ", ".join(told["beaten_by"]) if told["beaten_by"] else "beaten by none")
    if told["cheaper_than_best_tuned_percent"] is not None:
        parts.append(
            f"{told['cheaper_than_best_tuned_percent']:g} % cheaper than {told['best_tuned']}, the cheapest "
            "tuned rival of equal attainment"
        )
    return "torpor: " + "; ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
