"""`torpor status`: every fleet in a line, or one on a page; once, or again and again.

One list of InferenceServices is all that it needs. Live figures (`--live`, `--watch`) are read from the
gateways besides and are a courtesy: see `live`.
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from torpor.api import constants
from torpor.cli import complete, live
from torpor.cli.manners import (
    USAGE,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    TroubleError,
    check_format,
    emit,
    finish,
    pause,
    shown,
    terminal_width,
)
from torpor.cli.overview import detail, overview, table
from torpor.cli.reach import Cluster, connected

LIVE_SECONDS: Final = 2.0  # between the two readings of a rate, where nobody watches


def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="One fleet, in detail.", autocompletion=complete.fleets),
    ] = None,
    *,
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Show it again and again, until Ctrl-C.")
    ] = False,
    interval: Annotated[float, typer.Option(min=1, max=3600, help="Seconds between, with --watch.")] = 2.0,
    with_rates: Annotated[
        bool, typer.Option("--live", help="Read tokens per second from the gateways; takes two seconds more.")
    ] = False,
    output: Output = "table",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the fleets: state, replicas and why, queue, KV cache, tokens per second, next window, saved.

    All of it is in the objects, as the operator wrote it last; queue and KV cache are per replica and at most
    half a minute old. Tokens per second, of answers that were completed, are read from the gateways' pods
    through the API server (--live, --watch), which needs the rights to list pods and to use their proxy; who
    lacks them sees a dash and one sentence. A state with ! is one in which requests are not answered.
    """
    check_format(output)
    if name is not None and all_namespaces:
        raise TroubleError("NAME and -A exclude each other; name the namespace with -n", USAGE)
    if name is not None and namespace is None and "/" in name:
        namespace, _, name = name.partition("/")
    wanted = _Wanted(name, namespace, everywhere=all_namespaces)

    async def work() -> None:
        async with connected(kubeconfig, context) as cluster:
            if watch:
                await _watch(cluster, wanted, interval, output)
            else:
                rates = await _rates(cluster) if with_rates else None
                page = await wanted.page(cluster, rates)
                emit(page.document, output, lambda: page.text(terminal_width()))

    finish(work())


class _Wanted:
    """Which fleets are asked for."""

    def __init__(self, name: str | None, namespace: str | None, *, everywhere: bool) -> None:
        self.name, self.namespace, self.everywhere = name, namespace, everywhere

    async def page(self, cluster: Cluster, rates: Mapping[live.Key, float] | None) -> "_Page":
        now = datetime.now(UTC)
        if self.name is not None:
            raw = await cluster.fleet(self.name, self.namespace)
            line = overview(raw, now, rates)
            return _Page(line, lambda _: detail(line, raw, now))
        where = None if self.everywhere else self.namespace or cluster.namespace
        lines = [overview(raw, now, rates) async for raw in cluster.fleets(where)]
        lines.sort(key=lambda line: (line["namespace"], line["name"]))
        if not lines:
            told = "in any namespace" if where is None else f"in namespace {where}; -A shows all namespaces"
            return _Page({"fleets": []}, lambda _: f"there is no {constants.KIND} {told}")
        return _Page({"fleets": lines}, lambda width: table(lines, now, width))


class _Page:
    """What is shown once."""

    def __init__(self, document: dict[str, Any], text: Any) -> None:
        self.document, self.text = document, text


async def _rates(cluster: Cluster) -> Mapping[live.Key, float] | None:
    """Read the gateways twice; say why there is no rate where there is none."""
    try:
        before = await live.read(cluster)
        await pause(LIVE_SECONDS)
        return live.rates(before, await live.read(cluster))
    except (TroubleError, TimeoutError) as error:
        typer.echo(_no_rates(error), err=True)
        return None


def _no_rates(error: BaseException) -> str:
    return shown(f"note: no tokens per second: {error or 'the gateways do not answer in time'}")


async def _watch(cluster: Cluster, wanted: _Wanted, interval: float, output: str) -> None:
    """Show the page every `interval` seconds: in place on a terminal, else one after the other."""
    before: live.Reading | None = None
    note = away = ""
    page: _Page | None = None
    screen = _screen() if output == "table" and sys.stdout.isatty() else None
    try:
        while True:
            rates = None
            if not note and not away:
                try:
                    after = await live.read(cluster)
                    rates = live.rates(before, after) if before else None
                    before = after
                except (TroubleError, TimeoutError) as error:
                    if not getattr(error, "passing", True):  # else a dash, and another try
                        note = _no_rates(error)
                        typer.echo(note, err=True)
            page, away = await _still(cluster, wanted, rates, page)
            if away and screen is None:
                typer.echo(away, err=True)
            elif screen is None:
                emit(page.document, output, lambda: page.text(terminal_width()))  # noqa: B023 - at once
            else:
                screen.update(page.text(terminal_width()), away or note)
            await pause(interval)
    finally:
        if screen is not None:
            screen.stop()


async def _still(
    cluster: Cluster, wanted: _Wanted, rates: Mapping[live.Key, float] | None, before: _Page | None
) -> tuple[_Page, str]:
    """Read the page; where a cluster that has answered once no longer does, give the last one and why. A
    person who watches wants to see it come back, so only a fleet that is gone or a right that was taken ends
    the watching.
    """
    try:
        return await wanted.page(cluster, rates), ""
    except TroubleError as trouble:
        if before is None or not trouble.passing:
            raise
        return before, shown(f"note: as it was before: {trouble}; trying again")


class _Screen:
    """A page that is drawn over itself."""

    def __init__(self, drawn: Any, text: Any) -> None:
        self._drawn, self._text = drawn, text

    def update(self, page: str, note: str) -> None:
        clock = datetime.now().astimezone().strftime("%H:%M:%S")
        told = "\n".join(part for part in (page, "", note, f"{clock}, Ctrl-C ends it") if part or part == "")
        self._drawn.update(self._text(told, no_wrap=True, overflow="crop"), refresh=True)

    def stop(self) -> None:
        self._drawn.stop()


def _screen() -> _Screen:
    from rich.live import Live  # noqa: PLC0415 - only who watches waits for it
    from rich.text import Text  # noqa: PLC0415

    drawn = Live(auto_refresh=False, vertical_overflow="crop")
    drawn.start()
    return _Screen(drawn, Text)
