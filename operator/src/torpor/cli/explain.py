"""`torpor explain`: why a fleet has the replicas it has.

The answer is in the object (`account` reads it), so this needs the right to get InferenceServices and nothing
else: no operator is asked, and a saved object explains itself without a cluster (`-f`). A cluster is reached
as kubectl reaches it, by kubeconfig and context, or by the service account where this runs in a pod.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from torpor.api import constants
from torpor.cli import complete
from torpor.cli.manners import (
    NO,
    USAGE,
    Context,
    Kubeconfig,
    Namespace,
    Output,
    TroubleError,
    check_format,
    emit,
    finish,
    mapping,
)
from torpor.cli.reach import MOST_NAMES, connected


def explain(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="The InferenceService.", autocompletion=complete.fleets),
    ] = None,
    *,
    namespace: Namespace = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", help="Explain a saved object; - is standard input.")
    ] = None,
    output: Output = "table",
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say why a fleet has the replicas it has, and what would change it."""
    check_format("table" if output == "text" else output)  # text: its name in the first version
    if file is None and name is None:
        raise TroubleError("NAME or -f FILE is needed; torpor status -A lists the names", USAGE)
    from torpor.cli.account import NoAccountError, account  # noqa: PLC0415 - pydantic comes with it

    if file is not None:
        raw = saved(file, name, namespace)
    else:
        assert name is not None
        raw = finish(_live(name, namespace, kubeconfig, context))
    try:
        found = account(raw)
    except NoAccountError as error:
        raise TroubleError(str(error), NO) from None
    emit(found.document(), output, found.text)


def saved(file: str, name: str | None, namespace: str | None) -> Mapping[str, Any]:
    """Return the one InferenceService of a YAML or JSON file with this name, or any. Raises TroubleError."""
    import yaml  # noqa: PLC0415 - who asks for help does not wait for it

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise TroubleError(f"{file}: cannot be read: {' '.join(str(error).split())}", USAGE) from None
    items = [item for document in documents for item in _items(document)]
    fleets = [item for item in items if isinstance(item, dict) and item.get("kind") == constants.KIND]
    wanted = [
        item
        for item in fleets
        if name in (None, mapping(item, "metadata").get("name"))
        and namespace in (None, mapping(item, "metadata").get("namespace"))
    ]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(str(mapping(item, "metadata").get("name")) for item in fleets[:MOST_NAMES]) or "none"
    what = f"{len(wanted)} objects of kind {constants.KIND}" + (f" named {name}" if name else "")
    raise TroubleError(f"{file}: holds {what}; name one of those in it: {there}", NO)


def _items(document: Any) -> list[Any]:
    listed = document.get("items") if isinstance(document, dict) else None
    return listed if isinstance(listed, list) else [document]


async def _live(
    name: str, namespace: str | None, kubeconfig: str | None, context: str | None
) -> Mapping[str, Any]:
    try:
        async with connected(kubeconfig, context) as cluster:
            return await cluster.fleet(name, namespace)
    except TroubleError as trouble:
        if "kubeconfig" in str(trouble):
            raise TroubleError(f"{trouble}, or explain a saved object with -f", trouble.code) from None
        raise
