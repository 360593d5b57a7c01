"""`torpor backtest`: what a fleet's own history would have become under other policies."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torpor.cli.history import (
    COLD,
    FLEET,
    GPU,
    GPUS,
    HARDWARE,
    LOOK,
    PROMETHEUS,
    SEEDS,
    SELECTOR,
    SINCE,
    TIMEOUT,
    TOKEN_FILE,
    FailedError,
    UsageError,
    progress,
    read,
    told_errors,
    write,
)
from torpor.cli.manners import check_format, emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.cli.history import Found
    from torpor.decide.hardware import Hardware
    from torpor.history.backtest import Candidate, Conditions, Happened, Once, Row
    from torpor.history.read import Past


def backtest(
    *,
    prometheus: PROMETHEUS,
    fleet: FLEET,
    since: SINCE = "7d",
    selector: SELECTOR = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="File with an InferenceService or its scaling section; static:N or a rival of torpor "
            "simulate; repeatable."
        ),
    ] = None,
    hardware: HARDWARE = None,
    gpu: GPU = None,
    gpus: GPUS = 1,
    cold_start: COLD = None,
    seeds: SEEDS = 3,
    look: LOOK = 15.0,
    timeout: TIMEOUT = 60.0,
    token_file: TOKEN_FILE = None,
    end: Annotated[str | None, typer.Option(help="Until when, RFC 3339; default: now.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table, json or yaml.")] = "table",
    picture: Annotated[Path | None, typer.Option(help="Write requests and replicas as SVG.")] = None,
) -> None:
    """Say what other policies would have made of a fleet's history."""
    with told_errors():
        check_format(output)
        from torpor.history import backtest as tests  # noqa: PLC0415 - numpy and numba take a second to load
        from torpor.history.picture import draw  # noqa: PLC0415

        with progress("reading", "simulating") as (reading, simulating):
            found = read(
                prometheus=prometheus,
                fleet=fleet,
                since=since,
                selector=selector,
                hardware=hardware,
                gpu=gpu,
                gpus=gpus,
                cold_start=cold_start,
                timeout=timeout,
                token_file=token_file,
                end=end,
                told=reading,
            )
            candidates = [_candidate(name, found) for name in policy or [""]]
            conditions = found.conditions([one.service for one in candidates], look)
            rows = run(found, candidates, conditions, seeds, simulating)
        was = tests.happened(found.past, conditions)
        document = report(found, conditions, was, rows, seeds)
        if picture is not None:
            write(picture, draw(found.past, was, rows, f"{fleet}, {since}"))
        emit(document, output, lambda: table(document))


def run(
    found: Found,
    candidates: list[Candidate],
    conditions: Conditions,
    seeds: int,
    told: Callable[[float], None],
) -> list[Row]:
    """All policies over all draws, as many at once as there are processors: a week is half a minute each."""
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - see above
    from concurrent.futures.process import BrokenProcessPool  # noqa: PLC0415
    from multiprocessing import get_context  # noqa: PLC0415

    from torpor.history import backtest as tests  # noqa: PLC0415

    jobs = [(candidate, seed) for candidate in candidates for seed in range(seeds)]
    workers = min(len(jobs), os.cpu_count() or 1)
    shared = found.past, found.hardware, conditions
    if workers == 1:
        results = []
        for job in jobs:
            results.append(_once(shared, job))
            told(1 / len(jobs))
    else:
        # A new interpreter each: a copy of this one would have its threads' locks and not its threads.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_once, shared, job) for job in jobs]
            for future in futures:
                future.add_done_callback(lambda _: told(1 / len(jobs)))
            try:
                results = [future.result() for future in futures]
            except BrokenProcessPool:
                raise FailedError("a simulation was killed, by the system for its memory perhaps") from None
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    return [
        tests.row(candidate.name, results[place * seeds : (place + 1) * seeds])
        for place, candidate in enumerate(candidates)
    ]


def _once(shared: tuple[Past, Hardware, Conditions], job: tuple[Candidate, int]) -> Once:
    """One simulation, in a process of its own."""
    from torpor.history import backtest as tests  # noqa: PLC0415 - see above
    from torpor.history.rebuild import Rebuilt  # noqa: PLC0415

    past, hardware, conditions = shared
    candidate, seed = job
    return tests.once(past, Rebuilt(past), candidate, hardware=hardware, conditions=conditions, seed=seed)


