"""What a page says that a command prints: run where nobody need be asked, else put through the same printer.

A command that asks a cluster or a Prometheus cannot run here, but what it prints is made by a function of a
document. So the page's own figures are read into such a document and printed again by that function: another
column, another word or another rounding in the code and the page is wrong. `…` on a page stands for anything.
"""

import contextlib
import io
import json
import re
import shlex
from types import SimpleNamespace as Made
from typing import Any

import yaml
from torpor.api import constants
from torpor.cli import backtest, suggest
from torpor.cli.account import account
from torpor.cli.app import app
from torpor.history.backtest import uncertainty
from torpor_gateway import hashkey
from typer.testing import CliRunner

from tests.docs.blocks import objects

ALONE = {"validate", "version", "size"}  # ask nobody
_HEAD = re.compile(
    r"(?P<fleet>\S+), (?P<start>\S+) to (?P<end>\S+): (?P<requests>\d+) requests "
    r"\(mean prompt (?P<prompt>[\d.]+), answer (?P<output>[\d.]+) tokens\)\n"
    r"objectives: first token within (?P<ttft>\d+) ms, then one every "
    r"(?P<itl>\d+) ms; cold start (?P<cold>[\d.]+) s \((?P<by>.+)\); engine: (?P<engine>.+)\n"
)
_FIGURE = re.compile(r"([\d.]+)(?: \(([\d.]+) to ([\d.]+)\))?")
_KEYS = ("replica_hours", "slo_attainment_percent", "requests_delayed", "p95_wait_seconds", "scale_changes")


def check(command: str, printed: str) -> None:
    """Check what a command prints. AssertionError where it is something else, or where nobody can tell."""
    words = shlex.split(command)
    match words[:2]:
        case ["torpor", verb] if verb in ALONE:
            assert CliRunner().invoke(app, words[1:]).output == printed
        case ["torpor", "backtest"]:
            _same(backtest.table(_backtest(printed)) + "\n", printed)
        case ["torpor", "explain"]:
            _same(account(explained(printed)).text() + "\n", printed)
        case ["torpor-gateway", "hash-key"]:
            with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.StringIO()):
                hashkey.main(words[2 : words.index(">")])
            _same(told.getvalue(), printed)
        case ["cat", name] if "# kubectl patch isvc" in printed:
            _same(suggest._patch(_suggested(printed, name)), printed)
        case ["kubectl", "get"] if "jsonpath={.status.saved}" in words:
            objects.check_status({"saved": json.loads(printed)})
        case _:
            raise AssertionError(f"nobody checks what {command} prints")


def _same(real: str, printed: str) -> None:
    """Compare, with `…` for anything; a difference shows both."""
    pattern = ".*".join(re.escape(part) for part in printed.split("…"))
    assert real == printed or ("…" in printed and re.fullmatch(pattern, real, re.DOTALL)), (
        f"{real}\n---\n{printed}"
    )


def _figure(cell: str) -> dict[str, float]:
    found = _FIGURE.search(cell)
    assert found, f"no figure: {cell}"
    median = float(found[1])
    return {"median": median, "low": float(found[2] or median), "high": float(found[3] or median)}


def _number(cell: str) -> float | int | None:
    plain = cell.split(maxsplit=1)[0]
    return None if plain == "-" else float(plain) if "." in plain else int(plain)


def _happened(cells: list[str]) -> dict[str, Any]:
    """Read the row of what happened: hours, share, delayed, p95 wait where it is shown, changes, peak."""
    share = _FIGURE.search(cells[1])
    assert share
    wait = _number(cells[3]) if len(cells) == 6 else None
    keys = {"slo_attainment_percent": {"low": float(share[1]), "high": float(share[1])}}
    return keys | {
        "replica_hours": _number(cells[0]),
        "requests_delayed": _number(cells[2]),
        "p95_wait_seconds": wait,
        "scale_changes": _number(cells[-2]),
        "peak_replicas": _number(cells[-1]),
    }


