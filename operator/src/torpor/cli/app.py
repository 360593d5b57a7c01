"""The commands, by name. Each lives in a module of its own and is registered here with one line.

Nothing heavy is imported on the way to `--help` or to the shell's completion: a command's module has typer
and the light part of the standard library at its top and the rest inside its function, asyncio included
(tests/unit/cli/test_app.py holds them to it).
"""

import typer

from torpor.cli import ask, backtest, bench, explain, logs, simulate, size, status, suggest, validate
from torpor.cli.manners import command

app = typer.Typer(
    help="Torpor: autoscaled LLM inference fleets that sleep at night.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help in colours takes twice the time
    pretty_exceptions_enable=False,
)

app.command()(command(status.status))
app.command()(command(explain.explain))
app.command()(command(ask.wake))
app.command()(command(ask.sleep))
app.command()(command(ask.restart))
app.command()(command(logs.logs))
app.command()(command(bench.bench))
app.command()(command(validate.validate))
app.command()(command(simulate.simulate))
app.command()(command(backtest.backtest))
app.command()(command(size.size))
app.command()(command(suggest.suggest))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata  # noqa: PLC0415 - see above

    typer.echo(metadata.version("torpor"))


@app.command("crd")
def print_crd() -> None:
    """Print the CustomResourceDefinition, ready for `kubectl apply --server-side -f -`."""
    from torpor.api import crd  # noqa: PLC0415 - see above

    typer.echo(crd.render(), nl=False)
