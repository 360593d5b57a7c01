"""`torpor simulate`: a recorded trace through a fleet, under the decision that runs in production.

Nothing is written before everything is known, so that a run that ends with an error leaves no half a report.
What is wrong with the input is one line on standard error and exit status 2.
"""

import dataclasses
import json
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from torpor.api import constants
from torpor.cli.manners import USAGE, Output, check_format, emit, fail, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.api.types import InferenceService
    from torpor.simulate.fleet import FleetPolicy
    from torpor.simulate.view import View


class InputError(Exception):
    """Wrong input; the message is one line."""


def simulate(
    *,
    trace: Annotated[Path, typer.Option(help="The requests: one of the three formats, plain or gzipped.")],
    fleet: Annotated[Path, typer.Option(help="YAML file with the InferenceService.")],
    hardware: Annotated[str, typer.Option(help="Name of built-in hardware, or a .json file.")],
    cold_start: Annotated[float, typer.Option(help="Mean seconds from the decision to ready.")],
    policy: Annotated[
        str, typer.Option(help="torpor, static:N, or a rival's NAME[:key=value,...].")
    ] = "torpor",
    rate_scale: Annotated[float, typer.Option(help="So many times the requests; below 1 thins out.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of cold starts, copies and thinning.")] = 0,
    look: Annotated[float, typer.Option(help="Seconds between two decisions.")] = 10.0,
    score_from: Annotated[float, typer.Option(help="Leave out what is before this second.")] = 0.0,
    engine_defaults: Annotated[
        bool,
        typer.Option("--engine-defaults", help="Keep the hardware's token budget, whatever the objective."),
    ] = False,
    gateways: Annotated[int, typer.Option(min=1, help="Gateway processes; limits hold for each.")] = 2,
    failed_starts: Annotated[float, typer.Option(help="Share of the starts that never become ready.")] = 0.0,
    start_deadline: Annotated[float, typer.Option(help="Seconds until such a one is replaced.")] = 600.0,
    outage: Annotated[
        list[str] | None, typer.Option(help="FROM-TO in seconds without engine metrics; repeatable.")
    ] = None,
    stale: Annotated[
        list[str] | None, typer.Option(help="FROM-TO in seconds in which they stand still; repeatable.")
    ] = None,
    output: Output = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write replicas against the need as SVG.")] = None,
) -> None:
    """Run a trace through a simulated fleet and say what it cost and how it felt."""
    check_format(output)
    # numpy and numba take a second to load; the other commands must not wait for them.
    from torpor.simulate.fleet import SimulationError  # noqa: PLC0415
    from torpor.simulate.hardware import HardwareError  # noqa: PLC0415
    from torpor.simulate.traces import TraceError  # noqa: PLC0415

    try:
        figures, picture = _run(
            trace=trace,
            service=_fleet(fleet),
            hardware=hardware,
            cold_start=cold_start,
            policy=policy,
            rate_scale=rate_scale,
            seed=seed,
            look=look,
            score_from=score_from,
            engine_defaults=engine_defaults,
            gateways=gateways,
            troubles={
                "failed_starts": failed_starts,
                "start_deadline": start_deadline,
                "outages": _intervals("--outage", outage),
                "stale": _intervals("--stale", stale),
            },
            plot=plot is not None,
        )
    except (InputError, SimulationError, HardwareError, TraceError) as error:
        _fail(str(error))
    if plot is not None:
        try:
            _write(plot, picture)
        except OSError as error:
            _fail(f"{plot}: cannot be written: {error.strerror or error}")
    if as_json:
        typer.echo(json.dumps(figures))
    else:
        emit(figures, output, lambda: _table(figures))


class _Told:
    """A policy, with a word to somebody who waits for each second of the trace that has passed."""

    def __init__(self, policy: "FleetPolicy", last: float, done: "Callable[[int], None]") -> None:
        self.name = policy.name
        self._policy, self._last, self._done = policy, last, done
        self._told = 0

    def look(self, view: "View") -> int:
        """Decide as the policy does."""
        passed = int(min(view.now, self._last))
        if passed > self._told:
            self._done(passed - self._told)
            self._told = passed
        return self._policy.look(view)


