"""A past and what other policies would have made of it, as SVG: requests above, replicas below.

The replicas that really were are the filled area, each policy a line in its own colour; what nobody watched
is grey. Drawn as the simulator's picture is: plain text, no library, neighbours that need not be told apart
become their maximum.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torpor.history.backtest import Happened, Row
    from torpor.history.read import Past

WIDTH, LEFT, RIGHT = 960, 44, 16
TOP, LOAD, GAP, REPLICAS, BOTTOM = 30, 90, 26, 200, 64
POINTS = 1000
COLOURS = ("#c0392b", "#1f4e79", "#2e7d32", "#8e44ad", "#b9770e", "#0e7c7b")
DAY = 86_400.0


def draw(past: Past, was: Happened, rows: Sequence[Row], title: str) -> str:
    """The SVG."""
    end = past.end - past.start
    height = TOP + LOAD + GAP + REPLICAS + BOTTOM
    base = TOP + LOAD + GAP + REPLICAS
    top = max(1, was.peak_replicas, *(count for row in rows for _, count in row.steps or [(0.0, 0)]))

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(seconds, 0.0), end) / end

    def y(count: float) -> float:
        return base - REPLICAS * count / top

    slots = min(POINTS, max(1, int(end // past.every)))
    places = np.clip(((past.arrivals.ends - past.start) / end * slots).astype(int), 0, slots - 1)
    rate = np.bincount(places, weights=past.arrivals.amounts, minlength=slots) * slots / end
    most = max(float(rate.max()), 1e-9)
    load = " ".join(
        f"L{x((place + 0.5) * end / slots):.1f},{TOP + LOAD * (1 - value / most):.1f}"
        for place, value in enumerate(rate.tolist())
    )

    def steps(points: Sequence[tuple[float, int]]) -> str:
        moves: list[str] = []
        last = -1.0
        for at, count in points:
            if moves and x(at) - last < 0.3:
                moves[-1] = f"H{last:.1f} V{y(count):.1f}"
                continue
            last = x(at)
            moves.append(f"H{last:.1f} V{y(count):.1f}")
        return " ".join([*moves, f"H{x(end):.1f}"])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]
    for low, high in past.missing:
        left = x(low - past.start)
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{max(0.5, x(high - past.start) - left):.1f}" '
            f'height="{base - TOP}" fill="#e4e4e4"/>'
        )
    first = (past.start // DAY + 1) * DAY
    for place in range(int((past.end - first) // DAY) + 1):
        at = x(first + place * DAY - past.start)
        told = datetime.fromtimestamp(first + place * DAY, UTC).strftime("%a %d %b")
        parts.append(f'<path d="M{at:.1f},{TOP} V{base}" stroke="#ddd"/>')
        parts.append(f'<text x="{at + 3:.1f}" y="{base + 14}">{told}</text>')
    parts += [
        f'<path d="M{LEFT},{TOP + LOAD} {load} L{x(end):.1f},{TOP + LOAD} Z" fill="#d9d2e9"/>',
        f'<text x="4" y="{TOP + 8}">{most:.3g}/s</text>',
        f'<text x="4" y="{y(top) + 4:.1f}">{top}</text><text x="4" y="{base + 4}">0</text>',
        f'<path d="M{LEFT},{base} {steps(was.steps)} V{base} Z" fill="#cfe3f5"/>',
        f'<path d="M{LEFT},{base} H{x(end):.1f}" stroke="#999"/>',
    ]
    legend = [("#cfe3f5", f"what happened: {was.replica_hours:g} replica-hours")]
    for place, row in enumerate(rows):
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<path d="M{LEFT},{base} {steps(row.steps)}" fill="none" stroke="{colour}"/>')
        legend.append((colour, f"{row.policy}: {row.replica_hours.median:g}"))
    at = float(LEFT)
    for colour, text in legend:
        parts.append(f'<rect x="{at:.0f}" y="{base + 26}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{at + 14:.0f}" y="{base + 35}">{escape(text)}</text>')
        at += 30 + 6.2 * len(text)
    told = "above: requests per second; below: replicas; grey: watched by nobody; days in UTC"
    parts.append(f'<text x="{LEFT}" y="{base + 54}">{told}</text>')
    return "\n".join([*parts, "</svg>\n"])
