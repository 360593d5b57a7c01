"""`torpor explain`: why a fleet has the replicas it has.

The answer is in the object (`account` reads it), so this needs the right to get InferenceServices and nothing
else: no operator is asked, and a saved object explains itself without a cluster (`-f`). A cluster is reached
as kubectl reaches it, by kubeconfig and context, or by the service account where this runs in a pod.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import yaml

from torpor.api import constants
from torpor.cli.account import NoAccountError, account

if TYPE_CHECKING:
    from torpor.cluster.client import Kube

SECONDS = 10.0  # for one request
MOST_NAMES = 10  # of other fleets, where the wanted one is not there


class UnreadError(Exception):
    """There is no object to explain; the message says why and what to do."""


def explain(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The InferenceService.")] = None,
    *,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", help="Its namespace; default: the context's.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="Explain a saved object; - is standard input.")
    ] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="text or json.")] = "text",
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig; default: its current one.")] = None,
    kubeconfig: Annotated[
        str | None, typer.Option(help="A kubeconfig file; default: $KUBECONFIG, else ~/.kube/config.")
    ] = None,
) -> None:
    """Say why a fleet has the replicas it has, and what would change it."""
    if output not in ("text", "json"):
        _fail(f'-o "{output}": must be text or json; choose one of them', 2)
    if file is None and name is None:
        _fail("NAME or -f FILE is needed; kubectl get isvc lists the names", 2)
    try:
        if file is not None:
            raw = saved(file, name, namespace)
        else:
            assert name is not None
            raw = asyncio.run(_live(name, namespace, kubeconfig, context))
        found = account(raw)
    except (UnreadError, NoAccountError) as error:
        _fail(str(error), 1)
    typer.echo(json.dumps(found.document(), indent=2) if output == "json" else found.text())


def saved(file: str, name: str | None, namespace: str | None) -> Mapping[str, Any]:
    """Return the one InferenceService of a YAML or JSON file with this name, or any. Raises UnreadError."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UnreadError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    items = [item for document in documents for item in _items(document)]
    fleets = [item for item in items if isinstance(item, dict) and item.get("kind") == constants.KIND]
    wanted = [
        item
        for item in fleets
        if name in (None, _of(item, "name")) and namespace in (None, _of(item, "namespace"))
    ]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(str(_of(item, "name")) for item in fleets[:MOST_NAMES]) or "none"
    what = f"{len(wanted)} objects of kind {constants.KIND}" + (f" named {name}" if name else "")
    raise UnreadError(f"{file}: holds {what}; name one of those in it: {there}")


def _items(document: Any) -> list[Any]:
    listed = document.get("items") if isinstance(document, dict) else None
    return listed if isinstance(listed, list) else [document]


def _of(item: Mapping[str, Any], field: str) -> Any:
    metadata = item.get("metadata")
    return metadata.get(field) if isinstance(metadata, Mapping) else None


async def _live(
    name: str, namespace: str | None, kubeconfig: str | None, context: str | None
) -> Mapping[str, Any]:
    """Read the object from the cluster. Raises UnreadError."""
    try:
        from torpor.cluster.client import ApiError, Kube  # noqa: PLC0415 - a saved object needs none of it
        from torpor.cluster.login import LoginError, login  # noqa: PLC0415
        from torpor.cluster.resources import FLEETS  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UnreadError(f"{error.name} is not installed; install torpor[cli]") from None
    try:
        configuration, usual = await login(kubeconfig, context)
    except LoginError as error:
        raise UnreadError(f"{error}; name one with --kubeconfig, or explain a saved object with -f") from None
    where = namespace or usual
    kube = Kube(configuration, may_write=lambda: False)
    try:
        return await kube.request("GET", FLEETS.path(where, name), seconds=SECONDS)
    except ApiError as error:
        host = configuration.host
        if error.status == 0:
            raise UnreadError(f"{host} does not answer ({error.message}); is the cluster up?") from None
        if error.status != 404:
            raise UnreadError(f"{host} refuses to show {where}/{name}: {error.message}") from None
        if f'"{name}" not found' not in error.message:
            told = f"{host} knows no {constants.KIND}; is Torpor installed in this cluster?"
            raise UnreadError(told) from None
        raise UnreadError(await _missing(kube, where, name)) from None
    finally:
        await kube.close()


async def _missing(kube: "Kube", namespace: str, name: str) -> str:
    from torpor.cluster.client import ApiError  # noqa: PLC0415 - see above
    from torpor.cluster.resources import FLEETS  # noqa: PLC0415

    told = f"there is no {constants.KIND} {name} in namespace {namespace}"
    try:
        page = await kube.request("GET", FLEETS.path(namespace), query={"limit": "50"}, seconds=SECONDS)
    except ApiError:
        return f"{told}; name another with -n"
    names = [str(_of(item, "name")) for item in page.get("items") or ()]
    return f"{told}; there is {', '.join(names[:MOST_NAMES]) or 'none'}; name another namespace with -n"


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"torpor explain: {message}", err=True)
    raise typer.Exit(code)
