"""The launcher's own metrics, in Prometheus' text format, after the engine's.

Prometheus scrapes one port for both. The engine's part is the text that the launcher read last, not a fresh
request: a scrape must not queue behind users, and two scrapers must not cost the engine two readings. Text
older than half a minute is left out, so that a wedged engine shows as a gap instead of a flat line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torpor_engine.stats import STATES

if TYPE_CHECKING:
    from torpor_engine.stats import Board

STALE_SECONDS = 30.0


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def exposition(board: Board, streams: int, dropped: int, clock: float) -> bytes:
    """The text of /metrics at the monotonic time `clock`; `streams` are open, `dropped` were cut off."""
    age = board.metrics_age(clock)
    lines = [
        "# HELP torpor_engine_info Identity of the launcher and version of its engine.",
        "# TYPE torpor_engine_info gauge",
        "torpor_engine_info{"
        + ",".join(
            f'{key}="{_escape(value)}"'
            for key, value in (
                ("namespace", board.settings.namespace),
                ("name", board.settings.name),
                ("revision", board.settings.revision),
                ("engine", board.settings.engine_type),
                ("version", board.engine_version or ""),
            )
        )
        + "} 1",
        "# HELP torpor_engine_state Whether the launcher is in the state (1) or not (0).",
        "# TYPE torpor_engine_state gauge",
        *(f'torpor_engine_state{{state="{state}"}} {int(state == board.state)}' for state in STATES),
        "# HELP torpor_engine_phase_seconds Duration of each finished phase of this cold start.",
        "# TYPE torpor_engine_phase_seconds gauge",
        *(
            f'torpor_engine_phase_seconds{{phase="{_escape(name)}"}} {seconds:.3f}'
            for name, seconds in board.phases
        ),
        "# HELP torpor_engine_restarts Starts of this container in this pod before the present one.",
        "# TYPE torpor_engine_restarts gauge",
        f"torpor_engine_restarts {board.restarts}",
        "# HELP torpor_engine_streams Open stats streams.",
        "# TYPE torpor_engine_streams gauge",
        f"torpor_engine_streams {streams}",
        "# HELP torpor_engine_streams_dropped_total Stats streams cut off because their reader was too slow.",
        "# TYPE torpor_engine_streams_dropped_total counter",
        f"torpor_engine_streams_dropped_total {dropped}",
        "# HELP torpor_engine_missing_metric Metrics that are expected of the engine and are not there.",
        "# TYPE torpor_engine_missing_metric gauge",
        *(f'torpor_engine_missing_metric{{metric="{_escape(name)}"}} 1' for name in board.sample.missing),
    ]
    if age is not None:
        lines += [
            "# HELP torpor_engine_metrics_age_seconds Since the engine's metrics were read.",
            "# TYPE torpor_engine_metrics_age_seconds gauge",
            f"torpor_engine_metrics_age_seconds {age:.3f}",
        ]
    engine = board.engine_metrics if age is not None and age <= STALE_SECONDS else b""
    if engine and not engine.endswith(b"\n"):
        engine += b"\n"
    return engine + "\n".join(lines).encode() + b"\n"