def _run(
    *,
    trace: Path,
    service: "InferenceService",
    hardware: str,
    cold_start: float,
    policy: str,
    rate_scale: float,
    seed: int,
    look: float,
    score_from: float,
    engine_defaults: bool,
    gateways: int,
    troubles: dict[str, Any],
    plot: bool,
) -> tuple[dict[str, Any], str]:
    from torpor.simulate import achievable, bound, plan, results, traces  # noqa: PLC0415 - see above
    from torpor.simulate import hardware as machines  # noqa: PLC0415
    from torpor.simulate.conditions import Conditions  # noqa: PLC0415
    from torpor.simulate.fleet import Simulation  # noqa: PLC0415
    from torpor.simulate.picture import draw  # noqa: PLC0415

    machine = machines.find(hardware)
    requests = traces.scaled(traces.read(trace), rate_scale, seed)
    last = float(requests.arrival[-1])
    if not (math.isfinite(score_from) and 0 <= score_from <= last):
        raise InputError(f"--score-from {score_from:g}: must be between 0 and the last arrival, {last:g} s")
    ttft, itl = plan.objectives(service)
    replica = plan.engine(service, machine, requests, engine_defaults=engine_defaults)
    try:
        driver = plan.policy(policy, service, replica, requests)
        setup = plan.setup(
            service,
            replica,
            cold_start=cold_start,
            look=plan.pace(driver, look),
            seed=seed,
            gateways=gateways,
            conditions=Conditions(**troubles),
        )
        least = bound.replica_hours(requests, replica, itl, cold_start, score_from)
        needs = bound.need(requests, replica, itl)
    except ValueError as error:
        raise InputError(str(error)) from None
    began = time.perf_counter()
    with progress("seconds of the trace", math.ceil(last)) as done:
        run = Simulation(requests, setup, _Told(driver, last, done)).run()
    wall = time.perf_counter() - began
    figures = results.score(run, policy, ttft_ms=ttft, itl_ms=itl, score_from=score_from)
    setup = dataclasses.replace(setup, look=look)  # whoever is judged, the oracle looks as often
    oracle = achievable.replica_hours(requests, setup, replica, ttft, itl, score_from=score_from)
    figures |= {
        "bound_replica_hours": round(least, 4),
        "ratio_to_bound": round(figures["replica_hours"] / least, 4) if least else None,
        "achievable_replica_hours": None if oracle is None else round(oracle, 4),
        "wall_seconds": round(wall, 3),
    }
    return figures, draw(run, needs, bound.SLOT_SECONDS, policy) if plot else ""


def _fleet(path: Path) -> "InferenceService":
    """The one InferenceService in the file, validated."""
    import yaml  # noqa: PLC0415 - see `simulate`

    from torpor.api import validation  # noqa: PLC0415 - see `simulate`

    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from None
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == constants.KIND]
    if len(found) != 1:
        raise InputError(f"{path}: holds {len(found)} objects of kind {constants.KIND}; one is needed")
    checked = validation.check(found[0])
    problems = [*validation.unknown_fields(found[0]), *checked.problems]
    if problems or checked.fleet is None:
        raise InputError(f"{path}: {_one_line(problems[0] if problems else 'not valid')}")
    return checked.fleet


def _intervals(option: str, given: list[str] | None) -> tuple[tuple[float, float], ...]:
    """FROM-TO, as often as it was given."""
    found = []
    for text in given or []:
        begins, _, ends = text.partition("-")
        try:
            found.append((float(begins), float(ends)))
        except ValueError:
            raise InputError(f"{option} {text}: must be FROM-TO in seconds, as in 3600-7200") from None
    return tuple(found)


def _write(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _table(figures: dict[str, Any]) -> str:
    rows = []
    for key, value in figures.items():
        told = "  ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        rows.append(f"{key.replace('_', ' '):26}{'-' if told is None else told}")
    return "\n".join(rows)


def _one_line(what: object) -> str:
    return " ".join(str(what).split())


def _fail(message: str) -> NoReturn:
    fail("simulate", _one_line(message), USAGE)
