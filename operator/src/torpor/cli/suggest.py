"""`torpor suggest`: what to set for a fleet, out of its own history, as a patch.

The patch goes to standard output and nowhere else; whoever wants it applies it:

    torpor suggest ... > patch.yaml && kubectl patch isvc NAME -n NS --type merge --patch-file patch.yaml
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
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
    SELECTOR,
    SINCE,
    TIMEOUT,
    TOKEN_FILE,
    UsageError,
    progress,
    read,
    told_errors,
)
from torpor.cli.manners import check_format, emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torpor.api.types import InferenceService
    from torpor.cli.history import Found
    from torpor.history.backtest import Conditions, Happened, Row
    from torpor.history.propose import Proposal, Scaling

FORMATS = ("patch", "table", "json", "yaml")
UNBOUNDED = 4  # times the need's largest value: room in which the decision is free


def suggest(
    *,
    prometheus: PROMETHEUS,
    fleet: FLEET,
    since: SINCE = "7d",
    selector: SELECTOR = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="The fleet as it is: its objectives and signals count, and it is tried too."),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Of the hours that are proposed: Europe/Berlin.")] = "UTC",
    hardware: HARDWARE = None,
    gpu: GPU = None,
    gpus: GPUS = 1,
    cold_start: COLD = None,
    seeds: Annotated[int, typer.Option(min=1, max=50, help="Draws of the history per candidate.")] = 1,
    look: LOOK = 15.0,
    timeout: TIMEOUT = 60.0,
    token_file: TOKEN_FILE = None,
    end: Annotated[str | None, typer.Option(help="Until when, RFC 3339; default: now.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="patch, table, json or yaml.")] = "patch",
) -> None:
    """Propose bounds, idle time and hours from a fleet's history, as a patch; nothing is written."""
    with told_errors():
        check_format(output, FORMATS)
        from torpor.api import zones  # noqa: PLC0415 - `torpor --help` has no use for any of it
        from torpor.history import backtest as tests  # noqa: PLC0415 - numpy and numba take a second to load

        zone = zones.load(time_zone)
        if zone is None:
            raise UsageError(
                f"--time-zone {time_zone[:64]!r}: must be an IANA zone like Europe/Berlin or UTC"
            )
        base = _base(policy, fleet)
        with progress("reading", "trying") as (reading, trying):
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
            tries = _Tries(found, base, seeds=seeds, look=look, told=trying)
            proposal = tries.proposal(time_zone, zone, as_it_is=policy is not None)
        was = tests.happened(found.past, tries.conditions)
        document = _document(
            found, was, proposal, tests.uncertainty(found.past, tries.conditions, found.error, seeds)
        )
        if output == "patch":
            typer.echo(_patch(document), nl=False)
        else:
            emit(document, output, lambda: _table(document))


def _base(policy: Path | None, fleet: str) -> InferenceService:
    """The fleet as it is, or one with nothing of its own."""
    import yaml  # noqa: PLC0415 - `torpor --help` has no use for it

    from torpor.history.driver import made, service_of  # noqa: PLC0415 - see above

    namespace, _, name = fleet.partition("/")
    text = yaml.safe_dump(made(namespace or "default", name or "fleet", {}))
    if policy is not None:
        try:
            text = policy.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"--policy {policy}: cannot be read: {getattr(error, 'strerror', error)}"
            ) from None
    try:
        return service_of(text, f"--policy {policy or fleet}", namespace or "default", name or "fleet")
    except ValueError as error:
        raise UsageError(
            str(error) if policy else f"--fleet {fleet[:80]!r}: must be NAMESPACE/NAME"
        ) from None


