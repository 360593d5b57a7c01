"""How the README's week is drawn: requests above, GPUs below, what always-on would have burnt behind.

Plain SVG. Colours are classes that the reader's own scheme picks, on a ground of their own, so that the
picture can be read on a white page, on a dark one, and where the page and the reader's system disagree. A
title and a description say the same in words. Nothing is loaded from anywhere.
"""

from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 960, 52, 16
TOP, LOAD, GAP, GPUS, BOTTOM = 52, 96, 44, 190, 52
STYLE = """
text{font:12px system-ui,sans-serif;fill:#1f2328}.small{font-size:11px;fill:#57606a}
.head{font-size:15px;font-weight:600}.ground{fill:#fff}.load{fill:#b8a9d9}.burnt{fill:#fbe3d6}.used{fill:#1f6feb}
.most{stroke:#bc4c00;stroke-width:1.5;stroke-dasharray:6 4;fill:none}
.day{stroke:#d0d7de}.floor{stroke:#57606a}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.small{fill:#9da7b3}.ground{fill:#0d1117}.load{fill:#7a68a6}
.burnt{fill:#3d2418}.used{fill:#58a6ff}.most{stroke:#f0883e}.day{stroke:#30363d}.floor{stroke:#9da7b3}}
""".strip()


def draw(record: dict[str, Any]) -> str:
    """The SVG of a record (bench/week.py)."""
    end, gpus = record["hours"] * 3600.0, record["gpus_per_replica"]
    top = record["max_replicas"] * gpus
    used = record["figures"]["replica_hours"] * gpus
    peak = record["figures"]["needed_at_peak"] * gpus
    always, at_peak = top * record["hours"], peak * record["hours"]
    base = TOP + LOAD + GAP + GPUS
    height = base + BOTTOM
    rates = record["requests_per_second"]
    most = max(*rates, 1e-9)

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(seconds, end) / end

    def y(count: float) -> float:
        return base - GPUS * count / top

    load = " ".join(
        f"L{x((place + 0.5) * record['slot_seconds']):.1f},{TOP + LOAD * (1 - rate / most):.1f}"
        for place, rate in enumerate(rates)
    )
    steps = " ".join(f"H{x(at):.1f}V{y(count * gpus):.1f}" for at, count in record["billed_replicas"])
    saved = f"{100 * (1 - used / always):.0f} %"
    days = range(round(end / 86_400.0))
    said = (
        f"Above: requests per second over {len(days)} days, up to {most:.0f}, almost none at night. Below: "
        f"GPUs, never more than {top}, none while the fleet sleeps. Used: {used:,.0f} GPU hours; always on "
        f"at maxReplicas: {always:,.0f}; {saved} saved. Always on at the peak that was needed, {peak} GPUs: "
        f"{at_peak:,.0f}."
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'aria-labelledby="title desc">',
        '<title id="title">A week of traffic, the GPUs it took, and what always-on would have burnt</title>',
        f'<desc id="desc">{escape(said)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="head" x="{LEFT}" y="24">{used:,.0f} GPU hours instead of '
        f"{at_peak:,.0f} to {always:,.0f}</text>",
        f'<text class="small" x="{LEFT}" y="{TOP - 8}">requests per second</text>',
        f'<text class="small" x="{LEFT}" y="{TOP + LOAD + GAP - 8}">GPUs ({gpus} for each replica)</text>',
        f'<rect class="burnt" x="{LEFT}" y="{y(top):.1f}" width="{x(end) - LEFT:.1f}" height="{GPUS}"/>',
    ]
    for day in days:
        at = x(day * 86_400.0)
        parts.append(f'<path class="day" d="M{at:.1f},{TOP}v{LOAD}M{at:.1f},{base - GPUS}v{GPUS}"/>')
        parts.append(f'<text class="small" x="{at + 4:.1f}" y="{base + 16}">day {day + 1}</text>')
    parts += [
        f'<path class="load" d="M{LEFT},{TOP + LOAD}{load}L{x(end):.1f},{TOP + LOAD}Z"/>',
        f'<path class="used" d="M{LEFT},{base}{steps}H{x(end):.1f}V{base}Z"/>',
        *(f'<path class="most" d="M{LEFT},{y(line):.1f}H{x(end):.1f}"/>' for line in (top, peak)),
        f'<path class="floor" d="M{LEFT},{base}H{x(end):.1f}M{LEFT},{TOP + LOAD}H{x(end):.1f}"/>',
        _mark(TOP + 10, f"{most:.0f}"),
        _mark(TOP + LOAD, "0"),
        _mark(y(top) + 4, f"{top}"),
        _mark(y(peak) + 4, f"{peak}"),
        _mark(base, "0"),
        *_legend(
            base + 32,
            [
                ("used", f"Torpor: {used:,.0f} GPU hours"),
                ("burnt", f"burnt besides, always on at maxReplicas ({top} GPUs): {always - used:,.0f}"),
            ],
        ),
    ]
    return "\n".join([*parts, "</svg>\n"])


def _mark(at: float, text: str) -> str:
    return f'<text class="small" x="{LEFT - 6}" y="{at:.1f}" text-anchor="end">{text}</text>'


def _legend(at: float, entries: list[tuple[str, str]]) -> list[str]:
    parts, left = [], float(LEFT)
    for kind, text in entries:
        parts.append(f'<rect class="{kind}" x="{left:.0f}" y="{at - 1}" width="12" height="12"/>')
        parts.append(f'<text x="{left + 18:.0f}" y="{at + 9}">{escape(text)}</text>')
        left += 46 + 6.6 * len(text)
    return parts
