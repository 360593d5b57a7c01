"""`torpor logs`: the log of a cold start, with its phases.

The engine's container writes what the launcher does (lines that begin with `[torpor]`) and what the engine
says meanwhile; the launcher's line `ready:` has the phases. Shown is the log from its beginning to that line,
or to its end where the engine is not ready yet; the phases come after it. Needs the right to list pods and to
read their logs.
"""

import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from torpor.api import constants as c
from torpor.cli import complete
from torpor.cli.manners import (
    Context,
    Kubeconfig,
    Namespace,
    Output,
    TroubleError,
    check_format,
    columns,
    emit,
    finish,
    items,
    mapping,
    pause,
    shown,
)
from torpor.cli.reach import Cluster, connected

MOST_BYTES: Final = 4 << 20  # of one log
POLL_SECONDS: Final = 1.0
LAUNCHER: Final = "[torpor] "
READY: Final = f"{LAUNCHER}ready: "
_PHASE = re.compile(r"([\w.-]+) ([0-9]+(?:\.[0-9]+)?) s(?:,|$)")


def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The InferenceService.", autocompletion=complete.fleets)
    ],
    *,
    pod: Annotated[
        str | None, typer.Option("-p", "--pod", help="One of its pods; default: the newest.")
    ] = None,
    launcher: Annotated[bool, typer.Option("--launcher", help="Only the launcher's own lines.")] = False,
    previous: Annotated[bool, typer.Option("--previous", help="Of the container that ended before.")] = False,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the engine is ready.")] = False,
    timeout: Annotated[float, typer.Option(min=1, max=86400, help="Seconds for --follow.")] = 1800.0,
    namespace: Namespace = None,
    output: Output = "table",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the log of a replica's cold start, and how long each of its phases took."""
    check_format(output)

    async def work() -> dict[str, Any]:
        async with connected(kubeconfig, context) as cluster:
            where = namespace or cluster.namespace
            found = pod or await _newest(cluster, name, where)
            deadline, said = time.monotonic() + timeout, 0
            while True:
                told = await _read(cluster, where, found, launcher=launcher, previous=previous)
                if output == "table":
                    for line in told["lines"][said:]:
                        typer.echo(line)
                    said = max(said, len(told["lines"]))
                if told["ready"] or not follow or time.monotonic() > deadline:
                    return told
                await pause(POLL_SECONDS)

    told = finish(work())
    emit(told, output, lambda: _phases(told))


async def _newest(cluster: Cluster, name: str, namespace: str) -> str:
    """Return the youngest pod of a fleet. Raises TroubleError where it has none."""
    await cluster.fleet(name, namespace)  # a name that is none has a better sentence than "no pods"
    page = await cluster.ask(
        "GET",
        f"/api/v1/namespaces/{namespace}/pods",
        f"list the pods of {namespace}/{name}",
        query={"labelSelector": f"{c.LABEL_FLEET}={name}"},
    )
    pods = [mapping(item, "metadata") for item in items(page.get("items"))]
    if not pods:
        told = f"{namespace}/{name} has no pod: it sleeps, or none could be made (torpor status {name})"
        raise TroubleError(f"{told}; its last cold start is in torpor explain {name}")
    return str(max(pods, key=lambda meta: str(meta.get("creationTimestamp") or ""))["name"])


async def _read(
    cluster: Cluster, namespace: str, pod: str, *, launcher: bool, previous: bool
) -> dict[str, Any]:
    query = {"container": c.ENGINE_CONTAINER, "limitBytes": str(MOST_BYTES)}
    if previous:
        query["previous"] = "true"
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    try:
        text = await cluster.text(path, f"read the log of {namespace}/{pod}", query)
    except TroubleError as trouble:
        if "is waiting to start" in str(trouble):
            return _told(pod, [], None)
        raise
    return beginning(pod, text, launcher=launcher)


def beginning(pod: str, text: str, *, launcher: bool = False) -> dict[str, Any]:
    """Return the part of a log that is the cold start, and its phases where it ended."""
    kept: list[str] = []
    for line in text.splitlines():
        if not launcher or line.startswith(LAUNCHER):
            kept.append(shown(line))
        if line.startswith(READY):
            return _told(pod, kept, line.removeprefix(READY))
    return _told(pod, kept, None)


def _told(pod: str, lines: list[str], ready: str | None) -> dict[str, Any]:
    phases = [
        {"name": name, "seconds": float(seconds)} for name, seconds in _PHASE.findall((ready or "")[:4096])
    ]
    return {"pod": pod, "ready": ready is not None, "phases": phases, "lines": lines}


def _phases(told: Mapping[str, Any]) -> str:
    if not told["ready"]:
        return f"{told['pod']} is not ready yet; -f follows it, torpor status says why it waits"
    rows = [[phase["name"], f"{phase['seconds']:.2f}"] for phase in told["phases"]]
    return f"\n{columns(('PHASE', 'SECONDS'), rows)}"