def _candidate(name: str, found: Found) -> Candidate:
    """The policy of a file, of a rule's name, or, for an empty name, Torpor's defaults up to what there
    was.
    """
    from torpor.history.backtest import Candidate  # noqa: PLC0415 - see above
    from torpor.history.driver import made, service_of  # noqa: PLC0415

    namespace, _, own = found.fleet.partition("/")
    usual = {"minReplicas": 0, "maxReplicas": max(1, min(1000, found.past.peak))}
    import yaml  # noqa: PLC0415 - `torpor --help` has no use for it

    text = yaml.safe_dump(made(namespace, own, usual))
    rule = name if name and not Path(name).exists() and re.fullmatch(r"[a-z0-9-]+(:[^/]*)?", name) else ""
    if name and not rule:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--policy {name}: cannot be read: {getattr(error, 'strerror', error)}"
            ) from None
    try:
        service = service_of(text, f"--policy {name}", namespace, own)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return Candidate(Path(name).stem if name and not rule else rule or "torpor", service, rule)


def report(
    found: Found, conditions: Conditions, was: Happened, rows: list[Row], seeds: int
) -> dict[str, Any]:
    """Everything that is printed, as plain values."""
    from torpor.history import backtest as tests  # noqa: PLC0415 - see above

    past, hardware = found.past, found.hardware
    lengths = {
        kind: round(float(h.sums.sum()) / h.total, 1) if h.total else None
        for kind, h in (("prompt", past.prompts), ("output", past.outputs))
    }
    document = {
        "fleet": found.fleet,
        "from": _told(past.start),
        "to": _told(past.end),
        "objectives": {
            "timeToFirstTokenMilliseconds": conditions.ttft_ms,
            "interTokenLatencyMilliseconds": conditions.itl_ms,
        },
        "cold_start_seconds": conditions.cold_start,
        "cold_start_by": found.cold_by,
        "hardware": {key: float(f"{getattr(hardware, key):.4g}") for key in "abcd"}
        | {"name": hardware.name, "kv_tokens": hardware.kv_tokens},
        "history": {
            "requests": round(past.arrivals.total),
            "counted_by": past.counted_by,
            "mean_tokens": lengths,
            "sample_seconds": past.every,
            "series": past.series,
            "missing_hours": round(past.missing_seconds / 3600, 2),
        },
        "happened": was.document(),
        "policies": [row.document() for row in rows],
        "uncertainty": tests.uncertainty(past, conditions, found.error, seeds),
    }
    return tests.plain(document)  # type: ignore[no-any-return]


def _told(seconds: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - see above

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def table(document: dict[str, Any]) -> str:
    """The report for people."""
    history, was, goals = document["history"], document["happened"], document["objectives"]
    rows = [("", "replica-hours", "within objectives", "delayed", "p95 wait", "changes", "peak")]
    share = was["slo_attainment_percent"]
    told = "-"
    if share:
        told = (
            f"{share['low']:g} %"
            if share["low"] == share["high"]
            else f"{share['low']:g} to {share['high']:g} %"
        )
    wait = "-" if was["p95_wait_seconds"] is None else f"{was['p95_wait_seconds']:g} s"
    delayed = "-" if was["requests_delayed"] is None else f"{was['requests_delayed']:.0f}"
    first = ("what happened", f"{was['replica_hours']:g}", told, delayed, wait)
    rows.append((*first, f"{was['scale_changes']}", f"{was['peak_replicas']}"))
    for row in document["policies"]:
        cells = [_cell(row[key]) for key in ("replica_hours", "slo_attainment_percent", "requests_delayed")]
        cells += [_cell(row[key]) for key in ("p95_wait_seconds", "scale_changes", "peak_replicas")]
        cells[1] += " %"
        cells[3] += " s"
        rows.append((row["policy"], *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    tokens = history["mean_tokens"]
    head = [
        f"{document['fleet']}, {document['from']} to {document['to']}: {history['requests']} requests "
        f"(mean prompt {tokens['prompt'] or '?'}, answer {tokens['output'] or '?'} tokens)",
        f"objectives: first token within {goals['timeToFirstTokenMilliseconds']:g} ms, then one every "
        f"{goals['interTokenLatencyMilliseconds']:g} ms; cold start {document['cold_start_seconds']:g} s "
        f"({document['cold_start_by']}); engine: {document['hardware']['name']}",
        "",
    ]
    tail = ["", "How sure this is:", *(f"- {one}" for one in document["uncertainty"])]
    return "\n".join([*head, *lines, *tail])


def _cell(figure: dict[str, float]) -> str:
    """The median, with the range where there is one."""
    if figure["low"] == figure["high"]:
        return f"{figure['median']:g}"
    return f"{figure['median']:g} ({figure['low']:g} to {figure['high']:g})"
