"""How good the forecast is: quantile loss and coverage on recorded traffic, against naive forecasts.

Each trace becomes a series of requests per second in minutes, fed minute by minute to the profile and the
track exactly as the operator feeds them. After each minute of the scored half every forecaster says how large
the largest minute of the next 30, 120 or 300 seconds will be (30 s is the next minute), at the quantile
`--share`. Scored are the mean quantile (pinball) loss in percent of the mean of what came, and coverage, the
share of minutes in which no more came than foreseen. The forecasters:

- forecast: `torpor.decide.forecast`, as `decide` reads it; where it abstains, the present rate counts.
- last: the rate of the last minute. yesterday: the same minutes of the day before, from the recording.
- last+spread: the last minutes times the quantile of how far they strayed so far, learned in the same way as
  the forecast's own; what a careful reactive rule would do, and the hardest of the three to beat.

Constants were chosen on `--half first` (without its first day, which has no profile); what is reported is
the second. The series are deterministic, so the command prints these figures anywhere (loss in percent,
coverage):

    trace, seconds        forecast       last+spread    last           yesterday
    large48    30      3.56 (90.8)    4.27 (91.5)    7.95 (53.9)   19.25 (52.2)
    large48   120      3.51 (90.8)    4.69 (91.7)   10.68 (37.2)   18.34 (52.0)
    large48   300      4.08 (92.3)    6.09 (91.9)   15.30 (20.2)   17.96 (51.6)
    mid52      30      2.28 (95.6)    2.46 (91.6)    5.41 (76.3)   14.50 (71.2)
    mid52     120      2.21 (94.8)    2.37 (92.4)    7.33 (67.9)   13.61 (69.7)
    mid52     300      2.37 (93.6)    2.79 (92.3)   10.43 (58.7)   12.75 (68.4)
    mid64      30     13.68 (92.4)   15.35 (89.4)   30.10 (74.1)   39.51 (69.1)
    mid64     120     11.00 (92.4)   13.08 (89.9)   33.85 (63.3)   32.75 (68.4)
    mid64     300      9.88 (91.9)   12.46 (90.2)   40.89 (50.6)   27.67 (68.1)

No cold start, no replica and no money is in them; those are the simulator's. Usage:

    python bench/forecast.py --traces FOLDER [--half second] [--share 0.9] [--json]
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torpor.decide.forecast import forecast
from torpor.decide.minutes import MINUTE, Minute
from torpor.decide.profile import Profile
from torpor.decide.track import Track, pinball

TRACES = ("req_servegen_large48_7d", "req_servegen_mid52_7d_x0.25", "req_servegen_mid64_14d")
HORIZONS = {30: 1, 120: 2, 300: 5}  # seconds: whole minutes
DAY = 1440  # minutes
FORECASTERS = ("forecast", "last", "last+spread", "yesterday")


def series(path: Path) -> list[float]:
    """Requests per second in each minute of a trace with the column arrival_s; whole days, the last filled
    with zeros.
    """
    counts: dict[int, int] = {}
    with gzip.open(path, "rt") as lines:
        if not next(lines, "").startswith("arrival_s,"):
            raise ValueError(f"{path}: the first line must name the columns, arrival_s first")
        for number, line in enumerate(lines, start=2):
            try:
                minute = int(float(line.split(",", 1)[0]) // MINUTE)
            except (ValueError, OverflowError):
                raise ValueError(f"{path}: line {number} does not begin with a time: {line[:40]!r}") from None
            if minute < 0:
                raise ValueError(f"{path}: line {number} has a negative time")
            counts[minute] = counts.get(minute, 0) + 1
    if not counts:
        raise ValueError(f"{path}: no request in it")
    days = max(counts) // DAY + 1
    return [counts.get(minute, 0) / MINUTE for minute in range(days * DAY)]


def played(rates: list[float], horizon: int, share: float) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Feed the series; yield for each minute from the second day on what came and what each forecaster said.
    The forecaster's name for an abstention is `abstained` (1 or 0).
    """
    profile, track = Profile(), Track()
    for number, rate in enumerate(rates[:-horizon]):
        minute = Minute(number, rate)
        track = track.add(minute, profile, 0.0, horizon, share)
        profile = profile.add(minute, 0.0)
        if number < DAY:
            continue
        answer = forecast(track, (number + 1) * MINUTE, rate)
        said = {
            "forecast": rate if answer.rate is None else answer.rate,
            "last": rate,
            "last+spread": rate if answer.naive is None else answer.naive,
            "yesterday": max(rates[number + 1 - DAY : number + 1 - DAY + horizon]),
            "abstained": float(answer.rate is None),
        }
        yield number, max(rates[number + 1 : number + 1 + horizon]), said


def scored(rates: list[float], horizon: int, share: float, half: str) -> dict[str, Any]:
    """The table of one trace and horizon."""
    middle = len(rates) // 2
    within = range(DAY, middle) if half == "first" else range(middle, len(rates))
    rows = [(came, said) for number, came, said in played(rates, horizon, share) if number in within]
    total = sum(came for came, _ in rows)
    result: dict[str, Any] = {"minutes": len(rows)}
    result["abstained_percent"] = round(100 * sum(said["abstained"] for _, said in rows) / len(rows), 1)
    for name in FORECASTERS:
        loss = sum(pinball(came, said[name], share) for came, said in rows)
        covered = sum(came <= said[name] + 1e-9 for came, said in rows)
        result[name] = {
            "loss_percent": round(100 * loss / total, 2),
            "coverage_percent": round(100 * covered / len(rows), 1),
        }
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, required=True, help="folder with NAME.csv.gz")
    parser.add_argument("--trace", action="append", help=f"NAME, repeatable; default {', '.join(TRACES)}")
    parser.add_argument("--half", choices=("first", "second"), default="second")
    parser.add_argument("--share", type=float, default=0.9, help="quantile, 0.5 to 0.99")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not 0.5 <= options.share <= 0.99:
        parser.error(f"--share must be within 0.5 and 0.99, got {options.share}")
    results: dict[str, Any] = {}
    for name in options.trace or TRACES:
        try:
            rates = series(options.traces / f"{name}.csv.gz")
        except (OSError, EOFError, ValueError) as error:
            print(f"forecast.py: {error}", file=sys.stderr)
            return 2
        for seconds, minutes in HORIZONS.items():
            row = scored(rates, minutes, options.share, options.half)
            results.setdefault(name, {})[str(seconds)] = row
            if not options.json:
                cells = [
                    f"{who} {row[who]['loss_percent']:6.2f} ({row[who]['coverage_percent']:4.1f} %)"
                    for who in FORECASTERS
                ]
                print(f"{name:28} {seconds:4} s  " + "  ".join(cells), flush=True)
    if options.json:
        print(json.dumps({"half": options.half, "share": options.share, "traces": results}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
