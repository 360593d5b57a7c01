"""`torpor validate`: the strict reading of files, without a cluster.

The same rules and sentences as admission (each rule holds its CEL text and its sentence, and the Python twin
of it runs here), and more: what the API server would prune in silence, a misspelt field, is an error, and
every problem is listed. Other kinds are passed over with a word, so that a folder of manifests can be given
as it is. What needs the object as it was before, such as a field that may not change, only a cluster can say.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from torpor.api import constants
from torpor.cli.manners import NO, Output, check_format, emit, shown


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML or JSON; - is standard input.")],
    *,
    output: Output = "table",
) -> None:
    """Check InferenceServices in files, more strictly than the API server: misspelt fields are errors.

    Rules are told in the words that the API server has for them; types and bounds, which it tells in its own,
    with what to do.
    """
    check_format(output)
    found = [entry for name in files for entry in _file(name)]
    if not any(entry["result"] != "skipped" for entry in found):
        told = f"no {constants.KIND} of {constants.GROUP} found"
        found.append({"file": ", ".join(files), "object": "", "result": "error", "problems": [told]})
    if output == "table":
        for entry in found:
            _say(entry)
    else:
        emit({"objects": found}, output, str)
    if any(entry["result"] in ("error", "invalid") for entry in found):
        raise typer.Exit(NO)


def _say(entry: dict[str, Any]) -> None:
    label = ": ".join(part for part in (entry["file"], entry["object"]) if part)
    if entry["result"] in ("ok", "skipped"):
        typer.echo(shown(f"{label}: {entry['result']}"))
    for problem in entry["problems"]:
        typer.echo(shown(f"{label}: {problem}"), err=True)


def _file(name: str) -> Iterator[dict[str, Any]]:
    """Yield what is said about each object of a file."""
    import yaml  # noqa: PLC0415 - who asks for help does not wait for it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        documents = list(yaml.load_all(text, loader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        why = f"cannot be read: {' '.join(str(error).split())}"
        yield {"file": name, "object": "", "result": "error", "problems": [why]}
        return
    for document in documents:
        inner = document.get("items") if isinstance(document, dict) else None
        for item in inner if isinstance(inner, list) else [document]:
            if item is not None:
                yield {"file": name} | _judge(item)


def _judge(item: Any) -> dict[str, Any]:
    from torpor.api import validation  # noqa: PLC0415 - see above

    if not isinstance(item, dict):
        return {"object": type(item).__name__, "result": "skipped", "problems": []}
    meta = item.get("metadata")
    name = str(meta.get("name", "(no name)")) if isinstance(meta, dict) else "(no name)"
    group = str(item.get("apiVersion", "")).partition("/")[0]
    if item.get("kind") != constants.KIND or group != constants.GROUP:
        kind = f"{item.get('kind', '(no kind)')} {name}"
        if item.get("kind") == constants.KIND:
            kind = f"{kind} of {group or 'no group'}"
        return {"object": kind, "result": "skipped", "problems": []}
    problems = [*validation.unknown_fields(item), *validation.check(item).problems]
    result = "invalid" if problems else "ok"
    return {"object": name, "result": result, "problems": [str(problem) for problem in problems]}
