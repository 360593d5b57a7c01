"""A picture of a run: replicas asked for over time, against the need. Plain SVG, no library."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from torpor.simulate.fleet import Run

WIDTH, HEIGHT, MARGIN = 960, 320, 40
POINTS = 2000  # more need not be drawn: neighbours become their maximum


def draw(run: Run, needs: NDArray[np.int64], slot: float, title: str) -> str:
    """The SVG: steps of what was asked for over the area of what was needed."""
    end = max(run.end, len(needs) * slot, 1.0)
    top = max(1, int(needs.max(initial=0)), *(count for _, count in run.steps)) if run.steps else 1
    group = max(1, -(-len(needs) // POINTS))
    need = [(place * slot, int(needs[place : place + group].max())) for place in range(0, len(needs), group)]
    area = _steps(need, end, top)
    line = _steps(run.steps, end, top)
    days = [
        f'<text x="{_x(day * 86400.0, end):.1f}" y="{HEIGHT - 12}">day {day}</text>'
        for day in range(int(end // 86400) + 1)
    ]
    floor = _y(0, top)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{MARGIN}" y="20">{escape(title)}: replicas asked for (line), needed (area)</text>',
            f'<text x="8" y="{_y(top, top) + 4:.1f}">{top}</text><text x="8" y="{floor + 4:.1f}">0</text>',
            f'<path d="M{MARGIN},{floor:.1f} {area} V{floor:.1f} Z" fill="#cfe3f5"/>',
            f'<path d="M{MARGIN},{floor:.1f} {line}" fill="none" stroke="#1f4e79"/>',
            *days,
            "</svg>\n",
        ]
    )


def _steps(points: list[tuple[float, int]], end: float, top: int) -> str:
    moves = [f"H{_x(at, end):.1f} V{_y(count, top):.1f}" for at, count in points]
    return " ".join([*moves, f"H{_x(end, end):.1f}"])


def _x(seconds: float, end: float) -> float:
    return MARGIN + (WIDTH - 2 * MARGIN) * seconds / end


def _y(count: int, top: int) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * count / top