class _Tries:
    """Candidates over one history: each is the fleet as it is with another scaling section."""

    def __init__(
        self, found: Found, base: InferenceService, *, seeds: int, look: float, told: Callable[[float], None]
    ) -> None:
        self.found, self.base, self.seeds, self.told = found, base, seeds, told
        self.conditions: Conditions = found.conditions([base], look)
        self.count = 6

    def proposal(self, time_zone: str, zone: Any, *, as_it_is: bool) -> Proposal:
        """Find out what could be, try it, choose."""
        from torpor.history import propose  # noqa: PLC0415 - see above
        from torpor.simulate import bound, plan  # noqa: PLC0415

        past = self.found.past
        trace = self.found.rebuilt.trace(0)
        needs = bound.need(trace, plan.engine(self.base, self.found.hardware, trace), self.conditions.itl_ms)
        free = min(1000, UNBOUNDED * int(needs.max()) + 2)
        unbound = self.run("unbounded", {"minReplicas": 0, "maxReplicas": free})
        most = max(1, round(max(count for _, count in unbound.steps or [(0.0, 1)])))
        windows = propose.hours(
            trace.arrival,
            needs,
            slot=bound.SLOT_SECONDS,
            start=past.start,
            end=past.end,
            zone=zone,
            cold_start=self.conditions.cold_start,
            hidden=[(low - past.start, high - past.start) for low, high in past.missing],
        )
        tried = propose.candidates(most, windows, time_zone)
        self.count = len(tried) + 1
        proposal = propose.propose(most, tried, self.run)
        if as_it_is:
            mine = self.base.spec.scaling.model_dump(by_alias=True, exclude_unset=True, mode="json")
            proposal.rows.append(self.run("as it is", mine))
        if propose.days_seen(past.start, past.end) < 7 and "schedule" in proposal.scaling:
            proposal.reasons.append(
                "days of the week that were not in the history have no hours: ask for --since 14d"
            )
        return proposal

    def run(self, name: str, scaling: Scaling) -> Row:
        """One candidate."""
        import yaml  # noqa: PLC0415 - `torpor --help` has no use for it

        from torpor.history import backtest as tests  # noqa: PLC0415 - see above
        from torpor.history.driver import service_of  # noqa: PLC0415

        whole = self.base.model_dump(by_alias=True, exclude_unset=True, mode="json")
        kept = {
            key: value
            for key, value in (whole["spec"].get("scaling") or {}).items()
            if key in ("objectives", "signals")
        }
        whole["spec"]["scaling"] = kept | scaling
        service = service_of(yaml.safe_dump(whole), name, "default", "fleet")
        row = tests.run(
            self.found.past,
            self.found.rebuilt,
            tests.Candidate(name, service),
            hardware=self.found.hardware,
            conditions=self.conditions,
            seeds=range(self.seeds),
        )
        self.told(1 / self.count)
        return row


def _document(found: Found, was: Happened, proposal: Proposal, uncertainty: list[str]) -> dict[str, Any]:
    from torpor.history.backtest import plain  # noqa: PLC0415 - see above

    document: dict[str, Any] = plain(
        {
            "fleet": found.fleet,
            "chosen": proposal.name,
            "patch": proposal.patch(),
            "why": proposal.reasons,
            "happened": was.document(),
            "tried": [row.document() for row in proposal.rows],
            "uncertainty": uncertainty,
        }
    )
    return document


def _table(document: dict[str, Any]) -> str:
    """What was tried, for people."""
    rows = [("", "replica-hours", "within objectives", "delayed", "changes", "peak")]
    was = document["happened"]
    share = was["slo_attainment_percent"]
    told = "-" if not share else f"{share['low']:g} to {share['high']:g} %"
    if share and share["low"] == share["high"]:
        told = f"{share['low']:g} %"
    first = ("what happened", f"{was['replica_hours']:g}", told)
    rows.append((*first, "-", f"{was['scale_changes']}", f"{was['peak_replicas']}"))
    for row in document["tried"]:
        name = f"{row['policy']} *" if row["policy"] == document["chosen"] else row["policy"]
        kinds = (
            "replica_hours",
            "slo_attainment_percent",
            "requests_delayed",
            "scale_changes",
            "peak_replicas",
        )
        hours, kept, late, changes, most = (f"{row[kind]['median']:g}" for kind in kinds)
        rows.append((name, hours, f"{kept} %", late, changes, most))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join([*lines, "", *(f"- {one}" for one in (*document["why"], *document["uncertainty"]))])


def _patch(document: dict[str, Any]) -> str:
    """The patch, and as comments what it is worth and how to apply it."""
    import yaml  # noqa: PLC0415 - `torpor --help` has no use for it

    namespace, _, name = document["fleet"].partition("/")
    head = [
        f"kubectl patch isvc {name} -n {namespace} --type merge --patch-file THIS_FILE",
        "",
        *_table(document).splitlines(),
    ]
    body = yaml.safe_dump(document["patch"], sort_keys=False)
    return "".join(f"# {line}".rstrip() + "\n" for line in head) + body
