"""The frontier as a picture: what each policy pays, against how many requests it serves in time.

One panel per load. To the right: replica-hours over the lower bound, logarithmic, 1 to 10. Up: the share of
misses, logarithmic, from 30 % below to 0.01 % above, so that 99 % and 99.9 % are as far apart as 90 % and
99 %. What lies outside is drawn at the edge. A staircase joins the rivals that no other rival beats.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from bench.arena.table import frontier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, TOP, GAP = 300, 220, 46, 26, 34
ACROSS = 3
RATIOS = (1.0, 10.0)
MISSES = (30.0, 0.01)  # percent, bottom and top
MARKS_X = (1, 1.5, 2, 3, 5, 10)
MARKS_Y = (90, 99, 99.9)


def draw(groups: Sequence[Mapping[str, Any]], cold_start: float) -> str:
    """SVG of all groups of that cold start in which nothing goes wrong. Raises ValueError where there is
    none.
    """
    shown = [g for g in groups if g["cold_start"] == cold_start and g["condition"] == "none" and g["rows"]]
    if not shown:
        raise ValueError(f"nothing to draw: no row has a cold start of {cold_start:g} s and no trouble")
    rows = -(-len(shown) // ACROSS)
    width = min(ACROSS, len(shown)) * (LEFT + WIDTH + GAP)
    height = rows * (TOP + HEIGHT + GAP) + 30
    panels = [
        _panel(group, (place % ACROSS) * (LEFT + WIDTH + GAP), (place // ACROSS) * (TOP + HEIGHT + GAP))
        for place, group in enumerate(shown)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="sans-serif" font-size="10">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *panels,
            f'<text x="{LEFT}" y="{height - 10}">right: replica-hours over the lower bound; up: requests '
            f"within the objectives; cold start {cold_start:g} s. "
            '<tspan fill="#c0392b">&#9679; torpor</tspan> '
            '<tspan fill="#1f4e79">&#9679; rivals, tuned</tspan> '
            '<tspan fill="#8aa9c4">&#9675; rivals, defaults</tspan></text>',
            "</svg>\n",
        ]
    )


def _panel(group: Mapping[str, Any], left: float, top: float) -> str:
    x0, y0 = left + LEFT, top + TOP

    def x(ratio: float) -> float:
        return x0 + WIDTH * _share(ratio, *RATIOS)

    def y(percent: float) -> float:
        return y0 + HEIGHT * (1 - _share(100.0 - percent, *MISSES))

    parts = [
        f'<text x="{x0}" y="{y0 - 8}" font-size="12">{escape(group["load"])}</text>',
        f'<rect x="{x0}" y="{y0}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#999"/>',
    ]
    parts += [f'<text x="{x(mark) - 4:.1f}" y="{y0 + HEIGHT + 12}">{mark:g}</text>' for mark in MARKS_X]
    for mark in MARKS_Y:
        parts.append(f'<path d="M{x0},{y(mark):.1f} h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 36}" y="{y(mark) + 3:.1f}">{mark:g} %</text>')
    known = [r for r in group["rows"] if r["ratio_to_bound"] and r["slo_attainment_percent"] is not None]
    rivals = [r for r in known if r["variant"] != "ours"]
    stairs = [(x(r["ratio_to_bound"]), y(r["slo_attainment_percent"])) for r in frontier(rivals)]
    if stairs:
        moves = " ".join(f"H{at:.1f} V{up:.1f}" for at, up in stairs[1:])
        parts.append(
            f'<path d="M{stairs[0][0]:.1f},{stairs[0][1]:.1f} {moves}" fill="none" stroke="#b9cfe3"/>'
        )
    for one in sorted(known, key=lambda r: r["variant"] == "ours"):
        at, up = x(one["ratio_to_bound"]), y(one["slo_attainment_percent"])
        ours, tuned = one["variant"] == "ours", one["variant"] == "tuned"
        fill = "#c0392b" if ours else "#1f4e79" if tuned else "white"
        edge = fill if ours or tuned else "#8aa9c4"
        share, ratio = one["slo_attainment_percent"], one["ratio_to_bound"]
        title = f"{one['policy']}, {one['variant']}: {share:.2f} %, {ratio:.2f}"
        parts.append(
            f'<circle cx="{at:.1f}" cy="{up:.1f}" r="{5 if ours else 3}" fill="{fill}" stroke="{edge}">'
            f"<title>{escape(title)}</title></circle>"
        )
        if tuned or ours:
            label = one["policy"].split(":")[0]
            parts.append(f'<text x="{at + 6:.1f}" y="{up + 3:.1f}" font-size="8">{escape(label)}</text>')
    return "\n".join(parts)


def _share(value: float, low: float, high: float) -> float:
    """Where `value` lies between `low` and `high`, logarithmically, 0 to 1."""
    value = min(max(value, min(low, high)), max(low, high))
    return math.log(value / low) / math.log(high / low)
