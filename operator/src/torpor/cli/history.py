"""What the commands that read a fleet's history have in common: arguments, reading, progress, errors.

They read Prometheus and nothing else: no cluster is asked, and nothing is written but what was named.
Progress goes to standard error where that is a terminal, so that standard output is the answer alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.manners import USAGE, TroubleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torpor.decide.hardware import Hardware
    from torpor.history.backtest import Conditions
    from torpor.history.read import Past

UNITS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
SHORTEST, LONGEST = 600.0, 400 * 86_400.0
COLD_START = 120.0  # seconds, where nobody told

PROMETHEUS = Annotated[str, typer.Option(help="Address of the Prometheus that scraped the engines.")]
FLEET = Annotated[str, typer.Option(help="NAMESPACE/NAME of the fleet.")]
SINCE = Annotated[str, typer.Option(help="How far back: a number and m, h, d or w.")]
SELECTOR = Annotated[
    str | None, typer.Option(help="PromQL matchers of the engines, where they carry other labels.")
]
HARDWARE = Annotated[
    str | None,
    typer.Option(help="Name of built-in hardware, or a .json file; default: learned from the history."),
]
GPU = Annotated[
    str | None, typer.Option(help="The accelerator, as a start for learning: h100, a100, l40s...")
]
GPUS = Annotated[int, typer.Option(min=1, help="Accelerators of one replica.")]
COLD = Annotated[
    float | None,
    typer.Option(help="Mean seconds of a start; default: the operator's own record, else 120."),
]
TIMEOUT = Annotated[float, typer.Option(help="The longest wait for one answer, in seconds.")]
TOKEN_FILE = Annotated[Path | None, typer.Option(help="A file with a bearer token for the server.")]
SEEDS = Annotated[
    int, typer.Option(min=1, max=50, help="Draws of the history; the figures' range is over them.")
]
LOOK = Annotated[float, typer.Option(help="Seconds between two decisions.")]


class UsageError(TroubleError):
    """A wrong argument."""

    def __init__(self, message: str) -> None:
        super().__init__(message, USAGE)


class FailedError(TroubleError):
    """What was asked for cannot be had."""


class Found:
    """What was read, and what the runs need of it."""

    def __init__(
        self,
        past: Past,
        *,
        hardware: Hardware,
        error: float | None,
        cold_start: float,
        cold_by: str,
        fleet: str,
    ) -> None:
        from torpor.history.rebuild import Rebuilt  # noqa: PLC0415 - see above

        self.past, self.hardware, self.error = past, hardware, error
        self.cold_start, self.cold_by, self.fleet = cold_start, cold_by, fleet
        self.rebuilt = Rebuilt(past)

    def conditions(self, services: list[Any], look: float) -> Conditions:
        """What all runs share; the objectives are those of the first policy that gives any."""
        from torpor.history.backtest import Conditions  # noqa: PLC0415 - see above
        from torpor.simulate import plan  # noqa: PLC0415

        if not 1 <= look <= 300:
            raise UsageError(f"--look {look:g}: must be from 1 to 300 seconds; 15 is usual")
        giving = next((s for s in services if s.spec.scaling.objectives), services[0])
        return Conditions(self.cold_start, look, *plan.objectives(giving))


def read(
    *,
    prometheus: str,
    fleet: str,
    since: str,
    selector: str | None,
    hardware: str | None,
    gpu: str | None,
    gpus: int,
    cold_start: float | None,
    timeout: float,
    token_file: Path | None,
    end: str | None,
    told: Callable[[float], None],
) -> Found:
    """Check the arguments, then read. Raises UsageError and what reading raises."""
    from torpor.history import engine, matchers  # noqa: PLC0415 - numpy and numba take a second to load
    from torpor.history.prometheus import Prometheus  # noqa: PLC0415
    from torpor.history.read import read as read_past  # noqa: PLC0415
    from torpor.simulate import hardware as machines  # noqa: PLC0415

    span = duration(since)
    until = time.time() if end is None else _instant(end)
    if not 0.1 <= timeout <= 3600:
        raise UsageError(f"--timeout {timeout:g}: must be from 0.1 to 3600 seconds")
    if cold_start is not None and not 0 <= cold_start <= 86_400:
        raise UsageError(f"--cold-start {cold_start:g}: must be from 0 to 86400 seconds")
    try:
        namespace, name = matchers.fleet(fleet)
        selectors = (
            (matchers.parse(selector),) if selector is not None else matchers.of_fleet(namespace, name)
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    token = None
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--token-file {token_file}: cannot be read: {error}") from None
    given = machines.find(hardware) if hardware is not None else None
    server = Prometheus(prometheus, seconds=timeout, token=token)
    past = read_past(
        server,
        selectors,
        (namespace, name),
        start=until - span,
        end=until,
        told=lambda share: told(0.8 * share),
    )
    error_of = None
    if given is None:
        given, error_of = engine.learned(server, past, gpu, gpus, told)
    by = "given"
    if cold_start is None:
        by = "the operator's record" if past.cold_starts else "assumed"
        cold_start = sum(past.cold_starts) / len(past.cold_starts) if past.cold_starts else COLD_START
    return Found(
        past, hardware=given, error=error_of, cold_start=round(cold_start, 1), cold_by=by, fleet=fleet
    )


def duration(text: str) -> float:
    """Seconds of `90m`, `12h`, `7d` or `2w`. Raises UsageError."""
    number = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    found = float(number[1]) * UNITS[number[2]] if number else 0.0
    if not SHORTEST <= found <= LONGEST:
        raise UsageError(
            f"--since {text[:40]!r}: must be from 10m to 400d, a number and m, h, d or w, like 7d"
        )
    return found


def _instant(text: str) -> float:
    from datetime import datetime  # noqa: PLC0415 - rarely needed

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(f"--end {text[:40]!r}: must be a time with its zone, like 2026-11-22T08:00:00Z")
    return found.timestamp()


def write(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise FailedError(f"--picture {path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def progress(*steps: str) -> Iterator[list[Callable[[float], None]]]:
    """One bar per step, on standard error where that is a terminal. Each gets shares that add up to 1."""
    if not sys.stderr.isatty():
        yield [lambda share: None for _ in steps]
        return
    from rich.console import Console  # noqa: PLC0415 - where nobody looks it is not needed
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks = [bars.add_task(step, total=1.0) for step in steps]
        yield [lambda share, task=task: bars.advance(task, share) for task in tasks]  # type: ignore[misc]


@contextlib.contextmanager
def told_errors() -> Iterator[None]:
    """Put what the history and the simulator complain of into the words of the command line."""
    from torpor.history.source import HistoryError  # noqa: PLC0415 - see above
    from torpor.simulate.fleet import SimulationError  # noqa: PLC0415
    from torpor.simulate.hardware import HardwareError  # noqa: PLC0415
    from torpor.simulate.traces import TraceError  # noqa: PLC0415

    try:
        yield
    except HardwareError as error:
        raise UsageError(str(error)) from None
    except (HistoryError, SimulationError, TraceError, ValueError) as error:
        raise FailedError(str(error)) from None