def _rows(text: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


def _uncertain(text: str) -> list[str]:
    """Return the sentences of `uncertainty` for the figures that the page's sentences have."""
    every = re.search(r"samples are (\d+) s apart", text)
    drawn = re.search(r"over (\d+) draws .*\(mean ([\d.]+) s\)", text)
    off = re.search(r"off by ([\d.]+)% in the mean", text)
    assert every
    assert drawn
    some = Made(total=1)
    past = Made(every=float(every[1]), missing=(), unusable=0, counted_by="gateway", asked=True)
    past.prompts, past.outputs, past.notes = some, some, ()
    learned = float(off[1]) / 100 if off else None
    return uncertainty(past, Made(cold_start=float(drawn[2])), learned, int(drawn[1]))  # type: ignore[arg-type]


def _backtest(printed: str) -> dict[str, Any]:
    found = _HEAD.match(printed)
    assert found, f"no head of a backtest: {printed[:120]}"
    table = printed[found.end() :].strip("\n").partition("\n\n")[0]
    _, was, *policies = _rows(table)
    read = [
        {
            "policy": name,
            **{key: _figure(cell) for key, cell in zip((*_KEYS, "peak_replicas"), cells, strict=True)},
        }
        for name, *cells in policies
    ]
    return {
        "fleet": found["fleet"],
        "from": found["start"],
        "to": found["end"],
        "history": {
            "requests": int(found["requests"]),
            "mean_tokens": {"prompt": float(found["prompt"]), "output": float(found["output"])},
        },
        "objectives": {
            "timeToFirstTokenMilliseconds": int(found["ttft"]),
            "interTokenLatencyMilliseconds": int(found["itl"]),
        },
        "cold_start_seconds": float(found["cold"]),
        "cold_start_by": found["by"],
        "hardware": {"name": found["engine"]},
        "happened": _happened(was[1:]),
        "policies": read,
        "uncertainty": _uncertain(printed),
    }


def _suggested(printed: str, name: str) -> dict[str, Any]:
    """Read a patch of `suggest` with its comments; the reasons of the choice are taken as they stand."""
    assert name.endswith(".yaml")
    told = "\n".join(
        line.removeprefix("#").removeprefix(" ") for line in printed.splitlines() if line[:1] == "#"
    )
    patch = yaml.safe_load(printed)
    objects.check_part(patch)
    call, table, below = told.split("\n\n")
    words = call.split()
    _, was, *tried = _rows(table)
    sure = _uncertain(below)
    sentences = [line.removeprefix("- ") for line in below.splitlines()]
    keys = ("replica_hours", "slo_attainment_percent", "requests_delayed", "scale_changes", "peak_replicas")
    return {
        "fleet": f"{words[words.index('-n') + 1]}/{words[3]}",
        "chosen": next(row[0].removesuffix(" *") for row in tried if row[0].endswith(" *")),
        "patch": patch,
        "why": [sentence for sentence in sentences if sentence not in sure],
        "happened": _happened(was[1:]),
        "tried": [
            {
                "policy": row[0].removesuffix(" *"),
                **{key: _figure(cell) for key, cell in zip(keys, row[1:], strict=True)},
            }
            for row in tried
        ],
        "uncertainty": sure,
    }


def explained(printed: str) -> dict[str, Any]:
    """Return a fleet whose account is the one that the page shows, as far as the page goes."""
    lines = [line.strip() for line in printed.splitlines()]
    namespace, name = lines[0].split("/")
    counts = [int(number) for number in re.findall(r"\d+", lines[1])]
    why = next(place for place, line in enumerate(lines) if line.startswith("Why "))
    reason, since, message = re.fullmatch(r"(\w+), since (\S+): (.+)\.", lines[why + 1]).groups()  # type: ignore[union-attr]
    signals, clamps = [], []
    for line in lines[why + 2 :]:
        if found := re.match(
            r"(\w+) is ([\d.]+)(?: %)? \((\d+) s old\), target (\d+)(?: %)?; it asks for (\d+)", line
        ):
            keys = ("name", "value", "ageSeconds", "target", "rawReplicas")
            told = dict(zip(keys, found.groups(), strict=True))
            signals.append(told | {key: int(told[key]) for key in ("ageSeconds", "rawReplicas")})
        if found := re.fullmatch(r"\d+\. (\w+) (?:raises|lowers) (\d+) to (\d+): (.+)\.", line):
            clamps.append({"name": found[1], "from": int(found[2]), "to": int(found[3]), "message": found[4]})
    alone = re.search(r"Torpor alone would ask for (\d+)", printed)
    mode = re.search(r"The mode is (\w+):", printed)
    decision = {
        "mode": mode[1] if mode else "Auto",
        "desiredReplicas": int(lines[why].split()[1]),
        "recommendedReplicas": int(alone[1]) if alone else counts[0],
        "reason": reason,
        "time": since,
        "message": message,
        "signals": signals,
        "clamps": clamps,
    }
    ready = {"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": since}
    status = {
        "desiredReplicas": counts[0],
        "replicas": counts[1],
        "readyReplicas": counts[2],
        "decision": decision,
        "conditions": [ready],
    }
    objects.check_status(status)
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": objects.API, "kind": constants.KIND, "metadata": metadata, "status": status}
