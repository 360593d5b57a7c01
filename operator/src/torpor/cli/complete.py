"""What the shell offers after TAB: fleets, namespaces and contexts of the cluster that the line speaks of.

The cluster is asked with the login that the line names, for names alone, and for two seconds at most.
Whatever goes wrong meanwhile offers nothing and says nothing: somebody is typing. A login that would have to
ask does not ask.

`plugin` is kubectl's way to the same: for `kubectl torpor …` it runs `kubectl_complete-torpor` with the words
so far, and reads an offer per line and then what to do besides (`:4`, nothing; `:0`, offer files too).
"""

import io
import os
import shlex
import sys
from collections.abc import Callable, Coroutine
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, Final

import typer

SECONDS: Final = 2.0
MOST: Final = 500  # names that are offered
NAMES: Final = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
NAMESPACES: Final = "/api/v1/namespaces"
FILES_TOO, NO_FILES = ":0", ":4"


def fleets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the fleets of the namespace that the line names, or of the context's."""

    def path(usual: str) -> str:
        from torpor.cli.reach import fleet_path  # noqa: PLC0415 - asked for by TAB alone

        return fleet_path(ctx.params.get("namespace") or usual)

    return _offered(_names(ctx, path), incomplete)


def namespaces(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the namespaces."""
    return _offered(_names(ctx, lambda _: NAMESPACES), incomplete)


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Offer the contexts of the kubeconfig."""

    async def found() -> list[str]:
        from torpor.cluster.kubeconfig import contexts as known  # noqa: PLC0415 - see above

        return known(ctx.params.get("kubeconfig"))

    return _offered(found(), incomplete)


def formats(incomplete: str) -> list[str]:
    """Offer the formats."""
    return [name for name in ("table", "json", "yaml") if name.startswith(incomplete)]


def plugin() -> None:
    """Answer kubectl; its words are this process's arguments."""
    from torpor.cli.app import app  # noqa: PLC0415 - it imports this module

    words = shlex.join(["torpor", *sys.argv[1:]])
    os.environ |= {
        "_TORPOR_COMPLETE": "complete_fish",  # its answers have kubectl's form: the offer, a tab, its help
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": words,
    }
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            app(args=[], prog_name="torpor")
    except SystemExit:
        pass
    offers = said.getvalue().strip("\n")
    sys.stdout.write(f"{offers}\n{NO_FILES}\n" if offers else f"{FILES_TOO}\n")


async def _names(ctx: typer.Context, path: Callable[[str], str]) -> list[str]:
    import asyncio  # noqa: PLC0415 - see above

    from torpor.cli.manners import items, mapping  # noqa: PLC0415 - it imports this module
    from torpor.cluster.kubeconfig import login  # noqa: PLC0415 - see above
    from torpor.cluster.light import Light  # noqa: PLC0415 - see above

    found = login(ctx.params.get("kubeconfig"), ctx.params.get("context"))
    cluster = Light(found, silent_for=SECONDS)
    try:
        async with asyncio.timeout(SECONDS):
            page = await cluster.request(
                "GET", path(found.namespace), query={"limit": str(MOST)}, accept=NAMES, seconds=SECONDS
            )
    finally:
        await cluster.close()
    return [str(mapping(item, "metadata").get("name")) for item in items(page.get("items"))]


def _offered(work: Coroutine[Any, Any, list[str]], incomplete: str) -> list[str]:
    """Return what was found and fits; nothing where it could not be found."""
    import asyncio  # noqa: PLC0415 - see above

    try:
        names = asyncio.run(work)
    except Exception:  # noqa: BLE001, RUF100 - whatever it is, somebody is typing and asked for no report
        return []
    return sorted(name for name in names if name.startswith(incomplete) and name.isprintable())
