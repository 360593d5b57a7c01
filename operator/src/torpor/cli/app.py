"""The commands. `explain` reads one object of a cluster, `backtest` a Prometheus; the others need neither.

`validate` is the strict reading of a file: what the API server would prune in silence (a misspelt field) is
an error here, every problem is listed, and the exit status is for scripts: 0 where all objects are fine, 1
otherwise.
"""

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from torpor.api import constants, crd, validation
from torpor.cli.backtest import backtest
from torpor.cli.explain import explain
from torpor.cli.simulate import simulate
from torpor.cli.size import size
from torpor.cli.suggest import suggest

app = typer.Typer(
    help="Torpor: autoscaled LLM inference fleets that sleep at night.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


app.command()(simulate)
app.command()(explain)
app.command()(backtest)
app.command()(suggest)
app.command()(size)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(metadata.version("torpor"))


@app.command("crd")
def print_crd() -> None:
    """Print the CustomResourceDefinition, ready for `kubectl apply --server-side -f -`."""
    typer.echo(crd.render(), nl=False)


@app.command()
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="YAML files; - is standard input.")],
) -> None:
    """Check InferenceServices in files, more strictly than the API server: misspelt fields are errors."""
    seen = broken = 0
    for name in files:
        try:
            documents = list(yaml.safe_load_all(_read(name)))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            typer.echo(f"{name}: cannot be read: {error}", err=True)
            broken += 1
            continue
        for label, document in _fleets(name, documents):
            seen += 1
            broken += not _report(label, document)
    if not seen and not broken:
        typer.echo(f"no {constants.KIND} of {constants.GROUP} found in {', '.join(files)}", err=True)
        broken = 1
    raise typer.Exit(1 if broken else 0)


def _read(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")


def _fleets(file: str, documents: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """
    Yield each InferenceService of Torpor's group with a label for messages; other kinds are none of ours.
    """
    for document in documents:
        items = document.get("items") if isinstance(document, dict) and "items" in document else [document]
        for item in items if isinstance(items, list) else []:
            if not isinstance(item, dict) or item.get("kind") != constants.KIND:
                continue
            if str(item.get("apiVersion", "")).partition("/")[0] != constants.GROUP:
                continue
            meta = item.get("metadata")
            name = meta.get("name", "(no name)") if isinstance(meta, dict) else "(no name)"
            yield f"{file}: {name}", item


def _report(label: str, document: dict[str, Any]) -> bool:
    problems = [*validation.unknown_fields(document), *validation.check(document).problems]
    if not problems:
        typer.echo(f"{label}: ok")
        return True
    for problem in problems:
        typer.echo(f"{label}: {problem}", err=True)
    return False
